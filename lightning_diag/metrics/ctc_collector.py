"""One stage of a CTC run: what a callback drives, without arithmetic of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Names
from typing import Any

import torch
from torch import Tensor

from lightning_diag.history import ClassRows, Confusions, Count, CTCFacts, MappingTest, Sample, StageRecord
from lightning_diag.metrics.ctc_checks import CallChecks, Check
from lightning_diag.metrics.ctc_edits import Decoded, pick_samples, text_errors
from lightning_diag.metrics.ctc_frames import Lengths, ctc_call
from lightning_diag.metrics.ctc_losses import RECENT_STEPS
from lightning_diag.metrics.ctc_mapping import mapping_test
from lightning_diag.metrics.ctc_signals import CTCSignals
from lightning_diag.metrics.ctc_trivial import TrivialLoss, trivial_loss

WINDOW, LAG = 25, RECENT_STEPS - 25
"""Steps averaged at each end, and steps between them, for the fall of the loss over the last 50 steps."""
MOST_CLASS_ROWS = 512
"""Rows per token are recorded up to this many tokens."""
MOST_LINES = 2000
"""Decoded lines kept after an evaluation, for the mapping test and the samples."""


READ_EVERY, READ_STEPS = 8, 32
"""Of so many training steps one is read at most, and so many an epoch at least where it is that long."""
READ_LINES = 8
"""Lines of a training step that is read: with :data:`READ_STEPS` as many as are kept for the token errors."""


class CTCCollector:
    """Collects the CTC signals of one stage: ``observe`` in each step, then ``epoch_end``, read, ``reset``.

    Training is read sparsely (every eighth step, or rarer in long epochs; eight lines of it; every eighth frame for the
    entropy) and its token errors come from the last ``keep_lines`` lines; validation is read wholly.

    Args:
        stage: ``train`` or ``val`` (``val:1`` ...); it names the values.
        decoder_blank: blank of the user's decoder, where it is known.
        id_to_token: names of the tokens by index (sequence, mapping or function); gives word and character error rates.
        keep_lines: decoded lines per training evaluation.
        read_every, most_lines, frame_step: overrides of the sparse reading.
    """

    def __init__(
        self,
        stage: str,
        *,
        decoder_blank: int | None = None,
        id_to_token: Names[int, str] | Sequence[str] | Callable[[int], str] | None = None,
        keep_lines: int = 256,
        read_every: int | None = None,
        most_lines: int | None = None,
        frame_step: int | None = None,
    ) -> None:
        self.stage = stage
        train = stage.startswith("train")
        self._reading = {
            "read_every": read_every or (READ_EVERY if train else 1),
            "most_lines": most_lines or (READ_LINES if train else None),
            "frame_step": frame_step or (8 if train else 4),
            "keep_lines": keep_lines if train else None,
        }
        self._decoder_blank = decoder_blank
        self._text = _text_maker(id_to_token)
        self.checks = CallChecks(decoder_blank=decoder_blank)
        self.metric: CTCSignals | None = None
        self.trivial: TrivialLoss | None = None
        self._lines: list[Decoded] = []
        self._totals = {"lines": 0, "impossible": 0, "target_tokens": 0, "blank_targets": 0, "out_of_range": 0}
        self._zero_infinity: bool | None = None
        self._per_token = False
        self._fresh: dict[str, int] = {}
        self._tokens: list[list[int]] = []
        self._settled = self._passed_over = False

    def observe(
        self,
        log_probs: Tensor,
        targets: Any,
        input_lengths: Lengths,
        target_lengths: Lengths,
        *,
        blank: int = 0,
        zero_infinity: bool = False,
        loss: Tensor | None = None,
        reduction: str = "mean",
        told: bool = False,
    ) -> tuple[Check, ...]:
        """Take in one loss call (its arguments as given to the loss, and what it returned); see :meth:`CTCSignals.update`.

        Returns:
            New answers of the call checks; only the first calls can have any.
        """
        if self.metric is None:
            self.metric = self._new_metric(log_probs, blank)
        self._zero_infinity, self._per_token = zero_infinity, reduction == "sum"
        self.metric.update(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            blank,
            zero_infinity,
            loss=loss,
            reduction=reduction,
            told=told,
        )
        if self.checks.done:
            return ()
        return self.checks.observe(
            ctc_call(log_probs, targets, input_lengths, target_lengths, blank=blank, zero_infinity=zero_infinity)
        )

    def _new_metric(self, log_probs: Tensor, blank: int) -> CTCSignals:
        """The metric, on the device of the scores."""
        reading: Any = self._reading
        metric = CTCSignals(blank, int(log_probs.shape[-1]), decoder_blank=self._decoder_blank, **reading)
        return metric.to(log_probs.device)

    def expect_batches(self, batches: float) -> None:
        """Read a long training epoch more rarely, evenly spaced; ``batches`` is its length, infinite where not known."""
        if self.stage == "train" and math.isfinite(batches):
            every = self._reading["read_every"] = max(READ_EVERY, int(batches // READ_STEPS))
            if self.metric is not None:
                self.metric.read_every = every

    @property
    def calls(self) -> int:
        """Calls of this evaluation, also those passed over."""
        return 0 if self.metric is None else self.metric.waiting.calls

    def pass_over(self) -> None:
        """A call of which only the loss is known: the next one is read when it would have been."""
        self._passed_over = True
        if self.metric is not None:
            self.metric.waiting.calls += 1

    def take_shape(self, classes: int, blank: int) -> None:
        """Take part in the sums of the other processes without a call of one's own."""
        if self.metric is None:
            self.metric = self._new_metric(torch.empty(0, classes), blank)

    def settle(self) -> None:
        """The part of :meth:`epoch_end` before the processes talk to each other; once per evaluation."""
        if self.metric is None or self._settled:
            return
        self._settled = True
        self.checks.finish()
        self._find_trivial(self.metric)
        self._lines = list(self.metric.spill())[-MOST_LINES:]

    def epoch_end(self, *, loss: float = math.nan, bad_steps: int = 0) -> dict[str, float]:
        """Close the evaluation: values by their full name (``ctc/train/blank_share``); empty when nothing was observed.

        Args:
            loss: mean loss of all steps; it stands for that of the calls where some were passed over. NaN: none was finite.
            bad_steps: how many of them had a loss that was not finite.

        In a distributed run every process must call it, also one that observed nothing after the first epoch.
        """
        if self.metric is None:
            return {}
        self.settle()
        values = self.metric.compute()
        self._take_totals(self.metric)
        if self._passed_over:
            values["nonfinite_losses"] = float(bad_steps)
            if math.isfinite(loss):  # a line without a path counts as zero in it
                values["loss_per_token"] = loss / max(1.0 - values.get("infeasible_share", 0.0), 1e-9)
        values.update(self._loss_values(self.metric, values))
        if self._text is not None and self._lines:
            values["wer"], values["cer"] = text_errors(self._lines, self._text)
        return {f"ctc/{self.stage}/{name}": value for name, value in values.items()}

    def _find_trivial(self, metric: CTCSignals) -> None:
        """The trivial loss, once: it depends on labels and lengths alone."""
        if self.trivial is None:
            targets, frames = metric.kept.labels(200)
            support = {i: n for i, n in enumerate(metric.tokens[0].tolist()) if n}
            self.trivial = trivial_loss(targets, frames, support)

    def _take_totals(self, metric: CTCSignals) -> None:
        """Keep the counts of this evaluation on the host, and add those of the whole run."""
        self._fresh, self._tokens = metric.reduced, metric.reduced_tokens
        for name in self._totals:
            self._totals[name] += self._fresh[name]

    def _loss_values(self, metric: CTCSignals, values: dict[str, float]) -> dict[str, float]:
        """Loss over trivial loss, and how much the loss fell over the last 50 steps."""
        extra: dict[str, float] = {}
        if self.trivial is not None and "loss_per_token" in values:
            trivial = self.trivial.per_token if self._per_token else self.trivial.per_line
            extra["loss_ratio"] = values["loss_per_token"] / trivial
        if len(metric.recent) == WINDOW + LAG:
            extra.update(_fall(metric.recent.double().cpu()))
        if self._zero_infinity:
            extra["hidden_share"] = values.get("infeasible_share", 0.0)
        return extra

    def reset(self) -> None:
        """Forget this evaluation; the losses of the last steps, the trivial loss and the checks stay."""
        self._settled = self._passed_over = False
        if self.metric is not None:
            self.metric.reset()

    def stage_record(self) -> StageRecord:
        """Lines that are exactly right, and per token how often it was matched; of the last :meth:`epoch_end`."""
        if not self._fresh or not self._fresh["decoded"] or self.metric is None:
            return StageRecord(n=0)
        return StageRecord(
            n=self._fresh["decoded"],
            correct=Count(k=self._fresh["exact"], n=self._fresh["decoded"]),
            classes=self._class_rows(),
            confusions=Confusions.of(self.metric.kept.errors.most_confused()),
        )

    def _class_rows(self) -> ClassRows:
        """One row per token that occurs, where there are few; only where support and matches rest on the same lines."""
        support, emitted, correct = self._tokens
        used = [i for i in range(len(support)) if support[i] or emitted[i]]
        if self._reading["keep_lines"] is not None or len(used) > MOST_CLASS_ROWS:
            return ClassRows()
        return ClassRows.of_numbers([(i, support[i], emitted[i], correct[i]) for i in used])

    def never_emitted(self) -> tuple[int, ...]:
        """Tokens that occur in the references of the last evaluation and were never emitted."""
        if not self._tokens:
            return ()
        support, emitted, _ = self._tokens
        return tuple(i for i in range(len(support)) if support[i] and not emitted[i])

    def mapping(self) -> MappingTest | None:
        """The mapping test on the decoded lines of the last evaluation."""
        return mapping_test(self._lines)

    def samples(self) -> tuple[Sample, ...]:
        """The best, median, worst and longest decoded line of the last evaluation."""
        return pick_samples(self._lines)

    def facts(self) -> CTCFacts:
        """What this stage knows about the set-up."""
        if self.metric is None:
            return CTCFacts(decoder_blank=self._decoder_blank)
        totals = self._totals
        return CTCFacts(
            blank=self.metric.blank,
            classes=self.metric.num_classes,
            decoder_blank=self._decoder_blank,
            trivial_loss=None if self.trivial is None else self.trivial.per_line,
            checks=tuple((check.word, check.sentence) for check in self.checks.found.values()),
            infeasible=_count(totals["impossible"], totals["lines"]),
            blank_in_targets=_count(totals["blank_targets"], totals["target_tokens"]),
            out_of_range=_count(totals["out_of_range"], totals["target_tokens"]),
            zero_infinity=self._zero_infinity,
            never_emitted=self.never_emitted(),
            confused_tokens=self.metric.kept.errors.most_confused(),
            mapping=None if self._reading["keep_lines"] is not None else self.mapping(),
        )


def _count(k: int, n: int) -> Count | None:
    """A count; None when nothing was counted."""
    return Count(k=k, n=n) if n else None


def _text_maker(
    given: Names[int, str] | Sequence[str] | Callable[[int], str] | None,
) -> Callable[[Sequence[int]], str] | None:
    """A function from token indices to text: single characters are joined, longer names are words."""
    if given is None:
        return None
    name = given if callable(given) else dict(enumerate(given)).get if isinstance(given, Sequence) else given.get

    def text(tokens: Sequence[int]) -> str:
        names = [str(name(t) or "�") for t in tokens]
        return "".join(names) if all(len(n) == 1 for n in names) else " ".join(names)

    return text


def _fall(losses: Tensor) -> dict[str, float]:
    """Relative fall between the means of two windows that lie ``LAG`` steps apart, and its standard error."""
    old, new = losses[:WINDOW], losses[-WINDOW:]
    first, last = float(old.mean()), float(new.mean())
    if not (torch.isfinite(losses).all() and first):
        return {}
    # differences of neighbours, so that the fall itself does not count as noise
    noise = float(torch.cat((old.diff(), new.diff())).square().mean().div(2).sqrt())
    return {"loss_fall_50": (first - last) / abs(first), "loss_fall_50_se": noise * (2 / WINDOW) ** 0.5 / abs(first)}
