"""Counts of one stage: accuracy, classes, confusion, calibration and loss, without a synchronisation in a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_diag.metrics.groups import Groups
from lightning_diag.metrics.held import Held
from lightning_diag.metrics.memory import SampleMemory
from lightning_diag.metrics.padding import Padding
from lightning_diag.metrics.result import StageResult
from lightning_diag.metrics.rows import (
    LABEL_CLASSES,
    SURE_CELLS,
    TRAIN_SURE_CELLS,
    Spec,
    batched,
    rows_of,
    thinned,
)
from lightning_diag.metrics.summed import Reduce, SummedMetric
from lightning_diag.metrics.tally import TABLE_CLASSES, Layout, Tally
from lightning_diag.metrics.unpack import unpack


class StageMetrics(SummedMetric):
    """Everything that is counted in one stage: classes, confusion, calibration, loss; one summed reduction per epoch.

    A step costs a fixed number of small tensor operations on the device of the predictions: small batches are copied
    and counted together every :data:`HELD_STEPS` steps, large ones are reduced at once without a copy. Nothing is read
    back to the host before :meth:`compute`.

    Args:
        num_classes: number of classes; taken from the first scores when None.
        group_names: names of the sample groups that ``groups=`` refers to (see :class:`Groups`).
        memory: per-sample memory that is fed with the same rows (validation).
        sure_cells: scores per counted batch from which confidence and entropy are taken. Default: :data:`SURE_CELLS`
            with a memory (which wants the loss of each sample), else :data:`TRAIN_SURE_CELLS`.
        most_scores: scores per batch that are read; of larger batches evenly spaced positions. None reads all.
        kwargs: passed to :class:`torchmetrics.Metric`.

    Attributes:
        stride, read_every: positions of a batch, and batches, of which one is read where one has more than ``most_scores``.

    Example:
        >>> metrics = StageMetrics()
        >>> metrics.update(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
        >>> metrics.compute().correct
        1
    """

    full_state_update = False
    counts: Tensor
    sums: Tensor

    def __init__(
        self,
        num_classes: int | None = None,
        *,
        group_names: Sequence[str] = (),
        memory: SampleMemory | None = None,
        sure_cells: int | None = None,
        most_scores: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.task: str | None = None
        self.groups = Groups(group_names)
        self.memory = memory
        self.sure_cells = sure_cells or (TRAIN_SURE_CELLS if memory is None else SURE_CELLS)
        self.padding: Padding | None = None
        self.most_scores = most_scores
        self.read_every = self.stride = 1
        self._agreed = self._guessed = False
        self._held = Held()
        self._layout = Layout(0)
        self._allocate(self._shape(num_classes or 0, None))

    def update(
        self,
        preds: Tensor | None,
        target: Tensor | None,
        *,
        task: str = "multiclass",
        kind: str = "logits",
        class_dim: int = 1,
        ignore_index: int | None = None,
        loss: Tensor | None = None,
        weight_n: float | None = None,
        groups: Sequence[str] | Tensor | None = None,
    ) -> None:
        """Count one batch.

        Args:
            preds: scores with the classes on ``class_dim`` (binary: one score per position), or labels; None for the loss alone.
            target: class indices, 0/1 labels, or probabilities of the classes (``soft``).
            task: one of ``multiclass binary multilabel dense soft``.
            kind: ``logits``, ``log_probs``, ``probs`` or ``labels``.
            class_dim: axis of the classes in ``preds``.
            ignore_index: target value that does not count.
            loss: mean loss of the batch, one element, on any device; copied.
            weight_n: what the loss is the mean over; the number of samples when None.
            groups: group of each sample: names, or indices into ``group_names``.

        Raises:
            ValueError: for an unknown task, or when targets and predictions do not match in number.
        """
        self.accumulate(
            preds,
            target,
            task=task,
            kind=kind,
            class_dim=class_dim,
            ignore_index=ignore_index,
            loss=None if loss is None else loss.detach(),
            weight_n=weight_n,
            groups=groups,
        )

    def accumulate(
        self,
        preds: Tensor | None,
        target: Tensor | None,
        *,
        task: str,
        kind: str,
        class_dim: int = 1,
        ignore_index: int | None = None,
        loss: Tensor | None = None,
        weight_n: float | None = None,
        groups: Sequence[str] | Tensor | None = None,
        form: object | None = None,
    ) -> None:
        """:meth:`update` without torchmetrics' book-keeping; ``form``: the same for batches that differ in values alone."""
        held, spec, given = self._held, Spec(task, kind, class_dim, ignore_index), target
        if preds is not None and target is not None and preds.dim() < 2:
            preds, target, spec = batched(preds, target, spec)
        samples = 0 if target is None else (target.shape or (1,))[0]
        if loss is not None:
            held.add_loss(loss, samples or 1 if weight_n is None else weight_n)
        if preds is not None and target is not None and samples:
            kept, repeats = (samples, 0) if self.padding is None else self.padding.take(samples)
            held.samples += kept
            held.padded += repeats
            if repeats:
                preds, target, groups = preds[:kept], target[:kept], None if groups is None else groups[:kept]
            if self.most_scores is not None and groups is None and preds.numel() > self.most_scores:
                turn, skipped = divmod(self.__dict__["_update_count"], self.read_every)
                if skipped:
                    self._step_done()
                    return
                preds, target, self.stride = thinned(preds, target, spec, self.most_scores, turn)
            self._hold(preds, target, spec, groups)
            plain = groups is None and self.padding is None and self.memory is None
            if form is not None and plain and loss is not None and loss.dim() == 0 and target is given:
                held.settle(form, preds, target)
        self._step_done()

    def add_loss(self, loss: Tensor | None, weight_n: float = 1) -> None:
        """A batch of which nothing is counted but its mean loss, if there is one; see :meth:`accumulate`."""
        if loss is not None:
            self._held.add_loss(loss, weight_n)
        self._step_done()

    def expecting(
        self, form: object, hear: Callable[[Tensor], None] | None
    ) -> Callable[[tuple[Tensor, ...], Tensor], bool] | None:
        """A short way to count batches like the last one; None where there is none.

        Args:
            form: of the last batch; another one was expected where the memory made is not for its shape.
            hear: is given the losses counted this way, shape (batches,), before they are counted.

        Returns:
            A function of ((predictions, target), loss), all detached and of the ``form`` that :meth:`accumulate` was told;
            it copies them and returns True, or does nothing and returns False once batches of another form have come.
        """
        return self._held.expecting(form, hear, self.flush)

    def keeping(self, hear: Callable[[Tensor], None] | None) -> Callable[[Tensor, float | None], None] | None:
        """A short way to keep mean losses of batches of which nothing else is counted; None before the first loss.

        Args:
            hear: as in :meth:`expecting`.

        Returns:
            A function of (loss, what it is the mean over, or None: as many as last time), to be used until :meth:`reset`.
        """
        return self._held.keeping(hear)

    def _step_done(self) -> None:
        self.__dict__["_update_count"] += 1
        if self._held.due:
            self.flush()

    def flush(self) -> None:
        """Count what is held. Called by itself; still without synchronisation."""
        self.__dict__["_computed"] = None
        self._count_held()
        self._held.pack_losses()

    def packed(self) -> Tensor:
        """All that ranks have to sum, as one float64 vector (counts are exact up to 2**53)."""
        self._count_held()
        self._held.count_rest(Tally(self._layout, self.counts, self.sums))
        home = torch.device("cpu") if self.counts.device.type == "mps" else self.counts.device  # mps has no float64
        parts = [self.counts, self.sums]
        if self.memory is not None:
            parts.append(self.memory.compare())
        return torch.cat([part.to(home).to(torch.float64) for part in parts])

    def load_packed(self, vector: Tensor) -> None:
        """Take the summed vector of all ranks as the state."""
        edge = self._layout.counts
        self.counts = vector[:edge].round().to(torch.int64).to(self.counts.device)
        self.sums = vector[edge : edge + self._layout.sums].to(self.sums, copy=True)
        if self.memory is not None:
            self.memory.load(vector[edge + self._layout.sums :])

    def agree(self, reduce_max: Reduce, *, groups: bool = False) -> None:
        """Agree once on the number of classes (and the order of the groups), so that all ranks send the same vector."""
        if self._agreed:
            return
        self.flush()
        mine = torch.tensor([self._layout.classes, int(self.task == "multilabel")], device=self.counts.device)
        classes, multilabel = (int(v) for v in reduce_max(mine).tolist())
        self.collectives += 1
        self._agreed = True
        self._grow(classes, "multilabel" if multilabel else self.task)
        if groups:
            self.collectives += self.groups.agree(reduce_max, Tally(self._layout, self.counts, self.sums).groups)

    def result(self) -> StageResult:
        """The numbers of the state as it is, read to the host in one copy."""
        vector = self.packed().cpu().numpy()
        paired = self.memory.paired(vector[self._layout.counts + self._layout.sums :]) if self.memory else None
        found = unpack(vector, self._layout, task=self.task, groups=self.groups.names, paired=paired)
        return found.trimmed() if self._guessed else found

    def compute(self) -> StageResult:
        """The numbers of the epoch, summed over the ranks where torch.distributed runs."""
        return self.result()

    def reset(self) -> None:
        """Forget the epoch; the number of classes and the best evaluation of the memory stay."""
        super().reset()
        self._held = self._held.emptied()
        if self.memory is not None:
            self.memory.restart()

    def _hold(self, preds: Tensor, target: Tensor, spec: Spec, groups: Sequence[str] | Tensor | None) -> None:
        held = self._held
        preds = preds.detach() if preds.requires_grad else preds
        target = target.detach() if target.requires_grad else target
        ids = None if groups is None else self.groups.ids(groups, target.device)
        if not held.fits(preds, target, spec, ids):
            self._count_held()
            if not held.fits(preds, target, spec, ids):  # too large to copy
                self._count(preds, target, spec, ids)
                return
        if target.numel():
            held.add(preds, target, ids)

    def _count_held(self) -> None:
        if not self._held.empty:
            self._count(*self._held.take())

    @torch.no_grad()
    def _count(self, scores: Tensor, target: Tensor, spec: Spec, ids: Tensor | None) -> None:
        classes = spec.classes(scores)
        if classes is None:
            classes = self._layout.classes or LABEL_CLASSES
            self._guessed |= not self._layout.classes
        self.task = spec.task
        self._grow(classes, spec.task, scores.device)
        tally = Tally(self._layout, self.counts, self.sums)
        if spec.task == "multilabel":
            rows, right = None, tally.add_labels(scores, target, spec)
        else:
            rows = rows_of(scores, target, spec, sure_cells=self.sure_cells, want_loss=self.memory is not None)
            wide = None if ids is None else ids.repeat_interleave(rows.target.numel() // len(ids))
            right = tally.add_rows(rows, wide)
        if self.memory is not None:
            self.memory.add_rows(right, rows, target)

    def _shape(self, classes: int, task: str | None) -> Layout:
        return Layout(classes, self.groups.room, table=0 < classes <= TABLE_CLASSES and task != "multilabel")

    def _allocate(self, layout: Layout, device: torch.device | None = None) -> None:
        """Fresh states; made outside inference mode so that later steps may add to them in place."""
        with torch.inference_mode(mode=False):
            float_type = torch.float32 if device is not None and device.type == "mps" else torch.float64
            self.add_state("counts", torch.zeros(layout.counts, dtype=torch.int64), dist_reduce_fx="sum")
            self.add_state("sums", torch.zeros(layout.sums, dtype=float_type), dist_reduce_fx="sum")
            if device is not None:
                self.to(device)
        self._layout = layout

    def _grow(self, classes: int, task: str | None, device: torch.device | None = None) -> None:
        """Make room for more classes, keeping what was counted. After ranks have agreed the layout stays."""
        device = device or self.counts.device
        layout = self._shape(max(classes, self._layout.classes), task)
        fixed = self._agreed and self._layout.classes > 0
        if (layout == self._layout or fixed) and device == self.counts.device:
            return
        old = Tally(self._layout, self.counts, self.sums)
        self._allocate(self._layout if fixed else layout, device)
        with torch.inference_mode(mode=False), torch.no_grad():
            Tally(self._layout, self.counts, self.sums).take_over(old)
