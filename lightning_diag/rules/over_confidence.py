"""LD207: validation loss rises while validation accuracy does not fall."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.reading import after, counts, learned
from lightning_diag.rules.rising import rose
from lightning_diag.words import number, of, percent


@dataclass(frozen=True, kw_only=True)
class OverConfidence(Rule):
    """The loss gets worse and the answers do not: the probabilities are too extreme."""

    code: ClassVar[str] = "LD207"
    name: ClassVar[str] = "over-confidence"
    needs: ClassVar[tuple[str, ...]] = ("val/loss", "stage:val")
    min_epochs: ClassVar[int] = 3

    rise: float = 0.15
    """Relative rise of the final loss over its minimum, as in LD201, so that exactly one of the two speaks."""
    noise: float = 3.0
    """Standard deviations of the series that the rise must exceed, as in LD201."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        loss = history.series("val/loss").finite
        best = loss.best("min")
        if best is None or best[1] <= 0:
            raise CannotTellError("no finite positive validation loss")
        now, then = loss.values[-1], next((c for e, c in counts(history, "val") if e >= best[0]), None)
        last = counts(history, "val")[-1][1]
        if not rose(best[1], after(loss, best[0]), self.rise) or then is None or learned(history) is False:
            return None
        if now - best[1] < self.noise * statistics.noise(loss.values) or _fell(then.rate, last.rate, then.n):
            return None
        text = f"validation loss {number(best[1])} in epoch {best[0]} → {number(now)}, accuracy {of(then)} → {of(last)}"
        return self.finding(
            severity="info",
            confidence=0.9,
            claim="established" if last.rate >= then.rate else "likely",
            title=f"Over-confident: loss up {percent(now / best[1] - 1)}, accuracy not down",
            summary=f"The model becomes over-confident, not worse: {text}.",
            evidence=(Evidence(signal="val/loss", text=text, epoch=best[0], observed=now, expected=best[1]),),
            why="Labels it predicts are as good as before; probabilities and thresholds taken from it are too extreme.",
            actions=(
                "choose the checkpoint by accuracy, not by loss",
                "temperature scaling or label smoothing if probabilities matter",
            ),
            next_test="fit one temperature on the validation set: the loss returns to its minimum if only confidence changed",
            scope="val",
            excludes=("LD201",),
            epoch=best[0],
        )


def _fell(then: float, now: float, n: int) -> bool:
    """Whether accuracy fell by more than one standard error of one evaluation."""
    return then - now > math.sqrt(max(then * (1 - then), 1e-9) / n)
