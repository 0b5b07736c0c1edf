"""Small batches that wait, copied, until some of them are counted together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightning_diag.metrics.rows import Spec
from lightning_diag.metrics.slots import Slots
from lightning_diag.metrics.tally import Tally

HELD_STEPS = 256
"""Batches that are counted together. A step then costs three copies of one microsecond each; the counting of about 40 small
operations is shared by 256 steps."""
HELD_SCORES = 2**15
"""Batches with more scores than this are counted at once instead of copied (128 KiB in float32)."""
HELD_TOTAL = 2**19
"""Scores held at most (2 MiB in float32), which also keeps the joint batch within the rows that are normalised."""


@dataclass(slots=True)
class Held:
    """Copies of predictions, targets and losses; plain lists, because attributes of a module are slow to set."""

    spec: Spec | None = None
    form: object | None = None
    weight: float = 1.0
    form_weight: float = 1.0
    shape: tuple[object, ...] = ()
    scores: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)
    groups: list[Tensor] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    chunks: list[tuple[float, Tensor]] = field(default_factory=list)
    slots: tuple[Slots, Slots, Slots] | None = None
    cells: int = 0
    samples: int = 0
    padded: int = 0

    @property
    def due(self) -> bool:
        """Whether it is time to count."""
        if self.slots is not None and (self.slots[0].full or self.slots[2].full):
            return True
        waiting = max(len(self.scores), len(self.losses))
        return waiting >= HELD_STEPS or self.cells > HELD_TOTAL - HELD_SCORES

    @property
    def empty(self) -> bool:
        """Whether no predictions are held."""
        return not self.scores and (self.slots is None or not self.slots[0].used)

    def add_loss(self, loss: Tensor, weight: float) -> None:
        """Keep the loss of a step; nobody may change it later."""
        self.losses.append(loss)
        self.weights.append(weight)
        self.weight = weight

    def fits(self, scores: Tensor, target: Tensor, spec: Spec, groups: Tensor | None) -> bool:
        """Whether the batch can be joined with those held; an empty store takes anything that is small."""
        shape = (scores.shape[1:], target.shape[1:], scores.dtype, target.dtype, scores.device, groups is None)
        if self.empty:
            self.spec, self.shape, self.form = spec, shape, None
        return shape == self.shape and spec == self.spec and scores.numel() <= HELD_SCORES

    def add(self, scores: Tensor, target: Tensor, groups: Tensor | None) -> None:
        """Copy a batch that fits."""
        self.scores.append(scores.clone())
        self.targets.append(target.clone())
        self.cells += scores.numel()
        if groups is not None:
            self.groups.append(groups)

    def settle(self, form: object, scores: Tensor, target: Tensor, loss: Tensor) -> None:
        """Expect batches of the ``form`` of the one that was just added."""
        self.form = form
        new = scores, target, loss
        if self.slots is not None:
            same = all(slots.fits(tensor) for slots, tensor in zip(self.slots, new, strict=True))
            if not same or self.weight != self.form_weight:
                self._unload()
                self.slots = None
        if self.slots is None:
            steps = max(1, min(HELD_STEPS, HELD_TOTAL // max(1, scores.numel())))
            self.slots = Slots(scores, steps), Slots(target, steps), Slots(loss, steps)
        self.form_weight = self.weight

    def again(self, scores: Tensor, target: Tensor, loss: Tensor) -> None:
        """Copy a batch, and its loss, that are like those given to :meth:`settle` in all but their values."""
        assert self.slots is not None
        for slots, tensor in zip(self.slots, (scores, target, loss), strict=True):
            slots.put(tensor)
        self.cells += scores.numel()
        self.samples += len(target)

    def take(self) -> tuple[Tensor, Tensor, Spec, Tensor | None]:
        """The held batches as one, to be counted before the next one comes; the store is empty afterwards."""
        assert self.spec is not None
        groups = torch.cat(self.groups) if self.groups else None
        scores, targets = self.scores, self.targets
        if self.slots is not None and self.slots[0].used:
            scores, targets = (
                [*scores, self.slots[0].take().flatten(0, 1)],
                [*targets, self.slots[1].take().flatten(0, 1)],
            )
        joined = torch.cat(scores), torch.cat(targets), self.spec, groups
        self.scores, self.targets, self.groups, self.cells = [], [], [], 0
        return joined

    def pack_losses(self) -> None:
        """Join the held losses to one vector per weight (no list goes to the device this way): 4 bytes a step."""
        losses, weights = self.losses, self.weights
        self.losses, self.weights = [], []
        for weight in dict.fromkeys(weights):
            same = [v if v.dim() == 0 else v.mean() for v, w in zip(losses, weights, strict=True) if w == weight]
            self.chunks.append((weight, torch.stack(same)))
        if self.slots is not None and self.slots[2].used:
            self.chunks.append((self.form_weight, self.slots[2].take().clone()))

    def take_losses(self) -> Iterator[tuple[float, Tensor]]:
        """(weight, losses with that weight); empty afterwards."""
        self.pack_losses()
        chunks, self.chunks = self.chunks, []
        yield from chunks

    def _unload(self) -> None:
        """Move what the slots hold to the lists."""
        assert self.slots is not None
        if self.slots[0].used:
            self.scores.append(self.slots[0].take().flatten(0, 1))
            self.targets.append(self.slots[1].take().flatten(0, 1))
        if self.slots[2].used:
            self.chunks.append((self.form_weight, self.slots[2].take()))

    @torch.no_grad()
    def count_rest(self, tally: Tally) -> None:
        """Add samples, padding and losses; a loss that is not finite is counted and left out of the mean."""
        tally.add("samples", self.samples)
        tally.add("padded", self.padded)
        self.samples = self.padded = 0
        for weight, losses in self.take_losses():
            column = losses.to(tally.sums)
            finite = column.isfinite()
            tally.add("loss_steps", len(column))
            tally.add("loss_bad", (~finite).sum())
            tally.add_sum("loss", torch.where(finite, column, 0).sum() * weight)
            tally.add_sum("loss_weight", finite.sum() * weight)
