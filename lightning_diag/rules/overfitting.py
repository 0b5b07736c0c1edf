"""LD201: it learned, and then validation got worse while training still improved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory, Series
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.best_weights import go_on
from lightning_diag.rules.chance import doubt, near_chance
from lightning_diag.rules.gaps import gap_interval, stages_at_end
from lightning_diag.rules.independence import claim, positions
from lightning_diag.rules.reading import ALPHA, after, seen
from lightning_diag.rules.rising import (
    accuracy_against,
    accuracy_since,
    answers_since,
    errors_apart,
    rises_steadily,
    rose,
    training_improved,
)
from lightning_diag.words import number, percent, points


@dataclass(frozen=True, kw_only=True)
class Overfitting(Rule):
    """Validation gets worse while training still improves."""

    code: ClassVar[str] = "LD201"
    name: ClassVar[str] = "overfitting"
    needs: ClassVar[tuple[str, ...]] = ("val/loss", "train/loss|train/acc")
    min_epochs: ClassVar[int] = 3

    rise: float = 0.15
    """Relative rise of the final validation loss over its minimum; the median of the last three must show half of it, so
    that one odd evaluation at the end does not decide. On published labelled histories a final rise of 15 % with the
    minimum not last told 28 of 29 overfitted runs from 10 of 11 others."""
    noise: float = 3.0
    """The rise must also exceed this many standard deviations of the series, estimated from its differences (a normal
    deviate is that far out once in 740), or go on steadily: a trend since the minimum that is established."""
    gap: float = 0.10
    """Where accuracies were counted: the lower end of the interval of training minus validation accuracy. A smaller
    established gap costs less than what the rise in loss suggests, and is reported as over-confidence."""

    steep: float = 0.5
    """Rise from which half of ``gap`` is enough: two signs."""
    errors: float = 0.2
    """For CTC: token error rate of validation minus that of training from which half of ``rise`` is enough: two signs."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        loss = history.series("val/loss").finite
        if len(loss) < self.min_epochs:
            raise CannotTellError(f"{len(loss)} finite validation losses, at least {self.min_epochs} are needed")
        lowest = min(loss.values)
        if lowest <= 0 and loss.values[-1] > lowest:
            raise CannotTellError(
                f"validation loss {number(lowest)} at best: of a loss that is not positive no relative rise can be said"
            )
        rising = self._rising(history)
        if rising is None or self._but(history, rising):
            return None
        return self._found(history, rising, doubt(history))

    def clear_text(self, history: RunHistory) -> str:
        """Why a loss that rose is not overfitting."""
        rising = self._rising(history)
        if rising is None:
            return ""
        up = percent(rising.values[-1] / rising.values[0] - 1)
        return f"validation loss +{up} since epoch {rising.epochs[0]}, but {self._but(history, rising)}"

    def _rising(self, history: RunHistory) -> Series | None:
        """The validation loss from its minimum on, where it rose by enough."""
        loss = history.series("val/loss").finite
        best = loss.best("min")
        if best is None or best[1] <= 0:
            return None
        rising = after(loss, best[0])
        needed = self.rise / 2 if errors_apart(history, self.errors) else self.rise
        # one evaluation after the best may be an odd one
        return rising if len(rising) >= 3 and rose(best[1], rising, needed) else None

    def _but(self, history: RunHistory, rising: Series) -> str:
        """What keeps the rise from being overfitting, as a clause; empty where nothing does."""
        best, now, whole = rising.values[0], rising.values[-1], history.series("val/loss").finite.values
        if now - best < self.noise * statistics.noise(whole) and not rises_steadily(rising, ALPHA):
            return "that is within its noise"
        if not training_improved(history, rising.epochs[0]):
            return "training did not improve meanwhile"
        if near_chance(history):
            return "validation was never better than chance"
        steep = now >= best * (1 + self.steep)
        return self._holds(history, rising.epochs[0], self.gap / 2 if steep else self.gap)

    def _holds(self, history: RunHistory, epoch: int, limit: float) -> str:
        """Why the answers are no worse for it: no gap is established, or they got better; where no gap is known, they held."""
        apart, course = gap_interval(history), accuracy_since(history, epoch)
        if course and course.now >= course.then and (apart is None or course.rose):
            return (
                f"validation {course.name} {'got better' if course.rose else f'did not {course.worse}'} ({course.text})"
            )
        small = apart is not None and apart.low <= limit
        return f"training is not established to be {points(limit)} ahead of validation" if small else ""

    def _found(self, history: RunHistory, rising: Series, unsure: Evidence | None) -> Finding:
        epoch, best, now = rising.epochs[0], rising.values[0], rising.values[-1]
        apart, course = gap_interval(history), answers_since(history, epoch)
        text = (
            f"validation loss {number(best)} in epoch {epoch} → {number(now)} at the end (+{percent(now / best - 1)})"
        )
        evidence = [Evidence(signal="val/loss", text=text, epoch=epoch, observed=now, expected=best)]
        name, label = ("loss", "training loss") if len(history.series("train/loss")) else ("acc", "training accuracy")
        evidence.append(seen(history, f"train/{name}", label))
        ends = stages_at_end(history)
        if ends:
            evidence.append(ends[1])
        elif course:
            fact = f"validation {course.name} {course.text}"
            evidence.append(Evidence(signal="val/acc", text=fact, observed=course.now, expected=course.then))
        kept = accuracy_against(course)
        held = f"; {kept[0].text.partition(' (')[0]}" if kept and course else ""
        return self.finding(
            severity="error" if apart and apart.low > 2 * self.gap and not unsure else "warning",
            confidence=0.75 if unsure else 0.95 if apart else 0.85,
            claim=claim(history) if apart and not unsure else "likely",
            title=f"Overfitting since epoch {epoch}{', by the loss' if kept else ''}",
            summary=f"The model overfits since epoch {epoch}: {text}, while training still improved{ends[0] if ends else ''}{held}.",
            evidence=tuple(evidence),
            against=(*kept, *((unsure,) if unsure else ()), *positions(history)),
            why="Later epochs memorise the training set; by the loss, the last weights "
            f"are worse than those of epoch {epoch}.",
            actions=(
                go_on(history, epoch),
                "let ModelCheckpoint(monitor=...) keep the best weights, and an early stop end the run after them",
                "more training data or augmentation; weight decay, dropout, a smaller or partly frozen model",
                *(("temperature scaling or label smoothing if probabilities matter",) if kept else ()),
            ),
            next_test="train a much smaller model: if the gap stays, the split is harder, not the capacity too large",
            epoch=epoch,
            explains=("LD203",),
            outweighs=("LD602",),
        )
