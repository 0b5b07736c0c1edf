"""Which steps are looked at: by step number alone, so that two runs of one script look at the same steps."""

from __future__ import annotations

from collections.abc import Sequence

PAIRS = 6
"""Pairs of consecutive steps per epoch at most: 12 gradients give a mean norm within about 30 % of its spread."""
LEAST, SPACING = 2, 64
"""Pairs per epoch at least, and steps per pair beyond that. A look costs 2 to 6 % of a step, so that one pair in 64
steps costs 0.1 to 0.2 % of the time."""
FIRST = 16
"""Steps at the very start of a run that are all looked at: what goes wrong at once (a wrong scale, a wrong rate) shows
there."""


class PairSchedule:
    """Chooses pairs of consecutive steps, spread evenly over each epoch.

    The choice depends on the step number only. A budget measured with a clock would look at other steps in each run, and
    with them at other gradients: the same training could then be judged differently twice.

    Args:
        pairs: pairs per epoch.
        first: steps at the start of the run that are all taken.

    Attributes:
        step: number in the epoch of the step that was asked about last; -1 before the first.
    """

    def __init__(self, pairs: int = PAIRS, first: int = FIRST) -> None:
        self.pairs = pairs
        self._left = first
        self.step = -1
        self._every, self._now = 0, pairs

    def start(self, steps: int | None) -> None:
        """Begin an epoch.

        Args:
            steps: optimiser steps of the epoch; None where the loader has no length: then pairs come at doubling
                distances.
        """
        self.step = -1
        self._now = self.pairs if steps is None else min(self.pairs, max(LEAST, steps // SPACING))
        self._every = 0 if steps is None else max(1, steps // self._now)

    def state(self) -> list[int]:
        """Where in the run and in the epoch the next step is."""
        return [self._left, self.step, self._every, self._now]

    def take_up(self, state: Sequence[int], *, same_epoch: bool) -> None:
        """Go on from :meth:`state`, in the same epoch or at the start of another."""
        self._left = state[0]
        if same_epoch:
            _, self.step, self._every, self._now = state

    def take(self, step: int | None = None) -> bool:
        """Whether a step is looked at.

        Args:
            step: its number in the epoch, from 0; None counts one on.
        """
        self.step = self.step + 1 if step is None else step
        if self._left > 0:
            self._left -= 1
            return True
        return self._wanted(self.step)

    def next(self) -> int | None:
        """Number of the next step that is looked at; None when no more of this epoch is."""
        step = self.step + 1
        if self._left > 0 or self._wanted(step):
            return step
        if not self._every:
            return 1 << step.bit_length()
        pair = step // self._every + 1
        return pair * self._every if pair < self._now else None

    def _wanted(self, step: int) -> bool:
        if self._every:
            return step % self._every < 2 and step // self._every < self._now
        return step & (step - 1) == 0 or (step - 1) & (step - 2) == 0
