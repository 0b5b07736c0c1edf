"""Small batches that wait, copied, until some of them are counted together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    """Copies of predictions, targets and losses; plain lists, because attributes of a module are slow to set.

    Batches that differ in nothing but their values (of one ``form``) go into ``slots``; ``hear``, if set, is given their
    losses, shape (batches,), before they are counted.
    """

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
    slots: Slots | None = None
    hear: Callable[[Tensor], None] | None = None
    cells: int = 0
    samples: int = 0
    padded: int = 0

    @property
    def due(self) -> bool:
        """Whether it is time to count."""
        waiting = max(len(self.scores), len(self.losses))
        return waiting >= HELD_STEPS or self.cells > HELD_TOTAL - HELD_SCORES

    @property
    def empty(self) -> bool:
        """Whether no predictions are held."""
        return not self.scores and (self.slots is None or not self.slots.used)

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
        """Expect batches of the ``form`` of the one that was just added; its tensors and a loss () are detached."""
        if form is self.form:
            return
        self._unload()  # views: the memory itself stays with them until they are counted
        self.form, self.form_weight, self.hear = form, self.weight, None
        self.slots = Slots((scores, target, loss), max(1, min(HELD_STEPS, HELD_TOTAL // max(1, scores.numel()))))

    def expecting(
        self, hear: Callable[[Tensor], None] | None, flush: Callable[[], None]
    ) -> Callable[[tuple[Tensor, ...], Tensor], bool] | None:
        """A function that copies a batch like the last one, see ``StageMetrics.expecting``; ``flush`` makes room."""
        form, slots = self.form, self.slots
        if form is None or slots is None:
            return None
        self.hear = hear

        def copy(tensors: tuple[Tensor, ...], loss: Tensor) -> bool:
            if self.form is not form:
                return False
            slots.put(*tensors, loss)
            if slots.full:
                flush()
            return True

        return copy

    def take(self) -> tuple[Tensor, Tensor, Spec, Tensor | None]:
        """The held batches as one, to be counted before the next one comes; the store is empty afterwards."""
        assert self.spec is not None
        self._unload()
        groups = torch.cat(self.groups) if self.groups else None
        joined = torch.cat(self.scores), torch.cat(self.targets), self.spec, groups
        self.scores, self.targets, self.groups, self.cells = [], [], [], 0
        return joined

    def pack_losses(self) -> None:
        """Join the held losses to one vector per weight (no list goes to the device this way): 4 bytes a step."""
        losses, weights = self.losses, self.weights
        self.losses, self.weights = [], []
        for weight in dict.fromkeys(weights):
            same = [v if v.dim() == 0 else v.mean() for v, w in zip(losses, weights, strict=True) if w == weight]
            self.chunks.append((weight, torch.stack(same)))

    def take_losses(self) -> Iterator[tuple[float, Tensor]]:
        """(weight, losses with that weight); empty afterwards."""
        self.pack_losses()
        chunks, self.chunks = self.chunks, []
        yield from chunks

    def _unload(self) -> None:
        """Move what the slots hold to the lists, whose views are read before the next batch comes."""
        if self.slots is None or not self.slots.used:
            return
        scores, targets, losses = self.slots.take()
        self.scores.append(scores.flatten(0, 1))
        self.targets.append(targets.flatten(0, 1))
        self.samples += len(self.targets[-1])
        self.chunks.append((self.form_weight, losses.clone()))
        if self.hear is not None:
            self.hear(self.chunks[-1][1])

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
