"""A checkpoint and a live module: was it loaded, is it used, how far has it moved?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightning_diag.checkpoints.best import Match, Target, best_match, facts_of, unknown
from lightning_diag.checkpoints.compare import compare_statistics
from lightning_diag.checkpoints.drift import DriftReference
from lightning_diag.checkpoints.files import candidates_of
from lightning_diag.checkpoints.fresh import looks_fresh
from lightning_diag.checkpoints.live import (
    frozen_share,
    local,
    localise,
    obstacle,
    outside_share,
    parameters,
    statistics_of,
    submodule,
    target_of,
)
from lightning_diag.checkpoints.reading import CheckpointFile, read_checkpoint
from lightning_diag.checkpoints.samples import SAMPLES
from lightning_diag.checkpoints.verdict import NOT_LOADED, PARTLY, RESUMED, UNTRAINED, training_text
from lightning_diag.checkpoints.watch import Watch
from lightning_diag.errors import CheckpointError, ConfigError
from lightning_diag.history import PretrainFacts

CheckpointSource = str | Path | Callable[[Any], str | Path | None] | None

NO_CHECKPOINT = "No checkpoint was named."


class LoadVerification:
    """Compares a checkpoint with a module at the moments when that says something.

    The file is opened anew for each comparison and never kept open: a training may overwrite it, and a memory map of
    an overwritten file ends the process.

    Args:
        checkpoint: path, or callable on the root module that returns one (None: nothing was meant to be loaded).
        module: dotted name of the part that the weights belong to; None to find it.
        key: path with dots of the state dict inside the checkpoint; None to find the one that fits.
        safe_globals: classes that the file may use, as for ``torch.serialization.safe_globals``.
        full: compare every value; False for samples only.
        samples: values sampled per tensor.
    """

    def __init__(
        self,
        checkpoint: CheckpointSource = None,
        *,
        module: str | None = None,
        key: str | None = None,
        safe_globals: Sequence[Any] = (),
        full: bool = True,
        samples: int = SAMPLES,
    ) -> None:
        self.checkpoint, self.module, self.key = checkpoint, module, key
        self.safe_globals, self.full, self.samples = tuple(safe_globals), full, samples
        self.facts: PretrainFacts | None = None
        self._watch: Watch | None = None
        self._fresh: bool | None = None
        self._reference: DriftReference | None = None

    def early_check(self, root: nn.Module) -> PretrainFacts:
        """A provisional verdict before training, when weights can still be loaded or lost.

        Raises:
            CheckpointError: the file cannot be read, or holds no tensors.
            ConfigError: there is no such module.
        """
        submodule(root, self.module)
        path = self.path_of(root)
        if path is None:
            return replace(unknown("", NO_CHECKPOINT, self.module or ""), provisional=True)
        facts, _ = self._compare(root, path, full=False)
        if (reason := obstacle(root)) is not None:
            facts = self._unknown(path, reason)
        return replace(facts, provisional=True)

    def path_of(self, root: nn.Module) -> str | None:
        """Path of the checkpoint, the callable asked; None when none is named."""
        found = self.checkpoint(root) if callable(self.checkpoint) else self.checkpoint
        return None if found is None else str(found)

    def watch(self, root: nn.Module) -> None:
        """Note fresh norm layers now, and by hooks whether the module is used and its statistics before it is trained."""
        self.close()
        module = submodule(root, self.module)
        self._fresh = looks_fresh({**_locals(module), **statistics_of(module)})
        self._watch = Watch(module)

    def verify(
        self,
        root: nn.Module,
        *,
        resumed_from: str | None = None,
        optimizers: Iterable[torch.optim.Optimizer] = (),
        late: bool = False,
    ) -> PretrainFacts:
        """The verdict, best asked for right before the first optimiser step; never raises.

        All ranks of a distributed run must call it: they agree on one verdict.

        Args:
            root: the LightningModule.
            resumed_from: checkpoint that the whole fit was resumed from.
            optimizers: of the fit; to say which parameters none of them updates.
            late: updates were made already.
        """
        try:
            facts = self._judge(root, resumed_from, late=late)
            facts = self._add_usage(facts, root, list(optimizers))
        except Exception as error:  # noqa: BLE001  (an observer never ends a run; ranks must stay in step below)
            facts = unknown(_name(self.checkpoint), f"The comparison failed ({type(error).__name__}: {error}).")
        self.facts = _agree(facts, root)
        if self._watch is not None and self.facts.used is not False:
            self._watch.close()
        return self.facts

    def drift(self, root: nn.Module) -> dict[str, float]:
        """Distance from the checkpoint now, by block; empty where nothing was compared."""
        if self._reference is None:
            return {}
        return self._reference.measure(_locals(submodule(root, self.module)))

    def after_epoch(self, root: nn.Module) -> PretrainFacts:
        """The facts again: a module that was unused in the first step (a GAN's other half) may be used by now."""
        assert self.facts is not None, "verify() comes first"
        if self.facts.used is False and self._watch is not None:
            self.facts = replace(self.facts, used=self._watch.used(root, self._part(root, self.facts)))
        return self.facts

    def close(self) -> None:
        """Take all hooks away and let go of the module."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _judge(self, root: nn.Module, resumed_from: str | None, *, late: bool) -> PretrainFacts:
        path = self.path_of(root)
        if path is None:
            return self._without_checkpoint(root)
        if (reason := obstacle(root)) is not None:
            return self._unknown(path, reason)
        try:
            facts, match = self._compare(root, path, full=self.full, late=late)
        except (CheckpointError, ConfigError) as error:
            return unknown(path, str(error), self.module or "")
        self._reference = DriftReference.of(match, self.samples)
        facts = replace(facts, statistics_equal=_statistics_equal(match), looks_fresh=self._fresh)
        return _as_resumed(facts, resumed_from) if resumed_from else facts

    def _unknown(self, path: str, reason: str) -> PretrainFacts:
        return unknown(path, f"{reason[0].upper()}{reason[1:]}.", self.module or "")

    def _compare(self, root: nn.Module, path: str, *, full: bool, late: bool = False) -> tuple[PretrainFacts, Match]:
        file: CheckpointFile = read_checkpoint(path, safe_globals=self.safe_globals)
        target: Target = replace(target_of(root, self.module), statistics=self._statistics(root))
        candidates = localise(candidates_of(file, self.key), root)
        match = best_match(candidates, target, full=full, count=self.samples)
        return facts_of(match, target, path=path, file=file, late=late), match

    def _without_checkpoint(self, root: nn.Module) -> PretrainFacts:
        fresh = self._fresh if self._watch is not None else looks_fresh(_locals(submodule(root, self.module)))
        if fresh:
            reason = "The module looks freshly initialised: every norm layer is at its initial value, and batch-norm counters are 0."
        else:
            reason = "Norm layers hold trained values." if fresh is False else "There are no norm layers to tell by."
        return replace(unknown("", f"{NO_CHECKPOINT} {reason}", self.module or ""), looks_fresh=fresh)

    def _statistics(self, root: nn.Module) -> dict[str, torch.Tensor]:
        """Running statistics by name, as they were before the first training forward."""
        now = statistics_of(submodule(root, self.module))
        return {**now, **(self._watch.statistics if self._watch is not None else {})}

    def _add_usage(
        self, facts: PretrainFacts, root: nn.Module, optimizers: list[torch.optim.Optimizer]
    ) -> PretrainFacts:
        part = self._part(root, facts)
        used = self._watch.used(root, part) if self._watch is not None else None
        frozen, outside = frozen_share(part), outside_share(part, optimizers)
        reason = f"{facts.reason} {training_text(frozen, outside)}".strip() if facts.checkpoint else facts.reason
        return replace(facts, used=used, frozen=frozen, not_in_optimizer=outside, reason=reason)

    def _part(self, root: nn.Module, facts: PretrainFacts) -> nn.Module:
        """The module that the names point to; the one the user named where wrappers are in the way."""
        try:
            return submodule(root, facts.module or self.module)
        except ConfigError:
            return submodule(root, self.module)


def _statistics_equal(match: Match) -> bool | None:
    """Running statistics against those beside the weights that belong together."""
    short = {name: match.model.original[name] for name in match.model.weights}
    pairs = match.comparison.alignment.pairs
    owners = {_owner(short[m]): _owner(match.checkpoint.original[c]) for m, c in pairs.items()}
    theirs: dict[str, torch.Tensor] = {}
    for name in match.statistics:
        owner, _, leaf = name.rpartition(".")
        other = f"{owners[owner]}.{leaf}".lstrip(".") if owner in owners else ""
        if other in match.candidate.state:
            theirs[name] = match.candidate.state[other]
    return compare_statistics(theirs, match.statistics, match.model.count)


def _locals(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: local(parameter) for name, parameter in parameters(module).items()}


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _name(checkpoint: CheckpointSource) -> str:
    return "" if checkpoint is None or callable(checkpoint) else str(checkpoint)


def _as_resumed(facts: PretrainFacts, resumed_from: str) -> PretrainFacts:
    reason = (
        f"The fit was resumed from {resumed_from}, so its weights are in, not those of the checkpoint. {facts.reason}"
    )
    return replace(facts, verdict=RESUMED, resumed_from=resumed_from, reason=reason, fix=None)


def _agree(facts: PretrainFacts, root: nn.Module) -> PretrainFacts:
    """One verdict for all ranks: the worst, with how many ranks gave it."""
    dist = torch.distributed
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return facts
    device = next((p.device for p in root.parameters()), torch.device("cpu"))
    order = (NOT_LOADED, PARTLY, UNTRAINED)
    votes = torch.tensor([float(facts.verdict == verdict) for verdict in order], device=device)
    dist.all_reduce(votes)
    world = dist.get_world_size()
    for verdict, count in zip(order, votes.tolist(), strict=True):
        if 0 < count < world:
            text = f"{facts.reason} The ranks differ: {int(count)} of {world} say {verdict!r}."
            return replace(facts, verdict=verdict, reason=text)
        if count == world:
            return facts
    return facts
