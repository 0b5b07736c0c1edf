"""Lengths that a step computes from whole numbers of the batch, as from the widths of images: what training showed of the rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_diag.capture import values
from lightning_diag.capture.batch import Path

MOST = 64
"""Largest step: frames of a network are hardly ever further apart."""

Fit = tuple[int, int, int]
"""A step with the least and the greatest shift that give the lengths seen so far."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """All rules ``(number + shift) // step`` that give the lengths seen so far; none where every one was refuted.

    Rounding down, rounding up and the sizes behind convolutions and poolings are of this kind.

    Attributes:
        path: of the numbers in the batch.
        fits: the rules.
    """

    path: Path
    fits: tuple[Fit, ...]

    def narrowed(self, lengths: Tensor, batch: Mapping[Path, Tensor]) -> Scaled:
        """Those rules that also give ``lengths`` for this batch."""
        numbers = batch.get(self.path)
        if numbers is None or numbers.numel() != lengths.numel() or not values.readable(numbers, lengths):
            return self
        found = (_narrowed(fit, numbers.flatten(), lengths.flatten().to(numbers.device)) for fit in self.fits)
        return Scaled(self.path, tuple(fit for fit in found if fit is not None))

    def lengths(self, batch: Mapping[Path, Tensor]) -> Tensor | None:
        """Of another batch, where all rules agree on them; None where they do not, or there are no numbers.

        Where one rule is left nothing is looked at: no device is waited for.
        """
        numbers = batch.get(self.path)
        rules = dict.fromkeys((step, shift) for step, *shifts in self.fits for shift in shifts)
        if numbers is None or not rules:
            return None
        first, *others = ((numbers.detach().flatten() + shift) // step for step, shift in rules)
        return first if all(values.same(first, other) for other in others) else None


def _narrowed(fit: Fit, numbers: Tensor, lengths: Tensor) -> Fit | None:
    step, least, most = fit
    behind = lengths * step - numbers
    least, most = max(least, int(behind.max())), min(most, int(behind.min()) + step - 1)
    return (step, least, most) if least <= most else None


def learn(lengths: Tensor, batch: Mapping[Path, Tensor]) -> tuple[Scaled, ...]:
    """From which numbers of the batch these lengths may have been computed, and how; lengths that are all one tell nothing."""
    if not values.readable(lengths) or values.is_constant(lengths) is not False:
        return ()
    everything = tuple((step, -(2**31), 2**31) for step in range(1, MOST + 1))
    fitting = (
        Scaled(path, everything).narrowed(lengths, batch)
        for path, leaf in batch.items()
        if leaf.dtype in {torch.int32, torch.int64} and leaf.numel() == lengths.numel() and values.readable(leaf)
    )
    return tuple(scaled for scaled in fitting if scaled.fits)


def agreed(scaled: tuple[Scaled, ...], batch: Mapping[Path, Tensor], most: int) -> Tensor | None:
    """The lengths of a batch, of at most ``most``, on which all numbers that are left agree; None where they do not."""
    found = [one.lengths(batch) for one in scaled if one.fits]
    first = found[0] if found else None
    if first is None or any(other is None or not values.same(first, other) for other in found[1:]):
        return None
    return first.clamp(0, most)
