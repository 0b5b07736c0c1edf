"""LD201: it learned, and then validation got worse while training still improved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory, Series
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.best_weights import go_on
from lightning_diag.rules.gaps import gap, gap_interval
from lightning_diag.rules.reading import ALPHA, after, learned, seen
from lightning_diag.rules.rising import (
    accuracy_against,
    accuracy_since,
    errors_apart,
    rises_steadily,
    rose,
    training_improved,
)
from lightning_diag.words import number, of, percent, points


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
        best = loss.best("min")
        if best is None or len(loss) < self.min_epochs:
            raise CannotTellError(f"{len(loss)} finite validation losses, at least {self.min_epochs} are needed")
        rising = after(loss, best[0])
        now = rising.values[-1]
        needed = self.rise / 2 if errors_apart(history, self.errors) else self.rise
        # one evaluation after the best may be an odd one
        if best[1] <= 0 or len(rising) < 3 or not rose(best[1], rising, needed):
            return None
        beyond = now - best[1] >= self.noise * statistics.noise(loss.values) or rises_steadily(rising, ALPHA)
        if not beyond or not training_improved(history, best[0]):
            return None
        steep = now >= best[1] * (1 + self.steep)
        if learned(history) is False or not self._costs_accuracy(history, best[0], self.gap / 2 if steep else self.gap):
            return None
        return self._found(history, rising, now)

    def _costs_accuracy(self, history: RunHistory, epoch: int, limit: float) -> bool:
        """The gap in accuracy is established and validation accuracy does not rise; where no gap is known, it must fall."""
        apart, course = gap_interval(history), accuracy_since(history, epoch)
        if course and course.now >= course.then and (apart is None or course.rose):
            return False
        return apart is None or apart.low > limit

    def _found(self, history: RunHistory, rising: Series, now: float) -> Finding:
        epoch, best = rising.epochs[0], rising.values[0]
        ends, apart = gap(history), gap_interval(history)
        text = (
            f"validation loss {number(best)} in epoch {epoch} → {number(now)} at the end (+{percent(now / best - 1)})"
        )
        evidence = [Evidence(signal="val/loss", text=text, epoch=epoch, observed=now, expected=best)]
        name, label = ("loss", "training loss") if len(history.series("train/loss")) else ("acc", "training accuracy")
        evidence.append(seen(history, f"train/{name}", label))
        size = ""
        if ends and apart:
            size = f": training {of(ends[0])}, validation {of(ends[1])}"
            wide = f"{points(ends[0].rate - ends[1].rate)} ({100 * apart.low:.0f}–{100 * apart.high:.0f})"
            found = Evidence(signal="val/acc", text=f"gap {wide}{size}", observed=ends[1].rate, expected=ends[0].rate)
            evidence.append(found)
        elif course := accuracy_since(history, epoch):
            text_of = f"validation accuracy {course.text}"
            evidence.append(Evidence(signal="val/acc", text=text_of, observed=course.now, expected=course.then))
        return self.finding(
            severity="error" if apart and apart.low > 2 * self.gap else "warning",
            confidence=0.95 if apart else 0.85,
            claim="established" if apart else "likely",
            title=f"Overfitting since epoch {epoch}",
            summary=f"The model overfits since epoch {epoch}: {text}, while training still improved{size}.",
            evidence=tuple(evidence),
            against=accuracy_against(history, epoch),
            why="Later epochs memorise the training set; by the loss, the last weights "
            f"are worse than those of epoch {epoch}.",
            actions=(
                go_on(history, epoch),
                "let ModelCheckpoint(monitor=...) keep the best weights, and an early stop end the run after them",
                "more training data or augmentation; weight decay, dropout, a smaller or partly frozen model",
            ),
            next_test="train a much smaller model: if the gap stays, the split is harder, not the capacity too large",
            epoch=epoch,
            explains=("LD203",),
            outweighs=("LD602",),
        )
