"""LD207: validation loss rises while validation accuracy does not fall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.chance import doubt, near_chance
from lightning_diag.rules.reading import after
from lightning_diag.rules.rising import accuracy_since, answers_since, rose
from lightning_diag.words import number, percent


@dataclass(frozen=True, kw_only=True)
class OverConfidence(Rule):
    """The loss gets worse and the answers do not: the probabilities are too extreme."""

    code: ClassVar[str] = "LD207"
    name: ClassVar[str] = "over-confidence"
    needs: ClassVar[tuple[str, ...]] = ("val/loss", "val/acc|stage:val")
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
            raise CannotTellError("the lowest validation loss is not above 0, so that no share of it can be told")
        now, course = loss.values[-1], accuracy_since(history, best[0])
        if not rose(best[1], after(loss, best[0]), self.rise) or near_chance(history):
            return None
        if course is None:
            raise CannotTellError("the loss rises, and validation accuracy was not recorded beside it")
        if now - best[1] < self.noise * statistics.noise(loss.values) or course.fell:
            return None
        unsure, course = doubt(history), answers_since(history, best[0]) or course
        name = course.name
        text = f"validation loss {number(best[1])} in epoch {best[0]} → {number(now)}, {name} {course.text}"
        down, up = course.now < course.then, percent(now / best[1] - 1)
        return self.finding(
            severity="info",
            confidence=0.6 if down else 0.7 if unsure else 0.9,
            claim="likely" if down or unsure else "established",
            title=f"Loss up {up}, and no established {course.worse} in {name}"
            if down
            else f"Over-confident: loss up {up}, {name} not {'up' if course.errors else 'down'}",
            summary=f"The probabilities get worse; whether the answers do is not established: {text}."
            if down
            else f"The model becomes over-confident, not worse: {text}.",
            evidence=(Evidence(signal="val/loss", text=text, epoch=best[0], observed=now, expected=best[1]),),
            against=(unsure,) if unsure else (),
            why="Probabilities and thresholds taken from the model are too extreme, whatever its answers are worth.",
            actions=(
                f"where labels count, judge checkpoints by {name}{'' if course.errors else ' with its interval'}; where probabilities do, by the loss",
                "temperature scaling or label smoothing if probabilities matter",
            ),
            next_test="fit one temperature on the validation set: the loss returns to its minimum if only confidence changed",
            scope="val",
            excludes=("LD201",),
            epoch=best[0],
        )
