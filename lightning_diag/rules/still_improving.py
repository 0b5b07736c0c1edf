"""LD205: the run ended while validation still got better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory, Series
from lightning_diag.rules.accuracy_at_end import Rise, best_among_last, rise_at_end
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.ended_schedule import NEW_SCHEDULE, ended_schedule, trial
from lightning_diag.rules.no_end import NO_END, unended
from lightning_diag.rules.reading import trivial_loss
from lightning_diag.words import number, percent


@dataclass(frozen=True, kw_only=True)
class StillImproving(Rule):
    """The last evaluation is the best, and validation still fell towards it by more than its noise; or accuracy still rose."""

    code: ClassVar[str] = "LD205"
    name: ClassVar[str] = "still-improving"
    needs: ClassVar[tuple[str, ...]] = ("val/loss",)
    min_epochs: ClassVar[int] = 2

    per_epoch: float = 0.02
    """Mean fall per evaluation at the end, as a share of what there was to learn (the trivial or first loss): ten more such
    evaluations would gain a fifth of it. Where less than a fifth is left, they cannot, and it is only worth knowing."""
    notable: float = 0.005
    """Share from which it is worth knowing (``info``): a hundred more evaluations would gain half of it at most."""
    gain: float = 0.05
    """Where the loss does not fall: share of its whole gain that validation accuracy made in the last part of the run, from
    which it is worth knowing; what the stopping criterion takes to be worth waiting for."""
    room: float = 0.05
    """Share of training samples that must be wrong still: what is nearly fitted teaches little more."""
    even: float = 0.45
    """Probability that the best still improves from which nothing is called clear, if the best is one of the last three: no
    further from even odds than the criterion's probabilities can be told apart."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        if unended(history):
            raise CannotTellError(NO_END)
        loss = history.series("val/loss").finite
        fall = fall_at_end(history, loss)
        if fall is not None and fall.share >= self.notable:
            return self._falling(history, loss, fall)
        rise, ended = rise_at_end(history, self.room), ended_schedule(history)
        if rise is not None and rise.share >= self.gain and ended is None:  # a rate that comes down lifts it once
            return self._rising(rise)
        self._clear_only_where_unlikely(history)
        return None

    def _clear_only_where_unlikely(self, history: RunHistory) -> None:
        """Raise where the criterion holds it about as likely as not that the best, one of the last, improves."""
        stop = history.context.stop
        if not stop.probability or stop.would_stop_epoch is not None or not best_among_last(history):
            return
        epoch, chance = stop.probability[-1]
        if chance >= self.even:
            raise CannotTellError(
                f"not established: the best is one of the last three evaluations, and after epoch {epoch} the probability "
                f"that it still improves was {percent(chance)}"
            )

    def _rising(self, rise: Rise) -> Finding:
        return self.finding(
            severity="info",
            confidence=0.6,
            claim="likely",
            title=f"Ended while {rise.name} still rose: validation {rise.short} since epoch {rise.epoch}",
            summary=f"The run ended before {rise.name} levelled off: {rise.text}. That is {percent(rise.share)} of all that "
            "validation gained.",
            evidence=(
                Evidence(
                    signal="val/acc", text=rise.text, epoch=rise.last, observed=rise.now.rate, expected=rise.then.rate
                ),
            ),
            against=(Evidence(signal="val/loss", text="the validation loss does not show it"),),
            why="The model can do better than these weights show; conclusions about it are early.",
            actions=LONGER,
            next_test=AS_MANY_AGAIN,
            epoch=rise.last,
        )

    def _falling(self, history: RunHistory, loss: Series, fall: Fall) -> Finding:
        left = loss.values[-1] / fall.scale
        steep = fall.share >= self.per_epoch and left >= TEN * self.per_epoch
        ended = ended_schedule(history)
        slow = f" But {ended.text}: more epochs at that rate would change little." if ended else ""
        text = f"validation loss {number(loss.values[-2])} → {number(loss.values[-1])} in the last evaluation, its best"
        return self.finding(
            severity="warning" if steep else "info",
            confidence=0.9 if steep else 0.6,
            claim="likely",
            title=f"Ended while validation still improved: loss {number(loss.values[-2])} → {number(loss.values[-1])} at the end",
            summary=f"The run ended {'on the steep part' if steep else 'before it levelled off'}: {text}. {fall.text}.{slow}",
            evidence=(
                Evidence(
                    signal="val/loss", text=text, epoch=loss.epochs[-1], observed=fall.share, expected=self.notable
                ),
                *((ended,) if ended else ()),
            ),
            why="The model can do better than these weights show; conclusions about it are early.",
            actions=NEW_SCHEDULE if ended else LONGER,
            next_test=trial(history, ended) if ended else AS_MANY_AGAIN,
            epoch=loss.epochs[-1],
            explains=("LD301", "LD302", "LD303") if steep else (),
        )


LONGER = ("train longer", "if time is short, a higher learning rate with warm-up")
AS_MANY_AGAIN = "resume with ckpt_path= for as many epochs again"
TEN = 10
"""Further evaluations that a user may be expected to wait for."""


@dataclass(frozen=True, kw_only=True)
class Fall:
    """How fast the validation loss fell when the run ended.

    Attributes:
        per_evaluation: the smallest of the mean falls over the last one, two and three intervals: a fall that slows down
            is worth its end. scale: what there was to learn (the trivial or first loss).
    """

    per_evaluation: float
    scale: float

    @property
    def share(self) -> float:
        """The fall per evaluation as a share of what there was to learn."""
        return self.per_evaluation / self.scale

    @property
    def text(self) -> str:
        """The fall as a sentence, without its stop."""
        return (
            f"It fell by at least {number(self.per_evaluation)} per evaluation (mean of the last one, two or three), "
            f"{percent(self.share)} of the {number(self.scale)} that there was to learn"
        )


def fall_at_end(history: RunHistory, loss: Series) -> Fall | None:
    """Fall per interval at the end; None when not improving.

    The last value must be the best, and the fall must exceed the noise of the series.
    """
    if len(loss) < 2 or loss.values[-1] > min(loss.values):
        return None
    values = loss.values[-4:]
    fall = min((values[-1 - k] - values[-1]) / k for k in range(1, len(values)))
    scale = max(trivial_loss(history) or 0.0, loss.values[0])
    if fall <= 0 or scale <= 0 or values[0] - values[-1] < 2 * statistics.noise_about_curve(loss.values):
        return None
    return Fall(per_evaluation=fall, scale=scale)
