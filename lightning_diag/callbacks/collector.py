"""The metrics of one stage over one interval, fed with observations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_diag.callbacks.messages import warn
from lightning_diag.callbacks.options import Options
from lightning_diag.capture import Observation
from lightning_diag.history import CTCFacts, Sample, StageRecord
from lightning_diag.metrics.classification import StageMetrics
from lightning_diag.metrics.memory import SampleMemory

if TYPE_CHECKING:
    from lightning_diag.metrics.ctc import CTCCollector

Reduce = Callable[[Tensor], Tensor]


class StageCollector:
    """Passes observations of a stage to the metric of their task.

    Args:
        stage: ``train``, ``val``, ``val:1`` ...
        options: settings of the report (groups, decoder).
        with_ctc: whether CTC signals are wanted (``CTCBlankMonitor`` is attached).
    """

    def __init__(self, stage: str, options: Options, *, with_ctc: bool) -> None:
        self.stage = stage
        self.options = options
        self.task: str | None = None
        self.classes: int | None = None
        self.steps = 0
        self.memory = SampleMemory() if stage != "train" else None
        self.metrics = StageMetrics(memory=self.memory)
        self.ctc: CTCCollector | None = None
        self._with_ctc = with_ctc

    def observe(self, observation: Observation | None, batch: Any, step_loss: Tensor | None) -> None:
        """Count one step.

        Args:
            observation: the captured pair, or None.
            batch: the batch, read for the groups.
            step_loss: what the step returned, where nothing better was captured.
        """
        self.steps += 1
        if observation is None:
            if step_loss is not None:
                self.metrics.accumulate(None, None, task="", kind="", loss=step_loss)
            return
        self.task = self.task or observation.task
        self.classes = self.classes or observation.num_classes
        loss = _mean_loss(observation)
        loss = step_loss if loss is None else loss
        if observation.task == "ctc":
            self._observe_ctc(observation, loss)
        elif observation.counts or observation.task == "soft":
            self._count(observation, loss, batch)
        else:
            self.metrics.accumulate(None, None, task="", kind="", loss=loss, weight_n=observation.samples)

    def values(self, reduce_sum: Reduce | None = None, reduce_max: Reduce | None = None) -> dict[str, float]:
        """Scalars of the interval under their full names, summed over the ranks where there are several."""
        if reduce_sum is not None and reduce_max is not None:
            self.metrics.agree(reduce_max)
            self.metrics.reduce(reduce_sum)
        self._result = self.metrics.result()
        found = {f"{self.stage}/{name}": value for name, value in self._result.values().items()}
        if self.ctc is not None:
            found.update(self.ctc.epoch_end())
        return found

    def record(self, *, complete: bool) -> StageRecord:
        """Counts of the interval; call after :meth:`values`."""
        if self.ctc is not None:
            return self.ctc.stage_record()
        return self._result.to_record(complete=complete)[1]

    def samples(self) -> tuple[Sample, ...]:
        """Samples worth showing: the surest mistakes, or decodes for CTC."""
        if self.ctc is not None:
            return self.ctc.samples()
        return self.memory.surest_mistakes() if self.memory is not None else ()

    def ctc_facts(self) -> CTCFacts | None:
        """What the CTC calls had in common."""
        return None if self.ctc is None else self.ctc.facts()

    def reset(self) -> None:
        """Begin a new interval."""
        self.steps = 0
        self.metrics.reset()
        if self.ctc is not None:
            self.ctc.reset()

    def _count(self, observation: Observation, loss: Tensor | None, batch: Any) -> None:
        self.metrics.accumulate(
            observation.preds,
            observation.target,
            task=observation.task,
            kind=observation.kind,
            class_dim=observation.class_dim,
            ignore_index=observation.ignore_index,
            loss=loss,
            groups=self._groups(batch, observation.samples),
        )

    def _groups(self, batch: Any, samples: int) -> Sequence[str] | Tensor | None:
        """Group of each sample; names, because indices of a tensor mean nothing in the report."""
        groups = self.options.groups
        if groups is None:
            return None
        found = groups(batch) if callable(groups) else batch[groups]
        names = [str(g) for g in (found.tolist() if isinstance(found, Tensor) else found)]
        if len(names) != samples:
            raise ValueError(f"groups= gave {len(names)} groups for a batch of {samples} samples")
        return names

    def _observe_ctc(self, observation: Observation, loss: Tensor | None) -> None:
        self.metrics.accumulate(None, None, task="", kind="", loss=loss, weight_n=observation.samples)
        if not self._with_ctc:
            return
        if self.ctc is None:
            from lightning_diag.metrics.ctc import CTCCollector

            self.ctc = CTCCollector(self.stage, decoder_blank=self.options.blank, id_to_token=self.options.id_to_token)
        frames, tokens = observation.input_lengths, observation.target_lengths
        if frames is None or tokens is None:
            return
        found = self.ctc.observe(
            observation.preds,
            observation.target,
            frames,
            tokens,
            blank=observation.blank,
            zero_infinity=observation.zero_infinity,
            loss=observation.loss,
            reduction=observation.reduction,
        )
        for check in found:
            warn(f"lightning_diag, {self.stage} step {self.steps}: {check.sentence}")


def _mean_loss(observation: Observation) -> Tensor | None:
    """The loss of the call as a mean: what ``reduction="mean"`` would have returned."""
    loss = observation.loss
    if loss is None:
        return None
    if loss.numel() != 1:
        return loss.float().mean()
    if observation.reduction == "sum":
        return loss / max(observation.samples, 1)
    return loss


class StepLosses:
    """Losses of the training steps, held on their device and read once per interval.

    A step costs one append. Every :data:`CHUNK` steps the held scalars become one vector, so that a long epoch keeps
    4 bytes a step.
    """

    CHUNK = 512

    def __init__(self) -> None:
        self.first: float | None = None
        self._held: list[Tensor] = []
        self._chunks: list[Tensor] = []

    def add(self, loss: Tensor) -> None:
        """Append the loss of one step, shape () or (1,)."""
        self._held.append(loss)
        if len(self._held) >= self.CHUNK:
            self._pack()

    def _pack(self) -> None:
        if self._held:
            self._chunks.append(torch.stack([loss.detach().float().reshape(()) for loss in self._held]))
            self._held = []

    def read(self) -> dict[str, float]:
        """Smallest, largest, first, and how many were not finite; then start again."""
        self._pack()
        if not self._chunks:
            return {}
        steps = torch.cat([chunk.cpu() for chunk in self._chunks])
        self._chunks = []
        finite = steps[steps.isfinite()]
        found = {"loss/nonfinite_steps": float(len(steps) - len(finite))}
        if len(finite):
            found |= {"loss/step_min": float(finite.min()), "loss/step_max": float(finite.max())}
        if self.first is None:
            self.first = found["loss/first"] = float(steps[0])
        return found
