"""The metrics of one stage over one interval, fed with observations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from lightning_diag.callbacks.messages import warn
from lightning_diag.callbacks.options import Options
from lightning_diag.callbacks.run import FailedEverywhere
from lightning_diag.capture import Observation
from lightning_diag.history import CTCFacts, Sample, StageRecord
from lightning_diag.metrics.classification import StageMetrics
from lightning_diag.metrics.memory import SampleMemory
from lightning_diag.metrics.rows import TRAIN_SCORES, enough_of, read_every

if TYPE_CHECKING:
    from lightning_diag.metrics.ctc import CTCCollector

Reduce = Callable[[Tensor], Tensor]
Hear: TypeAlias = "Callable[[Tensor], None]"
Count: TypeAlias = "Callable[[tuple[Tensor, ...], Tensor], bool]"
"""Takes the tensors and the loss of a step (see :class:`lightning_diag.capture.observation.Again`); False when it cannot."""
Keep: TypeAlias = "Callable[[Tensor, float | None], None]"
"""Takes the loss of a step alone, see ``StageMetrics.keeping``."""


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
        self.uncounted = 0
        self.partial = False
        self.every = 1  # training steps of which one is read in this epoch, for as long as they differ in values alone
        self.one_in = 1  # the largest of them of all epochs in which steps were passed over
        self._in_part = False
        self._phase = 0
        self.memory = SampleMemory() if stage != "train" else None
        self.metrics = StageMetrics(memory=self.memory, most_scores=TRAIN_SCORES if stage == "train" else None)
        self.ctc: CTCCollector | None = None
        self.with_ctc = with_ctc
        self._batches = math.inf

    def expect_batches(self, batches: float, *, before: int = 0) -> None:
        """Set how much of the coming training epoch is read.

        Args:
            batches: its length, infinite where it is not known: of a long one not all is read.
            before: training batches of the run before it; the first epoch is read whole.
        """
        self._batches, self._in_part, self.every = batches, before >= batches, 1
        self._phase += 1  # a loader that does not shuffle gives the same batches in the same order
        self.metrics.read_every = read_every(batches)
        if self.ctc is not None:
            self.ctc.expect_batches(batches)

    def observe(self, observation: Observation | None, batch: Any, step_loss: Tensor | None) -> None:
        """Count one step.

        Args:
            observation: the captured pair, or None.
            batch: the batch, read for the groups.
            step_loss: what the step returned, detached, where that was a loss.
        """
        self.steps += 1
        if observation is None:
            self.uncounted += 1
            if step_loss is not None:
                self.metrics.add_loss(step_loss)
            return
        partial = observation.task == "mixup" and step_loss is not None  # one call of several that make up the loss
        whole = observation.loss is None or observation.returned or partial
        loss = step_loss if whole else _mean_loss(observation.loss, observation.reduction, observation.samples)
        self.partial |= observation.partial
        if self.task is None or (
            self.task == "other" and observation.counts
        ):  # what is in doubt at first may be labels
            self.task, self.classes = observation.task, None
        self.classes = self.classes or observation.num_classes
        if observation.task == "ctc":
            self._observe_ctc(observation, loss)
        elif observation.counts or (observation.task == "soft" and observation.class_dim >= 0):
            self._count(observation, loss, batch)
        else:
            self.uncounted += 1
            self.metrics.add_loss(loss, observation.samples)

    def expecting(self, observation: Observation, hear: Hear | None) -> tuple[Count, Keep] | None:
        """Short ways to count steps like that of ``observation``, or to keep their loss alone; None where there are none.

        Args:
            observation: of the last step; its ``form`` is known.
            hear: is given the losses, where that of the call is what the steps return; see ``StageMetrics.expecting``.
        """
        if self._in_part:
            self.every = self._enough(observation)
        if observation.task == "ctc":
            return self._expecting_ctc(observation, hear)
        if observation.reduction != "mean":
            return None
        count, keep = self.metrics.expecting(observation.form, hear), self.metrics.keeping(hear)
        return None if count is None or keep is None else (count, keep)

    def enough_for(self) -> int:
        """Steps until the next one that is to be read, where one of :attr:`every` is enough."""
        return -(self.steps + self._phase if self.ctc is None else self.ctc.calls) % self.every

    def pass_over(self) -> None:
        """A step of which only the loss is known."""
        self.steps += 1
        self.one_in = max(self.one_in, self.every)
        if self.ctc is not None:
            self.ctc.pass_over()

    def _enough(self, observation: Observation) -> int:
        if observation.task == "ctc":  # its loss has to be known of each step
            metric = None if self.ctc is None or not observation.returned else self.ctc.metric
            return 1 if metric is None else metric.read_every
        return enough_of(self._batches, observation.samples, self.classes or 0)

    @property
    def complete(self) -> bool:
        """Whether the counts of the interval are those of all its steps on this process, or of none."""
        return not self.partial and self.uncounted in (0, self.steps)

    def sum_up(self, reduce_sum: Reduce, reduce_max: Reduce, *, failed: bool = False) -> None:
        """Replace the counts by those of all processes, before :meth:`values`; one summed reduction.

        Every process makes the same calls whatever happens on it. The news that ride along say on how many processes
        counting failed, and what the CTC calls looked like, for a process that saw none.

        Raises:
            FailedEverywhere: on all processes, when counting failed on some.
        """
        fault = "on this process" if failed else self._settle()
        ctc = None if self.ctc is None else self.ctc.metric
        shape = [0, 0, 0] if ctc is None else [1, ctc.num_classes, ctc.blank]
        news = torch.tensor([int(fault is not None), *shape], dtype=torch.float64)

        def reduce(vector: Tensor) -> Tensor:
            nonlocal news
            whole = reduce_sum(torch.cat([vector, news.to(vector.device)]))
            news = whole[-4:].cpu()
            return whole[:-4]

        self.metrics.agree(reduce_max, groups=self.options.groups is not None)
        self.metrics.reduce(reduce)
        broken, observed, classes, blank = (int(n) for n in news.tolist())
        if broken:
            raise FailedEverywhere(f"counting failed on {broken} process(es); here: {fault}")
        if observed:
            self.ctc_collector().take_shape(classes // observed, blank // observed)

    def _settle(self) -> str | None:
        """Do all that can fail before the processes talk; the fault as text, with nothing counted then."""
        try:
            self.metrics.flush()
            if self.ctc is not None:
                self.ctc.settle()
            if self.memory is not None:
                self.memory.compare()
        except Exception as error:  # noqa: BLE001  (the others wait for this process)
            self.metrics.reset()
            return f"{type(error).__name__}: {error}"
        return None

    def values(self) -> dict[str, float]:
        """Scalars of the interval under their full names."""
        self._result = self.metrics.result()
        found = {f"{self.stage}/{name}": value for name, value in self._result.values().items()}
        if self.ctc is not None:
            found.update(self.ctc.epoch_end(loss=self._result.loss, bad_steps=self._result.loss_bad))
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

    def ctc_collector(self) -> CTCCollector:
        """The CTC signals of this stage; made when they are first asked for."""
        if self.ctc is None:
            from lightning_diag.metrics.ctc import CTCCollector

            self.ctc = CTCCollector(self.stage, decoder_blank=self.options.blank, id_to_token=self.options.id_to_token)
            self.ctc.expect_batches(self._batches)
        return self.ctc

    def reset(self) -> None:
        """Begin a new interval."""
        self.steps = self.uncounted = 0
        self.partial = False
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
            form=observation.form,
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
        self.metrics.add_loss(loss, observation.samples)
        if not self.with_ctc:
            return
        ctc = self.ctc_collector()
        frames, tokens = observation.input_lengths, observation.target_lengths
        if frames is None or tokens is None:
            return
        told = observation.returned and loss is not None
        found = ctc.observe(
            observation.preds,
            observation.target,
            frames,
            tokens,
            blank=observation.blank,
            zero_infinity=observation.zero_infinity,
            loss=observation.loss,
            reduction=observation.reduction,
            told=told,
        )
        if loss is not None and told and ctc.metric is not None:
            ctc.metric.hear(loss.reshape(1).float())
        for check in found:
            warn(f"lightning_diag, {self.stage} step {self.steps}: {check.sentence}")

    def _expecting_ctc(self, observation: Observation, hear: Hear | None) -> tuple[Count, Keep] | None:
        """Calls whose arguments have been checked."""
        metric = None if self.ctc is None or not self.ctc.checks.done else self.ctc.metric
        reduction = observation.reduction

        def told(losses: Tensor) -> None:
            if hear is not None:
                hear(losses)
            if metric is not None:
                metric.hear(losses)

        keep = self.metrics.keeping(None if hear is None else told)
        if keep is None or (self.with_ctc and metric is None):
            return None

        def count(tensors: tuple[Tensor, ...], loss: Tensor) -> bool:
            log_probs, targets, frames, tokens = tensors
            lines = log_probs.shape[1] if log_probs.dim() == 3 else 1
            if metric is not None:
                metric.accumulate(log_probs, targets, frames, tokens, loss)
            mean = loss if hear is not None else _mean_loss(loss, reduction, lines)
            if mean is not None:
                keep(mean, lines)
            return True

        return count, keep


def _mean_loss(loss: Tensor | None, reduction: str, samples: int) -> Tensor | None:
    """A copy of the loss of a call as a mean: what ``reduction="mean"`` would have returned."""
    if loss is None:
        return None
    if loss.numel() != 1:
        return loss.float().mean()
    return loss / max(samples, 1) if reduction == "sum" else loss.clone()
