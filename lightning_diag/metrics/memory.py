"""What each validation sample did at the best and at the current evaluation, so that two epochs are compared paired."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_diag.history import Outcomes, Paired, Sample
from lightning_diag.metrics.rows import Rows
from lightning_diag.slots import Tape

LIMIT = 5_000_000
"""Samples kept per rank (a bool and a float32 each: 25 MB); of more, every second, fourth ... is kept."""
OUTCOMES = 200_000
"""Samples whose answers go into the record for the comparison of runs (a bit each: 50 kB as text)."""
SUREST = 16
"""Surest mistakes kept per evaluation."""
_FIELDS = ("both", "gained", "lost", "neither", "delta", "delta_squared", "delta_n", "unpaired")
_MIX_A, _MIX_B = 0x9E3779B1, 0x85EBCA77
"""Odd multipliers (xxHash) that spread the position before it is multiplied by the target."""


@dataclass(frozen=True)
class Evaluation:
    """The samples of one evaluation on this rank, on the host, in the order in which they came.

    Attributes:
        epoch: of the evaluation. right: bool per sample. loss: float32 per sample in nats, or None.
        fingerprint: of the targets and their order. stride: every how manieth sample was kept.
    """

    epoch: int
    right: npt.NDArray[np.bool_]
    loss: npt.NDArray[np.float32] | None
    fingerprint: int
    stride: int


class SampleMemory:
    """Correctness and loss of every validation sample, in order, on the device until the epoch ends.

    The epoch's columns go to the host once, in :meth:`compare`. Two evaluations are paired only when their targets
    came in the same order, which a fingerprint of targets and positions checks.

    Args:
        limit: samples kept; more are thinned evenly.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.best: Evaluation | None = None
        self.current: Evaluation | None = None
        self._vector: Tensor | None = None
        self._rights, self._losses = Tape(torch.bool), Tape(torch.float32)
        self.restart()

    def restart(self) -> None:
        """Begin a new evaluation; the best one stays."""
        self._right: list[Tensor] = []
        self._loss: list[Tensor] = []
        for tape in (self._rights, self._losses):
            tape.clear()
        self._no_loss = False
        self._print: Tensor | None = None
        self._top: Tensor | None = None
        self._seen = self._kept = 0
        self._stride = 1
        self._vector = self.current = None

    def add(
        self,
        right: Tensor,
        target: Tensor,
        *,
        loss: Tensor | None = None,
        predicted: Tensor | None = None,
        confidence: Tensor | None = None,
    ) -> None:
        """Append samples, on their device.

        Args:
            right: bool (samples,).
            target: int64 (samples,), for the fingerprint and the mistakes shown.
            loss: per sample in nats.
            predicted: int64 (samples,).
            confidence: probability of the predicted class.
        """
        self._vector = None
        position = torch.arange(self._seen, self._seen + len(right), device=right.device)
        mixed = ((target + 1) * ((position * _MIX_A) ^ _MIX_B)).sum()
        self._print = mixed if self._print is None else self._print + mixed
        if predicted is not None and confidence is not None:
            score = torch.where(right | ~confidence.isfinite(), 0, confidence)
            known = torch.full_like(score, torch.nan) if loss is None else loss
            # float64 holds positions and class indices exactly; mps has none, there they are exact up to 2**24
            exact = torch.float32 if right.device.type == "mps" else torch.float64
            self._note_mistakes(torch.stack([c.to(exact) for c in (score, position, target, predicted, known)]))
        first = -self._seen % self._stride
        self._right.append(self._rights.put(right[first :: self._stride]))
        self._no_loss |= loss is None
        if loss is not None and not self._no_loss:
            self._loss.append(self._losses.put(loss[first :: self._stride]))
        self._seen += right.shape[0]
        self._kept += self._right[-1].shape[0]
        if self._kept > self.limit:
            self._thin()

    def add_rows(self, right: Tensor, rows: Rows | None, target: Tensor) -> None:
        """Append a counted batch.

        Positions of a dense sample are not independent of each other, so they are no pairs.

        Args:
            right: bool per row.
            rows: the columns that were counted; None for multilabel tasks.
            target: as the loss got it, samples first.
        """
        if right.numel() != len(target):
            return
        if rows is None:
            places = torch.arange(1, target.shape[-1] + 1, device=target.device)
            self.add(right, (target.long() * places).sum(-1))
        else:
            sure = rows.sure if rows.sure is not None and rows.sure.index is None else None
            loss, confidence = (None, None) if sure is None else (sure.loss, sure.confidence)
            self.add(right, rows.target, loss=loss, predicted=rows.predicted, confidence=confidence)

    def compare(self) -> Tensor:
        """Sums of the paired comparison with the best evaluation on this rank (8 numbers, float64, summable)."""
        if self._vector is None:
            self.current = self._spill()
            values = _compare(self.best, self.current)
            device = self._right[0].device if self._right else torch.device("cpu")
            vector = torch.tensor(values, dtype=torch.float64)
            self._vector = vector if device.type == "mps" else vector.to(device, non_blocking=True)
        return self._vector

    def load(self, vector: Tensor) -> None:
        """Take the sums over all ranks."""
        self._vector = vector.clone()

    def paired(self, vector: npt.NDArray[np.float64]) -> Paired | None:
        """The comparison as a value; None without an earlier evaluation or when a rank's samples are not paired."""
        sums = dict(zip(_FIELDS, vector.tolist(), strict=True))
        if self.best is None or sums["unpaired"]:
            return None
        n, mean = sums["delta_n"], None
        sem = None
        if n > 1:
            mean = sums["delta"] / n
            variance = max(0.0, (sums["delta_squared"] - n * mean * mean) / (n - 1))
            sem = float((variance / n) ** 0.5)
        counts = {name: int(sums[name]) for name in _FIELDS[:4]}
        return Paired(reference_epoch=self.best.epoch, loss_delta_mean=mean, loss_delta_sem=sem, **counts)

    def settle(self, epoch: int, *, best: bool) -> None:
        """Close the evaluation of ``epoch``; keep it as the reference when it is the best so far (or the first)."""
        current = self._spill() if self.current is None else self.current
        if best or self.best is None:
            self.best = Evaluation(epoch, current.right, current.loss, current.fingerprint, current.stride)

    def outcomes(self, stage: str) -> Outcomes | None:
        """The best evaluation, to be compared with that of another run; None where samples were thinned or too many."""
        best = self.best
        if best is None or best.stride > 1 or not 0 < len(best.right) <= OUTCOMES:
            return None
        bits = int.from_bytes(np.packbits(best.right, bitorder="little").tobytes(), "little")
        return Outcomes(
            stage=stage, epoch=best.epoch, n=len(best.right), fingerprint=best.fingerprint, right=f"{bits:x}"
        )

    def surest_mistakes(self) -> tuple[Sample, ...]:
        """The wrong predictions of this evaluation with the highest confidence, surest first."""
        if self._top is None:
            return ()
        return tuple(
            Sample(
                index=int(index),
                reference=(int(target),),
                prediction=(int(predicted),),
                confidence=confidence,
                loss=None if loss != loss else loss,  # noqa: PLR0124  (NaN stands for unknown)
                role="surest mistake",
            )
            for confidence, index, target, predicted, loss in self._top.T.tolist()
            if confidence > 0
        )

    def _note_mistakes(self, columns: Tensor) -> None:
        """Merge the batch's mistakes into the running top list."""
        if self._top is not None:
            columns = torch.cat([self._top, columns], 1)
        self._top = columns[:, columns[0].topk(min(SUREST, columns.shape[1])).indices]

    def _thin(self) -> None:
        """Keep every second of what is kept."""
        self._right = [torch.cat(self._right)[::2].clone()]
        if self._loss:
            self._loss = [torch.cat(self._loss)[::2].clone()]
        self._stride *= 2
        self._kept = len(self._right[0])

    def _spill(self) -> Evaluation:
        if not self._right:
            return Evaluation(-1, np.zeros(0, np.bool_), None, 0, 1)
        right = torch.cat(self._right).cpu().numpy()
        loss = None if self._no_loss else torch.cat(self._loss).cpu().numpy()
        mark = 0 if self._print is None else int(self._print.item())
        return Evaluation(-1, right, loss, mark, self._stride)


def _compare(best: Evaluation | None, now: Evaluation) -> list[float]:
    if best is None:
        return [0.0] * len(_FIELDS)
    same = (best.fingerprint, best.stride, len(best.right)) == (now.fingerprint, now.stride, len(now.right))
    if not same:
        return [0.0] * (len(_FIELDS) - 1) + [1.0]
    then, right = best.right, now.right
    counts = [float(np.count_nonzero(c)) for c in (then & right, ~then & right, then & ~right, ~(then | right))]
    if best.loss is None or now.loss is None:
        return [*counts, 0.0, 0.0, 0.0, 0.0]
    delta = now.loss.astype(np.float64) - best.loss
    delta = delta[np.isfinite(delta)]
    return [*counts, float(delta.sum()), float(delta @ delta), float(len(delta)), 0.0]
