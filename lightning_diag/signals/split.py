"""What the batches of one split look like, gathered as they come: no sample is read twice, no host copy in a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_diag.signals.inputs import features, find_inputs, fingerprints, hash_weights
from lightning_diag.slots import Slots, Tape

HASHED = 50_000
"""Samples fingerprinted per split (400 KB); a leak of 1 % of the validation set shows up in that many."""
ROWS = 2_048
"""Samples kept at most, with at most :data:`KEPT_FEATURES` features each (2 MiB per split)."""
KEPT_FEATURES = 256
BATCHES, LATER_BATCHES = 1_024, 32
"""Batches whose labels are looked at in the first epoch and in later ones."""

WAITING_STEPS, WAITING_FEATURES, MOST_SHAPES = 32, 2**16, 4
"""Batches, and features in all, that are looked at together (256 KiB in float32: what is in the cache is hashed three times as
fast); shapes of batches for which memory is made."""

Floats = npt.NDArray[np.float32]
Longs = npt.NDArray[np.int64]


class SplitWatch:
    """Gathers facts of one split during its first epoch, and a few batches of later ones.

    Every observed batch costs two small copies on its device; some thirty are then looked at together. Rows are taken evenly
    over the whole epoch: when too many are held, every second one is dropped and later batches give half as many.
    """

    def __init__(self) -> None:
        self.feature_count: int | None = None
        self.integer = self.indices = False
        self.hashed = 0
        self._waiting: Slots | None = None
        self._shapes = self._looked_at = 0
        self._weights: Tensor | None = None
        self._prints: list[Tensor] = []
        self._later: list[Tensor] = []
        self._nonfinite: Tensor | None = None
        self._rows: list[Tensor] = []
        self._row_labels: list[Tensor] | None = []
        self._row_step, self._kept = 1, 0
        self._epoch = -1
        self._batches = 0
        self.labels: list[Tensor] = []
        self._tapes = {name: Tape(torch.int64) for name in ("prints", "labels", "row labels")}
        self._row_tape = Tape(torch.float32)

    def start(self) -> None:
        """Begin an epoch."""
        self._settle()
        self._epoch += 1
        self._batches = 0

    @property
    def complete(self) -> bool:
        """Whether every sample of the first epoch was fingerprinted."""
        return 0 < self.hashed < HASHED and self._epoch > 0

    @property
    def wants_inputs(self) -> bool:
        """Whether inputs of the next batch are still looked at."""
        if self._epoch == 0:
            return self.hashed < HASHED
        return self._epoch == 1 and self._batches < 4

    def batch(self, batch: Any, target: Tensor | None, *, binary: bool = False) -> bool:
        """Look at one batch.

        Args:
            batch: as the step gets it.
            target: what the loss compared the predictions with.
            binary: the target is 0 or 1 in floating point, as a binary cross entropy wants it.

        Returns:
            Whether the next batch of this epoch is wanted too.
        """
        if self._epoch < 0:  # the rest of an epoch that a resumed run goes on with
            return False
        wants = self.wants_inputs
        self._batches += 1
        limit = LATER_BATCHES if self._epoch else BATCHES
        if self._batches <= limit and target is not None and _class_indices(target, binary=binary):
            self.labels.append(self._tapes["labels"].put(_yes_or_no(target) if binary else target))
        if wants:
            self._look(batch, target, binary=binary)
        return wants or self._batches < limit

    @torch.no_grad()
    def _look(self, batch: Any, target: Tensor | None, *, binary: bool) -> None:
        inputs = find_inputs(batch, target)
        if inputs is None or not len(inputs):
            return
        sampled = features(inputs)
        if self.feature_count is None:
            self.feature_count, self.integer = inputs[0].numel(), not inputs.is_floating_point()
            self.indices = self.integer and inputs.dtype is not torch.uint8
        if self._weights is None or len(self._weights) != sampled.shape[1]:
            if self.hashed:  # samples of varying size (padded sequences) are not comparable by position
                return
            self._weights = hash_weights(sampled.shape[1], sampled.device)
        if not self._epoch:
            self.hashed += len(sampled)
        labels = _one_per_sample(target, len(sampled), binary=binary)
        self._wait((sampled,) if labels is None else (sampled, labels))

    def _wait(self, tensors: tuple[Tensor, ...]) -> None:
        """Copy features, and labels where there are some, until several batches are looked at together."""
        if self._waiting is None or not self._waiting.takes(*tensors):
            self._settle()
        if self._waiting is None or not self._waiting.takes(*tensors):  # of another shape
            steps = min(WAITING_STEPS, WAITING_FEATURES // max(1, tensors[0].numel()))
            if steps < 2 or self._shapes == MOST_SHAPES:
                self.look(*tensors)
                return
            self._waiting = Slots(tensors, steps)
            self._shapes += 1
        self._waiting.put(*tensors)

    def _settle(self) -> None:
        """Look at the batches that wait."""
        if self._waiting is not None and self._waiting.used:
            self.look(*(held.flatten(0, 1) for held in self._waiting.take()))

    @torch.no_grad()
    def look(self, sampled: Tensor, labels: Tensor | None = None) -> None:
        """Take fingerprints of samples, and of the first epoch some rows.

        Args:
            sampled: (samples, features).
            labels: (samples,) class indices, where each sample has one.
        """
        assert self._weights is not None
        marks = self._tapes["prints"].put(fingerprints(sampled, self._weights))
        if self._epoch:
            self._later.append(marks)
            return
        self._prints.append(marks)
        if not self.integer or sampled.dtype is torch.uint8:
            # NaN and infinities times zero are NaN; six times as fast as isfinite
            found = ((sampled * 0).sum(1) != 0).sum()
            # not in place: some batches of validation are looked at in inference mode, the last ones behind it
            self._nonfinite = found if self._nonfinite is None else self._nonfinite + found
            self._keep(sampled, labels)
        self._looked_at += len(sampled)

    def _keep(self, sampled: Tensor, labels: Tensor | None) -> None:
        """Keep the samples of the epoch whose index is a multiple of the step, with their labels while all have one."""
        first = -self._looked_at % self._row_step
        narrow = self._row_tape.put(features(sampled, KEPT_FEATURES)[first :: self._row_step])
        self._rows.append(narrow)
        self._kept += len(narrow)
        if labels is None:
            self._row_labels = None
        elif self._row_labels is not None:
            self._row_labels.append(self._tapes["row labels"].put(labels[first :: self._row_step]))
        while self._kept > ROWS:
            self._rows = [torch.cat(self._rows)[::2].clone()]
            self._row_labels = self._row_labels and [torch.cat(self._row_labels)[::2].clone()]
            self._row_tape.clear()
            self._tapes["row labels"].clear()
            self._row_step *= 2
            self._kept = len(self._rows[0])

    def rows(self) -> Floats:
        """Kept samples, (rows, features), float32 on the host."""
        self._settle()
        kept: Floats = _host(self._rows, np.zeros((0, 0), np.float32))
        return kept

    def row_labels(self) -> Longs:
        """Class indices of :meth:`rows`; empty where a kept sample has none."""
        self._settle()
        marks: Longs = _host(self._row_labels or [], np.zeros(0, np.int64))
        return marks

    def prints(self) -> Longs:
        """Fingerprints of the first epoch."""
        self._settle()
        marks: Longs = _host(self._prints, np.zeros(0, np.int64))
        return marks

    def later_prints(self) -> Longs:
        """Fingerprints of some batches of the second epoch."""
        self._settle()
        marks: Longs = _host(self._later, np.zeros(0, np.int64))
        return marks

    def nonfinite(self) -> int | None:
        """Samples with NaN or infinite features; None when no floating inputs were seen."""
        self._settle()
        return None if self._nonfinite is None else int(self._nonfinite)

    @property
    def labels_complete(self) -> bool:
        """Whether the labels of every batch of the running epoch were looked at: of a later one there are some at most."""
        return self._epoch == 0 and self._batches < BATCHES

    def take_labels(self) -> list[Longs]:
        """Class indices of the observed batches since the last call."""
        labels, self.labels = self.labels, []
        self._tapes["labels"].clear()  # they are read before the next batch comes
        if not labels:
            return []
        sizes = np.cumsum([t.numel() for t in labels])[:-1]
        return list(np.split(torch.cat([t.reshape(-1) for t in labels]).cpu().numpy(), sizes))


def _class_indices(target: Tensor, *, binary: bool) -> bool:
    column = target.dim() == 1 or (target.dim() == 2 and target.shape[1] == 1)
    return column and (binary or not (target.is_floating_point() or target.dtype is torch.bool))


def _one_per_sample(target: Tensor | None, samples: int, *, binary: bool) -> Tensor | None:
    """The labels of a batch, where each of its samples has one."""
    if target is None or not _class_indices(target, binary=binary) or target.numel() != samples:
        return None
    return (_yes_or_no(target) if binary else target.detach().long()).reshape(-1)


def _yes_or_no(target: Tensor) -> Tensor:
    """Class indices of binary targets: smoothed ones are 1 from 0.5 on; NaN and values outside [0, 1] are -1, no class."""
    target = target.detach()
    return torch.where((target >= 0) & (target <= 1), (target >= 0.5).long(), -1)


def _host(parts: list[Tensor], empty: Any) -> Any:
    return torch.cat(parts).cpu().numpy() if parts else empty
