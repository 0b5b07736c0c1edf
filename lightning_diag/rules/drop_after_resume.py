"""LD503: the first epochs after a resume destroyed a working model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.independence import differ
from lightning_diag.rules.reading import ALPHA, counts, loss_scale
from lightning_diag.rules.resuming import (
    circumstances,
    come_back,
    keep,
    not_excluded,
    rates,
    recovery,
    restored,
    starts_as_before,
)
from lightning_diag.words import number, of, p


@dataclass(frozen=True, kw_only=True)
class DropAfterResume(Rule):
    """Validation fell from where the run started to its first evaluation, and not by chance."""

    code: ClassVar[str] = "LD503"
    name: ClassVar[str] = "drop-after-resume"
    needs: ClassVar[tuple[str, ...]] = ("baseline|resumed_epoch", "stage:val|val/loss")

    alpha: float = ALPHA
    """Level of Fisher's exact test between the start and the first evaluation after it."""
    loss_rise: float = 0.5
    """Where only losses are known: relative rise that counts as a drop; a healthy resume moves the loss by a few per cent."""

    times: float = 3.0
    """Where the start was not validated: mean training loss of the first epoch over the loss of its first step. Batches of a
    trained model differ by more, so that the rise must also be ``share`` of what there was to learn."""
    share: float = 0.2
    """Rise of the training loss over that epoch, as a share of the trivial loss: one batch does not hold a fifth of it by chance
    while the epoch has it on average."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        baseline = history.context.baseline
        if baseline is None:
            return self._in_training(history)
        start = history.context.resumed_epoch or 0  # earlier records come from the checkpoint
        first = next((pair for pair in counts(history, "val") if pair[0] >= start), None)
        if baseline.correct and first:
            p_value = differ(history, baseline.correct, first[1])
            if first[1].rate >= baseline.correct.rate or p_value >= self.alpha:
                return None
            fell = f"validation fell from {of(baseline.correct)} to {of(first[1])} in epoch {first[0]} ({p(p_value)})"
            then, now = baseline.correct.rate, first[1].rate
            fact = Evidence(signal="val/acc", text=fell, epoch=first[0], observed=now, expected=then, p_value=p_value)
            return self._found(history, fact)
        loss = history.series("val/loss").finite
        after = next((pair for pair in loss if pair[0] >= start), None)
        if baseline.loss is None or after is None:
            raise CannotTellError("neither accuracy nor loss of the start is known")
        epoch, value = after
        if value < baseline.loss * (1 + self.loss_rise):
            return None
        fell = f"validation loss rose from {number(baseline.loss)} to {number(value)} in epoch {epoch}"
        fact = Evidence(signal="val/loss", text=fell, epoch=epoch, observed=value, expected=baseline.loss)
        return self._found(history, fact)

    def _in_training(self, history: RunHistory) -> Finding | None:
        """Without a validation of the start: the loss of the first step, before any update, is that of the checkpoint."""
        start, scale = history.context.resumed_epoch or 0, loss_scale(history)
        first = next((loss for e, loss in history.series("loss/first").finite if e >= start), None)
        after = next((pair for pair in history.series("train/loss").finite if pair[0] >= start), None)
        if first is None or after is None or not scale:
            raise CannotTellError("neither accuracy nor loss of the start is known (baseline=, or a restored history)")
        epoch, mean = after
        if mean < self.times * first or mean - first < self.share * scale:
            return None
        fell = f"the training loss was {number(first)} in the first step and {number(mean)} over epoch {epoch}"
        fact = Evidence(signal="train/loss", text=fell, epoch=epoch, observed=mean, expected=first)
        return self._found(history, fact)

    def _found(self, history: RunHistory, fact: Evidence) -> Finding:
        epoch, tested = fact.epoch or 0, fact.p_value is not None
        start = history.context.baseline.correct if history.context.baseline else None
        return self.finding(
            severity="error",
            confidence=0.99 if tested else 0.8,
            claim="established" if tested else "likely",
            title=f"Drop in the first epoch after resuming; learning rate too high at resume is likely (epoch {epoch})",
            summary=f"The first epoch after resuming destroyed a working model: {fact.text}{recovery(history, start if tested else None)}.",
            evidence=(fact, *circumstances(history, epoch), *restored(history)),
            against=tuple(Evidence(signal=s, text=f"not excluded: {t}") for s, t in not_excluded(history)),
            why="What follows relearns, at best, what the checkpoint could do already.",
            actions=(*come_back(history, epoch), _lower(history, epoch), keep(history)),
            next_test=f"validate the checkpoint before the first step (trainer.validate): {_told_apart(history, epoch, start)}",
            scope="weights",
            epoch=epoch,
            explains=("LD506", "LD208", "LD102"),
            suspects=("LD102", "LD506"),
        )


def _lower(history: RunHistory, epoch: int) -> str:
    """The learning rate to go on with: the old one where it was lower."""
    now, before = rates(history, epoch)
    raised = now is not None and before is not None and now > before
    rate = f"the old learning rate ({number(before)}, not {number(now)})" if raised and now and before else ""
    restarts = any(word in (history.context.optim.scheduler or "") for word in ("Restarts", "Cyclic"))
    decay = ", one decay instead of restarts" if restarts else ""
    return f"{rate or 'a lower learning rate'} with warm-up over the first 100 steps{decay}"


def _told_apart(history: RunHistory, epoch: int, start: Count | None) -> str:
    """What a validation of the checkpoint would say, with the numbers to look for where both are known."""
    fallen = dict(counts(history, "val")).get(epoch)
    old, new = (
        (f"{start.k}/{start.n}", f"about {fallen.k}/{fallen.n}") if start and fallen else ("the old level", "the new")
    )
    what = "the preprocessing of validation" if starts_as_before(history) else "the weights or the preprocessing"
    return f"{old} again means that the updates did it, {new} that {what} changed"
