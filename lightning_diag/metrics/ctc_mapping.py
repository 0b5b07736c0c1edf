"""The mapping test: does another numbering of the tokens explain the errors? On the host, once per fit.

A one-to-one map of emitted to reference tokens is learnt on three quarters of the lines and applied to the last quarter, in
turn. How many errors such a map removes by chance is found by the same procedure after the references have been exchanged
between lines of similar length: that keeps the lengths and how frequent each token is, and destroys what the output says about
its own line.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from rapidfuzz.distance import Levenshtein

from lightning_diag.history import MappingTest
from lightning_diag.metrics.ctc_edits import Decoded

Tokens = tuple[int, ...]
Pair = tuple[Tokens, Tokens]  # reference, hypothesis

LEAST_LINES = 16
"""Four lines to score for each map."""
MOST_TOKENS = 2000
"""Reference tokens used: the lines are thinned evenly beyond that, which bounds the test to about two seconds."""
FOLDS = 4
SHUFFLES = 199
"""So the smallest p-value is 1 / 200."""
ENOUGH = 10
"""Shuffles as good as the data after which the answer is no, and counting stops (Besag and Clifford, 1991)."""
BLOCK = 8
"""Least number of lines among which references are exchanged."""


def mapping_test(lines: Sequence[Decoded]) -> MappingTest | None:
    """Test whether the tokens of these lines are numbered otherwise than those that the model learnt.

    Args:
        lines: decoded lines of one evaluation.

    Returns:
        None with fewer than :data:`LEAST_LINES` lines with tokens.
    """
    pairs = _thinned([(line.reference, line.hypothesis) for line in lines if line.reference])
    if len(pairs) < LEAST_LINES:
        return None
    tokens = sum(len(reference) for reference, _ in pairs)
    before, after = _errors(pairs)
    p_value, chance = _by_chance(pairs, before - after) if after < before else (1.0, None)
    return MappingTest(
        before=before / tokens,
        after=after / tokens,
        chance=None if chance is None else chance / tokens,
        p_value=p_value,
        lines=len(pairs),
    )


def _thinned(pairs: list[Pair]) -> list[Pair]:
    """Every k-th line, so that at most about :data:`MOST_TOKENS` reference tokens are left."""
    tokens = sum(len(reference) for reference, _ in pairs)
    step = min(-(-tokens // MOST_TOKENS), max(1, len(pairs) // LEAST_LINES))
    return pairs[:: max(1, step)]


def _errors(pairs: Sequence[Pair]) -> tuple[int, int]:
    """Errors as the lines are, and with maps learnt on the other lines."""
    before = after = 0
    for fold in range(FOLDS):
        learnt = learn_map([pair for i, pair in enumerate(pairs) if i % FOLDS != fold])
        for reference, hypothesis in pairs[fold::FOLDS]:
            before += Levenshtein.distance(reference, hypothesis)
            after += Levenshtein.distance(reference, _mapped(hypothesis, learnt))
    return before, after


def _by_chance(pairs: Sequence[Pair], gain: int) -> tuple[float, float]:
    """Share of shuffles in which a map gains as much, and mean errors of the shuffled lines without a map."""
    draw = random.Random(0)  # noqa: S311  (a permutation test, no secret)
    blocks = _blocks([len(reference) for reference, _ in pairs])
    as_good = errors = done = 0
    while done < SHUFFLES and as_good < ENOUGH:
        given = [reference for reference, _ in pairs]
        for block in blocks:
            for place, source in zip(block, draw.sample(block, len(block)), strict=True):
                given[place] = pairs[source][0]
        before, after = _errors([(r, hypothesis) for r, (_, hypothesis) in zip(given, pairs, strict=True)])
        as_good += before - after >= gain
        errors += before
        done += 1
    return (1 + as_good) / (1 + done), errors / done


def _blocks(lengths: Sequence[int]) -> list[list[int]]:
    """Positions of lines of one length, or where few have the same, of at least :data:`BLOCK` neighbours in length."""
    blocks: list[list[int]] = [[]]
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if len(blocks[-1]) >= BLOCK and lengths[i] != lengths[blocks[-1][-1]]:
            blocks.append([])
        blocks[-1].append(i)
    return blocks


def _mapped(tokens: Tokens, learnt: Mapping[int, int]) -> Tokens:
    """Tokens under a map; those that it does not know stay."""
    return tuple(learnt.get(token, token) for token in tokens)


def learn_map(pairs: Sequence[Pair], rounds: int = 1) -> dict[int, int]:
    """The one-to-one map of emitted to reference tokens that fits these lines.

    Tokens are first paired by their relative place in the line, then by the cheapest alignment under the map found so far.

    Args:
        pairs: reference and hypothesis of each line.
        rounds: alignments.
    """
    learnt = _one_to_one(Counter(place for pair in pairs for place in _by_place(*pair)))
    for _ in range(rounds):
        learnt = _one_to_one(Counter(place for pair in pairs for place in _aligned(*pair, learnt)))
    return learnt


def _by_place(reference: Tokens, hypothesis: Tokens) -> list[tuple[int, int]]:
    """(emitted, reference) at the same relative place."""
    if not reference or not hypothesis:
        return []
    scale = len(reference) / len(hypothesis)
    return [(emitted, reference[int((i + 0.5) * scale)]) for i, emitted in enumerate(hypothesis)]


def _aligned(reference: Tokens, hypothesis: Tokens, learnt: Mapping[int, int]) -> list[tuple[int, int]]:
    """(emitted, reference) of the tokens that the cheapest alignment puts side by side."""
    found: list[tuple[int, int]] = []
    for part in Levenshtein.opcodes(_mapped(hypothesis, learnt), reference):
        if part.tag in {"equal", "replace"}:
            found += zip(
                hypothesis[part.src_start : part.src_end], reference[part.dest_start : part.dest_end], strict=True
            )
    return found


def _one_to_one(counts: Counter[tuple[int, int]]) -> dict[int, int]:
    """Pairs in the order of how far they exceed what their frequencies explain, each token used once."""
    emitted, wanted = Counter[int](), Counter[int]()
    for (a, b), n in counts.items():
        emitted[a] += n
        wanted[b] += n
    total = counts.total()
    excess = {pair: n - emitted[pair[0]] * wanted[pair[1]] / total for pair, n in counts.items()}
    learnt: dict[int, int] = {}
    taken: set[int] = set()
    for a, b in sorted(excess, key=lambda pair: (-excess[pair], pair[0] != pair[1], pair)):
        if a not in learnt and b not in taken:
            learnt[a] = b
            taken.add(b)
    return learnt
