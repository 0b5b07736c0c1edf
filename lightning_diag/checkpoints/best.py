"""The state dict of a checkpoint that fits a module best, and the facts that follow from comparing the two."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from lightning_diag.checkpoints.align import under
from lightning_diag.checkpoints.compare import MIN_COVER, compare_sides
from lightning_diag.checkpoints.comparison import Comparison
from lightning_diag.checkpoints.fix import Situation, suggest_fix
from lightning_diag.checkpoints.fresh import looks_fresh
from lightning_diag.checkpoints.names import parent
from lightning_diag.checkpoints.nested import Candidate
from lightning_diag.checkpoints.reading import CheckpointFile
from lightning_diag.checkpoints.samples import SAMPLES, Taken, take
from lightning_diag.checkpoints.sides import Side, is_usable, make_sides
from lightning_diag.checkpoints.unrelated import is_unrelated
from lightning_diag.checkpoints.verdict import CANNOT_TELL, NOT_LOADED, PARTLY, block_shares, explain, judge, owners
from lightning_diag.history import PretrainFacts


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a checkpoint is compared with.

    Attributes:
        state: parameters (and buffers) of the compared module by name.
        buffers: names in ``state`` that are buffers.
        names: shapes of all parameters and persistent buffers of the root module, for trying the fix.
        module: dotted path of the compared module in the root; empty for the root itself.
        called: what sentences call the root.
        lightning_module: the root's parts are modules of their own.
        statistics: running statistics of the module by name, to be fetched with the weights.
    """

    state: Mapping[str, Tensor]
    buffers: Collection[str] = ()
    names: Mapping[str, tuple[int, ...]]
    module: str = ""
    called: str = "the module"
    lightning_module: bool = False
    statistics: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Match:
    """The best candidate with its comparison, and samples of the target's statistics."""

    candidate: Candidate
    comparison: Comparison
    checkpoint: Side
    model: Side
    statistics: Mapping[str, Tensor] = field(default_factory=dict)


def best_match(candidates: Sequence[Candidate], target: Target, *, full: bool = True, count: int = SAMPLES) -> Match:
    """Compare every candidate by samples, then the best one in full.

    Best is: most weights equal, then most names aligned, then nearest, then the smallest dict (a dict of dicts joined
    explains no more than the right one of them).
    """
    # once for all candidates: on a GPU this is the one transfer that the comparison waits for
    wanted = [t for t in target.state.values() if t.is_floating_point() and is_usable(t)]
    wanted += [t for t in target.statistics.values() if is_usable(t)]
    tensors = {str(i): tensor for i, tensor in enumerate(wanted)}
    known = {id(tensors[i]): taken for i, taken in take(tensors, count, sums=full).items()}
    matches = [_match(candidate, target, count, known, full=full) for candidate in candidates]
    best = max(matches, key=_rank)
    statistics = {name: known[id(t)].samples for name, t in target.statistics.items() if id(t) in known}
    best = replace(best, statistics=statistics)
    if not full or not best.comparison.having("equal", "different"):
        return best
    proven = compare_sides(best.checkpoint, best.model, full=True, lightning_module=target.lightning_module)
    return replace(best, comparison=proven)


def _match(candidate: Candidate, target: Target, count: int, known: Mapping[int, Taken], *, full: bool) -> Match:
    checkpoint, model = make_sides(candidate.state, target.state, target.buffers, count, known, full=full)
    comparison = compare_sides(checkpoint, model, full=False, lightning_module=target.lightning_module)
    return Match(candidate=candidate, comparison=comparison, checkpoint=checkpoint, model=model)


def _rank(match: Match) -> tuple[float, float, float, float]:
    found = match.comparison
    gap = found.distance.relative_l2
    return (
        found.numel("equal"),
        found.aligned * found.expected,
        -gap if gap is not None else -1e9,
        -len(match.candidate.state),
    )


def facts_of(match: Match, target: Target, *, path: str, file: CheckpointFile, late: bool = False) -> PretrainFacts:
    """Verdict, numbers, blocks, reason and fix of a comparison.

    Args:
        match: the best candidate and its comparison.
        target: what it was compared with.
        path: of the checkpoint, as given.
        file: what was read: in a folder, the one that a line of code has to name.
        late: updates were made since the load.
    """
    comparison = match.comparison
    untrained = looks_fresh(match.candidate.state)
    verdict = judge(comparison, untrained=untrained, late=late)
    apart = is_unrelated(comparison)
    scope = "" if apart else _scope(comparison)
    module = ".".join(part for part in (target.module, scope) if part)
    return PretrainFacts(
        verdict=verdict,
        checkpoint=path,
        module=module,
        parameters=comparison.expected,
        equal=comparison.equal,
        aligned=min(1.0, comparison.aligned),
        cosine=comparison.distance.cosine,
        relative_l2=comparison.distance.relative_l2,
        checkpoint_untrained=untrained,
        checkpoint_key=".".join(map(str, match.candidate.path)) or None,
        blocks=() if apart else block_shares(comparison),
        head_mismatch=owners(comparison.having("head")),
        new_parts=owners(comparison.having("new")),
        reason=explain(verdict, comparison, module or target.called, untrained=untrained, late=late),
        fix=_fix(match, target, file) if verdict in {NOT_LOADED, PARTLY} and not apart else None,
    )


def _scope(comparison: Comparison) -> str:
    """The smallest part of the compared module that holds what the checkpoint is for; names that meet by chance apart."""
    rows = comparison.having("equal", "different", "shape")
    named, found = [row for row in rows if not row.by_content], [row for row in rows if row.by_content]
    total = sum(row.numel for row in rows)
    shares = {p: sum(row.numel for row in named if under(row.name, [p])) for _, p in comparison.alignment.prefixes}
    parts = [p.split(".") for p, share in shares.items() if share >= MIN_COVER * total]
    if sum(row.numel for row in found) >= MIN_COVER * total:
        parts += [parent(row.name).split(".") for row in found]
    same = itertools.takewhile(lambda tokens: len(set(tokens)) == 1, zip(*parts, strict=False))
    return ".".join(tokens[0] for tokens in same)


def _fix(match: Match, target: Target, file: CheckpointFile) -> str | None:
    return suggest_fix(
        Situation(
            path=file.path,
            format=file.format,
            candidate=match.candidate,
            comparison=match.comparison,
            checkpoint=match.checkpoint,
            model=match.model,
            names=target.names,
            root=target.module,
        ),
    )


def unknown(path: str, reason: str, module: str = "") -> PretrainFacts:
    """*Cannot tell*, because."""
    return PretrainFacts(verdict=CANNOT_TELL, checkpoint=path, module=module, reason=reason)
