"""Small batches that wait, copied, until some of them are counted together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightning_diag.metrics.rows import Spec
from lightning_diag.metrics.tally import Tally
from lightning_diag.slots import Slots

HELD_STEPS = 256
"""Batches that are counted together. A step then costs three copies of one microsecond each; the counting of about 40 small
operations is shared by 256 steps."""
HELD_SCORES = 2**15
"""Batches with more scores than this are counted at once instead of copied (128 KiB in float32)."""
HELD_TOTAL = 2**19
"""Scores held at most (2 MiB in float32), which also keeps the joint batch within the rows that are normalised."""
MOST_SHAPES = 4
"""Shapes of batches for which memory is made: where they keep changing, each batch is copied by itself."""


@dataclass(slots=True)
class Held:
    """Copies of predictions, targets and losses; a plain object, because attributes of a module are slow to set.

    What stays alive from step to step lies in memory made once (:class:`Slots`): batches of the shape of the one before in
    ``rows``, in order behind those of other shapes in ``scores`` and ``targets``, and the mean losses in ``losses``. A
    small tensor that each step leaves behind would split the block that the step has freed, so that the next step has to
    take a new one: a model with 25 MB of logits was seen to grow by 25 MB a step.
    """

    spec: Spec | None = None
    form: object | None = None
    weight: float = 1.0
    shape: tuple[object, ...] = ()
    rows: Slots | None = None
    scores: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)
    groups: list[Tensor] = field(default_factory=list)
    losses: Slots | None = None
    weights: list[float] = field(default_factory=list)
    chunks: list[tuple[float | Tensor, Tensor]] = field(default_factory=list)
    hear: Callable[[Tensor], None] | None = None
    heard: int = 0
    made: int = 0
    cells: int = 0
    samples: int = 0
    padded: int = 0

    @property
    def due(self) -> bool:
        """Whether it is time to count."""
        full = self.cells > HELD_TOTAL - HELD_SCORES or (self.rows is not None and self.rows.full)
        return full or len(self.weights) >= HELD_STEPS or len(self.scores) >= HELD_STEPS

    @property
    def empty(self) -> bool:
        """Whether no predictions are held."""
        return not self._batches

    @property
    def _batches(self) -> int:
        return len(self.scores) + (0 if self.rows is None else self.rows.used)

    def add_loss(self, loss: Tensor, weight: float) -> None:
        """Copy the loss of a step, its mean where it has several elements."""
        self._tell()
        if self.losses is None:
            self.losses = Slots((loss.new_empty((), dtype=torch.float32),), HELD_STEPS)
        elif self.losses.full:
            self.pack_losses()
        self.losses.put(loss if loss.dim() == 0 else loss.detach().float().mean())
        self.heard = self.losses.used
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
        if not (self.rows is not None and self.rows.takes(scores, target)) and self._repeats(scores):
            self._set_aside()
            self.rows = Slots((scores, target), max(1, min(HELD_STEPS, HELD_TOTAL // scores.numel())))
            self.made += 1
        if self.rows is not None and self.rows.takes(scores, target):
            self.rows.put(scores, target)
        else:
            self._set_aside()
            self.scores.append(scores.clone())
            self.targets.append(target.clone())
        self.cells += scores.numel()
        if groups is not None:
            self.groups.append(groups)

    def _repeats(self, scores: Tensor) -> bool:
        """Whether the batch is the second of a shape, so that more can be expected, and there were not many such shapes."""
        return bool(self.scores) and self.scores[-1].shape == scores.shape and self.made < MOST_SHAPES

    def settle(self, form: object, scores: Tensor, target: Tensor) -> None:
        """Expect batches of the ``form`` of the one that was just added."""
        if form is not self.form and self.rows is not None and self.rows.takes(scores, target):
            self._tell()
            self.form, self.hear = form, None

    def expecting(
        self, wanted: object, hear: Callable[[Tensor], None] | None, flush: Callable[[], None]
    ) -> Callable[[tuple[Tensor, ...], Tensor], bool] | None:
        """A function that copies a batch like the last one, see ``StageMetrics.expecting``; ``flush`` makes room."""
        form, rows, losses, weights = self.form, self.rows, self.losses, self.weights
        if form is None or form is not wanted or rows is None or losses is None:
            return None
        weight, samples = self.weight, rows.whole[1].shape[1]
        self._hear(hear)

        def copy(tensors: tuple[Tensor, ...], loss: Tensor) -> bool:
            if self.form is not form:
                return False
            if rows.full:
                flush()
            elif losses.full:
                self.pack_losses()
            torch._foreach_copy_((*rows.next(), *losses.next()), (*tensors, loss))
            weights.append(weight)
            self.samples += samples
            return True

        return copy

    def keeping(self, hear: Callable[[Tensor], None] | None) -> Callable[[Tensor, float | None], None] | None:
        """A function that copies the loss () of a step, see ``StageMetrics.keeping``; None before the first loss."""
        losses, weights = self.losses, self.weights
        if losses is None:
            return None
        self._hear(hear)

        def keep(loss: Tensor, weight: float | None) -> None:
            if losses.full:
                self.pack_losses()
            torch._foreach_copy_(losses.next(), (loss.reshape(()) if loss.dim() else loss,))
            weights.append(self.weight if weight is None else weight)

        return keep

    def take(self) -> tuple[Tensor, Tensor, Spec, Tensor | None]:
        """The held batches as one, to be counted before the next one comes; the store is empty afterwards."""
        assert self.spec is not None
        scores, targets, groups = self.scores, self.targets, self.groups
        if self.rows is not None and self.rows.used:
            held_scores, held_targets = self.rows.take()
            scores, targets = [*scores, held_scores.flatten(0, 1)], [*targets, held_targets.flatten(0, 1)]
        self.scores, self.targets, self.groups, self.cells = [], [], [], 0
        return torch.cat(scores), torch.cat(targets), self.spec, torch.cat(groups) if groups else None

    def emptied(self) -> Held:
        """A store with nothing in it, in the same memory; the short way into this one is closed."""
        self.form = None
        for slots in (self.rows, self.losses):
            if slots is not None:
                slots.take()
        return Held(rows=self.rows, losses=self.losses, made=self.made)

    def pack_losses(self) -> None:
        """Join the held losses to one vector with their weight, or their weights: 4 bytes a step, or 12."""
        self._tell()
        self.heard = 0
        if self.losses is None or not self.weights:
            return
        losses = self.losses.take()[0].clone()
        same = self.weights.count(self.weights[0]) == len(self.weights)
        weights = torch.tensor(self.weights, dtype=torch.float32).to(losses.device, non_blocking=True)
        self.chunks.append((self.weights[0] if same else weights, losses))
        self.weights.clear()

    def _hear(self, hear: Callable[[Tensor], None] | None) -> None:
        self._tell()
        self.hear = hear

    def _tell(self) -> None:
        """Let the losses be heard that came the short way since the last time."""
        if self.losses is None or self.heard >= self.losses.used:
            return
        if self.hear is not None:
            self.hear(self.losses.whole[0][self.heard : self.losses.used].clone())
        self.heard = self.losses.used

    def _set_aside(self) -> None:
        """Copy what is in the rows to the lists, so that a batch of another shape can follow."""
        if self.rows is not None and self.rows.used:
            scores, targets = self.rows.take()
            self.scores.append(scores.flatten(0, 1).clone())
            self.targets.append(targets.flatten(0, 1).clone())

    @torch.no_grad()
    def count_rest(self, tally: Tally) -> None:
        """Add samples, padding and losses; a loss that is not finite is counted and left out of the mean."""
        tally.add("samples", self.samples)
        tally.add("padded", self.padded)
        self.samples = self.padded = 0
        self.pack_losses()
        chunks, self.chunks = self.chunks, []
        for weights, losses in chunks:
            column = losses.to(tally.sums)
            finite = column.isfinite()
            tally.add("loss_steps", len(column))
            tally.add("loss_bad", (~finite).sum())
            tally.add_sum("loss", (torch.where(finite, column, 0) * weights).sum())
            tally.add_sum("loss_weight", (finite * weights).sum())
