"""Which tensor of a checkpoint belongs to which tensor of a model, by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

Shapes = Mapping[str, tuple[int, ...]]
Prefixes = tuple[str, str]

MAX_PAIRS = 12
"""Prefix pairs tried; a real checkpoint needs one, one with a student and a teacher two, a mixed one a handful."""

MIN_GAIN = 0.1
"""A further prefix pair must explain a tenth of the names that are left, else it is coincidence (``norm.weight``)."""


@dataclass(frozen=True)
class Alignment:
    """Names put together.

    Attributes:
        pairs: model name -> checkpoint name, equal after the prefixes were exchanged.
        prefixes: (checkpoint prefix, model prefix) pairs used, the one that explains most first; a prefix has no dot at
            its end and may be empty.
    """

    pairs: Mapping[str, str]
    prefixes: tuple[Prefixes, ...] = ()


@dataclass
class _Open:
    """What is still to be aligned."""

    model: dict[str, None]
    checkpoint: dict[str, None]
    pairs: dict[str, str] = field(default_factory=dict)
    prefixes: list[Prefixes] = field(default_factory=list)


def align(checkpoint: Shapes, model: Shapes, same: Callable[[str, str], bool] | None = None) -> Alignment:
    """Vote for pairs of prefixes, then exchange them on all names.

    Every model name looks for the checkpoint names that end alike (longest common suffix, same shape); what is left at
    the front is a vote for a pair of prefixes. Pairs are then taken greedily: first by how many tensors they show
    equal in content (a checkpoint may hold two copies of a network), then by how many names they explain, those whose
    shapes agree counted twice.

    Args:
        checkpoint: shapes of the checkpoint's tensors by canonical name.
        model: shapes of the model's tensors by canonical name.
        same: ``(checkpoint name, model name) -> bool``, whether the contents look equal; None to go by names alone.
    """
    state = _Open(dict.fromkeys(model), dict.fromkeys(checkpoint))
    options = [pair for pair, _ in _votes(checkpoint, model).most_common(MAX_PAIRS)]
    while options and state.model and state.checkpoint:
        matches = {pair: _matches(pair, state, checkpoint, model) for pair in options}
        gains = {pair: _gain(found, checkpoint, model, same) for pair, found in matches.items()}
        best = max(options, key=lambda pair: gains[pair])
        needed = 2 * MIN_GAIN * min(len(state.model), len(state.checkpoint)) if state.prefixes else 1
        if gains[best][0] == 0 and gains[best][1] < needed:
            break
        options.remove(best)
        if state.prefixes and gains[best][0] == 0 and _is_coincidence(best, matches[best]):
            continue
        _accept(best, matches[best], state)
    return Alignment(state.pairs, tuple(state.prefixes))


def _votes(checkpoint: Shapes, model: Shapes) -> Counter[Prefixes]:
    ends: dict[tuple[str, ...], list[str]] = {}
    for name in checkpoint:
        for end in _ends(name):
            ends.setdefault(end, []).append(name)
    votes: Counter[Prefixes] = Counter()
    for name, shape in model.items():
        alike = [(end, [c for c in ends[end] if checkpoint[c] == shape]) for end in _ends(name) if end in ends]
        fallback = [(end, ends[end]) for end in _ends(name) if end in ends and len(end) > 1]  # layers of another width
        end, sources = next((hit for hit in (*alike, *fallback) if hit[1]), ((), []))
        votes.update(_prefixes(source, name, len(end)) for source in sources[:MAX_PAIRS])
    return votes


def _ends(name: str) -> Iterator[tuple[str, ...]]:
    """All suffixes of a dotted name, longest first."""
    tokens = tuple(name.split("."))
    return (tokens[i:] for i in range(len(tokens)))


def _prefixes(checkpoint: str, model: str, common: int) -> Prefixes:
    first, second = checkpoint.split(".")[:-common], model.split(".")[:-common]
    return ".".join(first), ".".join(second)


def swap_prefix(name: str, old: str, new: str) -> str | None:
    """``name`` with the prefix exchanged; None where it does not start with the old one."""
    if old and not name.startswith(old + "."):
        return None
    rest = name[len(old) + 1 :] if old else name
    return f"{new}.{rest}" if new else rest


def _matches(pair: Prefixes, state: _Open, checkpoint: Shapes, model: Shapes) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in state.model:
        other = swap_prefix(name, pair[1], pair[0])
        if other is None or other not in state.checkpoint:
            continue
        theirs, ours = checkpoint[other], model[name]
        if len(theirs) == len(ours) or is_reshape(theirs, ours):
            found[name] = other
    return found


def _gain(
    found: Mapping[str, str],
    checkpoint: Shapes,
    model: Shapes,
    same: Callable[[str, str], bool] | None,
) -> tuple[int, int]:
    equal = sum(same(c, m) for m, c in found.items()) if same else 0
    return equal, len(found) + sum(checkpoint[c] == model[m] for m, c in found.items())


def _is_coincidence(pair: Prefixes, found: Mapping[str, str]) -> bool:
    """Two layers under names with nothing in common (``cls.transform.dense`` and ``pooler.dense``): any two layers end alike."""
    theirs, ours = (set(prefix.split(".")) for prefix in pair)
    return len(found) < 3 and all(pair) and not theirs & ours


def _accept(pair: Prefixes, found: Mapping[str, str], state: _Open) -> None:
    state.prefixes.append(pair)
    state.pairs.update(found)
    for name, other in found.items():
        state.model.pop(name, None)
        state.checkpoint.pop(other, None)


def is_reshape(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether these shapes are two ways to hold the same values: a linear layer as a 1 x 1 convolution, patches as vectors."""
    ones = [n for n in a if n != 1] == [n for n in b if n != 1]
    return ones or (a[:1] == b[:1] and prod(a) == prod(b))


def under(name: str, prefixes: Sequence[str]) -> bool:
    """Whether a name lies under one of the prefixes (the empty prefix covers all)."""
    return any(not prefix or name.startswith(prefix + ".") for prefix in prefixes)
