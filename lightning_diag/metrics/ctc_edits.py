"""Token errors of decoded lines: edit operations, confusions, and which lines to show. On the host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rapidfuzz.distance import Levenshtein

from lightning_diag.history import Confusion, Sample


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """One decoded line: where it lies in the order of the evaluation, what it should say and what it says."""

    index: int
    reference: tuple[int, ...]
    hypothesis: tuple[int, ...]

    @property
    def errors(self) -> int:
        """Edit distance in tokens."""
        return int(Levenshtein.distance(self.reference, self.hypothesis))

    @property
    def error_rate(self) -> float:
        """Errors per reference token; per token of an empty reference as if it had one."""
        return self.errors / max(len(self.reference), 1)


@dataclass(kw_only=True)
class TokenErrors:
    """Sums of edit operations over lines (Levenshtein, one cheapest alignment per line).

    Attributes:
        substitutions, deletions, insertions: edit operations; tokens: reference tokens; exact: lines without an error.
        correct: per token, how often it was matched. confusions: (reference, hypothesis) -> count.
    """

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    tokens: int = 0
    lines: int = 0
    exact: int = 0
    correct: Counter[int] = field(default_factory=Counter)
    confusions: Counter[tuple[int, int]] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Token error rate; may exceed 1 through insertions."""
        return (self.substitutions + self.deletions + self.insertions) / max(self.tokens, 1)

    def add(self, line: Decoded) -> None:
        """Count the edit operations that turn the reference into the hypothesis."""
        operations = Levenshtein.editops(line.reference, line.hypothesis)
        missed = Counter[int]()
        for operation in operations:
            kind, at, to = operation.tag, operation.src_pos, operation.dest_pos
            if kind == "insert":
                self.insertions += 1
                continue
            missed[line.reference[at]] += 1
            self.deletions += kind == "delete"
            if kind == "replace":
                self.substitutions += 1
                self.confusions[line.reference[at], line.hypothesis[to]] += 1
        self.tokens += len(line.reference)
        self.lines += 1
        self.exact += not operations
        self.correct.update(line.reference)
        self.correct.subtract(missed)

    def most_confused(self, most: int = 20) -> tuple[Confusion, ...]:
        """The most frequent substitutions."""
        rows = self.confusions.most_common(most)
        return tuple(Confusion(target=a, predicted=b, count=n) for (a, b), n in rows)


def token_errors(lines: Sequence[Decoded]) -> TokenErrors:
    """Edit operations summed over the lines."""
    total = TokenErrors()
    for line in lines:
        total.add(line)
    return total


def text_errors(lines: Sequence[Decoded], text: Callable[[Sequence[int]], str]) -> tuple[float, float]:
    """Word and character error rate of the texts that ``text`` makes of token sequences."""
    words = characters = word_errors = character_errors = 0
    for line in lines:
        reference, hypothesis = text(line.reference), text(line.hypothesis)
        words += len(reference.split())
        characters += len(reference)
        word_errors += Levenshtein.distance(reference.split(), hypothesis.split())
        character_errors += Levenshtein.distance(reference, hypothesis)
    return word_errors / max(words, 1), character_errors / max(characters, 1)


def pick_samples(lines: Sequence[Decoded]) -> tuple[Sample, ...]:
    """The best, the median, the worst and the longest line, each once."""
    if not lines:
        return ()
    # among equally good lines the longer one shows more
    ranked = sorted(lines, key=lambda line: (line.error_rate, -len(line.reference), line.index))
    longest = max(lines, key=lambda line: (len(line.reference), -line.index))
    roles = (("best", ranked[0]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[-1]), ("longest", longest))
    first: dict[int, Sample] = {}
    for role, line in roles:
        sample = Sample(index=line.index, reference=line.reference, prediction=line.hypothesis, role=role)
        first.setdefault(line.index, sample)
    return tuple(first.values())
