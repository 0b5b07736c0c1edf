"""Which rows of a batch are repeats that a distributed sampler appended to make the ranks even."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Padding:
    """The pass of one rank through a loader with repeats at its end.

    Attributes:
        real: samples of this rank that are none. drawn: samples that this rank gets, repeats included.
        batch_size: of the loader; None where a batch sampler decides.
        seen: samples that have passed.
    """

    real: int
    drawn: int
    batch_size: int | None
    seen: int = 0

    def take(self, rows: int) -> tuple[int, int]:
        """(rows that count, samples that do not) of the next batch.

        Args:
            rows: first axis of the targets: samples, or a multiple of them (tokens of all sequences in one axis).
        """
        size = rows if self.batch_size is None else min(self.batch_size, self.drawn - self.seen)
        if size <= 0 or rows % size:
            size = rows
        kept = max(0, min(size, self.real - self.seen))
        self.seen += size
        return kept * (rows // size), size - kept
