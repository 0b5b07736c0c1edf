"""What a CTC model puts out: sums on the device, no synchronisation in a step, token errors once per evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_diag.metrics.ctc_counts import COUNTS, REALS, frame_counts, target_counts
from lightning_diag.metrics.ctc_edits import Decoded
from lightning_diag.metrics.ctc_frames import (
    NOTHING,
    CTCCall,
    Lengths,
    RawCall,
    batched_scores,
    emissions,
    full_call,
    greedy_path,
    infeasible,
    padded_targets,
    raw_call,
    some,
)
from lightning_diag.metrics.ctc_kept import KeptLines
from lightning_diag.metrics.ctc_losses import RECENT_STEPS, StepLosses, losses_again, step_losses
from lightning_diag.metrics.ctc_values import values_of
from lightning_diag.metrics.ctc_waiting import Waiting
from lightning_diag.metrics.summed import FlushedMetric

HELD_CALLS = 32
"""Calls whose targets and losses are counted together: some forty small operations, shared by 32 steps."""


class CTCSignals(FlushedMetric):
    """Signals of a CTC model over one evaluation of one stage.

    Every step counts lines without a path and targets that clash with the blank. Reading the output costs more, so in
    training only every ``read_every``-th step reads, and of its lines ``most_lines``, evenly spaced; frames are masked by
    the input lengths, and the entropy uses every ``frame_step``-th frame.

    Args:
        blank: index of the blank in the loss. num_classes: outputs C, the blank included.
        decoder_blank: index of the blank by which lines are decoded; the loss's by default.
        read_every, frame_step: see above; 1 reads everything.
        most_lines: see above; None reads all.
        keep_lines: decoded lines kept for token errors, the last ones of the evaluation; None keeps all.
        **kwargs: of :class:`torchmetrics.Metric`.

    Attributes:
        recent: mean loss per token of the last :data:`RECENT_STEPS` steps, also over evaluations, after :meth:`flush`.
        reduced, reduced_tokens: the sums over all processes, after :meth:`compute`.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = None
    counts: Tensor
    reals: Tensor
    tokens: Tensor

    def __init__(
        self,
        blank: int,
        num_classes: int,
        *,
        decoder_blank: int | None = None,
        read_every: int = 1,
        most_lines: int | None = None,
        frame_step: int = 1,
        keep_lines: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= blank < num_classes:
            raise ValueError(f"blank={blank} with num_classes={num_classes}: expected 0 <= blank < num_classes")
        self.blank = blank
        self.num_classes = num_classes
        self.decoder_blank = blank if decoder_blank is None else decoder_blank
        self.read_every, self.most_lines, self.frame_step = read_every, most_lines, frame_step
        self.keep_lines = keep_lines
        self.recent = torch.zeros(0)
        self.reduced: dict[str, int] = {}
        self.reduced_tokens: list[list[int]] = []
        self.add_state("counts", torch.zeros(len(COUNTS), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("reals", torch.zeros(len(REALS)), dist_reduce_fx="sum")
        # rows: support in the references that were read, emitted, matched
        self.add_state("tokens", torch.zeros(3, num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self._forget()

    def _forget(self) -> None:
        """Drop decoded lines and the counters of this evaluation."""
        self.kept = KeptLines(self.keep_lines)
        self.waiting = Waiting(how=(self.blank, False, "mean", False, False))

    def reset(self) -> None:
        """Start a new evaluation."""
        super().reset()
        self._forget()

    def update(
        self,
        log_probs: Tensor,
        targets: Any,
        input_lengths: Lengths,
        target_lengths: Lengths,
        blank: int | None = None,
        zero_infinity: bool = False,
        loss: Tensor | None = None,
        reduction: str = "mean",
        told: bool = False,
    ) -> None:
        """Count one loss call.

        Args:
            log_probs: (T, N, C) or (T, C).
            targets: (N, S) padded or one after the other.
            input_lengths: frames (N,).
            target_lengths: tokens (N,).
            blank: of this call; the metric's by default.
            zero_infinity: as given to the loss.
            loss: what the loss call returned; without it the loss is computed again for the lines that are read.
            reduction: ``mean``, ``sum`` or ``none``, of ``loss``.
            told: whether :meth:`hear` is told the loss, so that it is not taken for :attr:`recent` here.
        """
        how = (self.blank if blank is None else blank, zero_infinity, reduction, loss is None, told)
        if how != self.waiting.how:
            self.flush()
            self.waiting.how = how
        self.accumulate(log_probs, targets, input_lengths, target_lengths, None if loss is None else loss.detach())

    def accumulate(
        self, log_probs: Tensor, targets: Any, input_lengths: Lengths, target_lengths: Lengths, loss: Tensor | None
    ) -> int:
        """:meth:`update` for a call with the blank and the options of the last one, without the book-keeping of torchmetrics.

        Returns:
            Lines of the call.
        """
        waiting, scores = self.waiting, batched_scores(log_probs)
        raw = raw_call(scores, targets, input_lengths, target_lengths)
        if waiting.calls % self.read_every == 0:
            self.read_some(scores, raw, again=loss is None)
        waiting.keep(raw, loss, scores.device)
        if len(waiting.raw) >= HELD_CALLS:
            self.flush()
        return raw.lines

    def hear(self, losses: Tensor) -> None:
        """Take losses per token of single steps (k,), in their order, also of steps whose calls are not counted."""
        self.recent = torch.cat((self.recent.to(losses.device), losses))[-RECENT_STEPS:]

    @torch.no_grad()
    def flush(self) -> None:
        """Count the targets and losses of the steps that are held: many small operations, so once for several steps."""
        waiting = self.waiting
        calls, losses = waiting.take()
        self._note(
            steps=len(calls),
            lines=sum(call.lines for call in calls),
            frames_all=sum(call.frames * call.lines for call in calls),
        )
        if waiting.noted:
            noted = torch.tensor([waiting.noted[name] for name in COUNTS])
            self.counts += noted.to(self.counts.device, non_blocking=True)
            waiting.noted.clear()
        if not calls:
            return
        joint = padded_targets(calls, self.counts.device)
        impossible = infeasible(joint)
        blank, zero_infinity, reduction, _, told = waiting.how
        self._add(**target_counts(joint, impossible, blank, self.num_classes))
        if losses:
            lines = [call.lines for call in calls]
            steps = step_losses(losses, lines, joint, impossible, reduction=reduction, hidden=zero_infinity)
            self._count_losses(steps)
            if not told:
                self.hear(steps.per_token)

    def _count_losses(self, steps: StepLosses) -> None:
        """Add the finite losses, count the others."""
        finite = torch.isfinite(steps.totals)
        self.reals[0] += torch.where(finite, steps.totals, 0.0).sum()
        self._add(loss_weight=torch.where(finite, steps.weights, 0).sum(), nonfinite_losses=(~finite).sum())

    def read_some(self, scores: Tensor, raw: RawCall, *, again: bool) -> None:
        """Read some lines of a step, others each time."""
        blank, zero_infinity, *_ = self.waiting.how
        step = 1 if self.most_lines is None else max(1, -(-raw.lines // self.most_lines))
        start = (self.waiting.calls // self.read_every) % max(1, min(step, raw.lines))
        if raw.targets.dim() == 2:
            call = full_call(scores[:, start::step], raw.some(start, step), blank, zero_infinity=zero_infinity)
        else:
            call = some(full_call(scores, raw, blank, zero_infinity=zero_infinity), start, step)
        with torch.no_grad():
            self._read(call, start, step, again=again)

    def _add(self, **sums: Tensor) -> None:
        """Add int64 scalars to the counts by name, in one operation."""
        self.counts.index_add_(0, self._index(tuple(sums)), torch.stack(list(sums.values())))

    def _note(self, **numbers: int) -> None:
        """Add numbers that are known on the host; they reach the counts in :meth:`flush`."""
        for name, value in numbers.items():
            self.waiting.noted[name] += value

    def _index(self, names: tuple[str, ...]) -> Tensor:
        """Positions of the counts, kept on the device."""
        cache: dict[tuple[tuple[str, ...], str], Tensor] = self.__dict__.setdefault("_positions", {})
        key = (names, str(self.counts.device))
        if key not in cache:
            places = torch.tensor([COUNTS.index(name) for name in names])
            cache[key] = places.to(self.counts.device, non_blocking=True)
        return cache[key]

    def _read(self, call: CTCCall, start: int, step: int, *, again: bool) -> None:
        """Read the output of some lines."""
        path = greedy_path(call)
        emitting = emissions(path, self.decoder_blank)
        inside = path != NOTHING
        emitted = emitting.sum(0)
        posterior = torch.where(inside, call.log_probs[..., self.decoder_blank].exp(), 0.0).sum()
        self.reals[1] += posterior.nan_to_num(0.0)
        self._note(read_lines=call.lines)
        self._add(
            read_frames=inside.sum(),
            read_tokens=(call.targets != NOTHING).sum(),
            blank_frames=(path == self.decoder_blank).sum(),
            emitted=emitted.sum(),
            empty=(emitted == 0).sum(),
        )
        self._count_tokens(0, call.targets, (call.targets > NOTHING) & (call.targets < self.num_classes))
        self._count_tokens(1, path, emitting)
        entropy, frames = frame_counts(call, inside, self.frame_step)
        self.reals[2] += entropy
        self._add(**frames)
        if again:
            self._count_losses(
                step_losses([losses_again(call)], [call.lines], call, infeasible(call), reduction="none", hidden=True)
            )
        self.kept.add(self.waiting.lines + start, step, torch.where(emitting, path, NOTHING).T, call)

    def _count_tokens(self, row: int, values: Tensor, counted: Tensor) -> None:
        """Add the tokens that are counted to one row of the token counts."""
        known = values.clamp(0, self.num_classes - 1).reshape(-1)
        self.tokens[row].index_add_(0, known, counted.reshape(-1).to(torch.int64))

    def spill(self) -> Sequence[Decoded]:
        """Decode the kept lines on the host and add their token errors to the sums: once, at the end of an evaluation.

        Returns:
            The decoded lines of this process.
        """
        lines = self.kept.decode()
        errors = self.kept.errors
        self._note(
            decoded=errors.lines,
            exact=errors.exact,
            edit_tokens=errors.tokens,
            substitutions=errors.substitutions,
            deletions=errors.deletions,
            insertions=errors.insertions,
            distinct=len({line.hypothesis for line in lines}),
        )
        matched = torch.zeros(self.num_classes, dtype=torch.int64)
        for token, count in errors.correct.items():
            if 0 <= token < self.num_classes:
                matched[token] = count
        self.tokens[2] += matched.to(self.tokens.device)
        return lines

    def _sync_dist(self, dist_sync_fn: Any = None, process_group: Any = None) -> None:  # noqa: ARG002  (Metric's signature)
        """Sum over the processes with one reduction per kind of number, instead of gathering every state."""
        from torch import distributed

        group = process_group or self.process_group
        whole = torch.cat((self.counts, self.tokens.reshape(-1)))
        real = self.reals.clone()
        distributed.all_reduce(whole, group=group)
        distributed.all_reduce(real, group=group)
        self.counts, self.reals = whole[: len(COUNTS)], real
        self.tokens = whole[len(COUNTS) :].reshape(3, self.num_classes)

    def compute(self) -> dict[str, float]:
        """The signals by their short name (see :data:`lightning_diag.history.SIGNALS`); what was not measured is absent."""
        counts = dict(zip(COUNTS, self.counts.tolist(), strict=True))
        reals = dict(zip(REALS, self.reals.tolist(), strict=True))
        self.reduced, self.reduced_tokens = counts, self.tokens.tolist()
        return values_of(counts, reals, self.reduced_tokens)
