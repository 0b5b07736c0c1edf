"""LD103: the weights hardly move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.rules.pretraining import begun
from lightning_diag.rules.reading import ALPHA, late, movement, seen, stuck, trivial_loss
from lightning_diag.words import number, percent


@dataclass(frozen=True, kw_only=True)
class LearningRateTooLow(Rule):
    """The weights hardly move, so that hardly anything is learned."""

    code: ClassVar[str] = "LD103"
    name: ClassVar[str] = "learning-rate-too-low"
    needs: ClassVar[tuple[str, ...]] = ("train/loss",)
    min_epochs: ClassVar[int] = 3

    moved: float = 0.1
    """Sum over the run of update over weight norm: a tenth of the weights, when healthy first epochs alone move them by 1 to
    40 %. Weights that moved by less are those of the initialisation."""
    fall: float = 0.2
    """Relative fall of the training loss that counts as having learned something in spite of it."""

    level: float = 0.5
    """Training loss, as a share of what there was to learn, below which the weights are good already and may rest."""

    second_half: float = 0.25
    """Share of the fall that must lie in the second half of a log without weight updates: a rate that is too low makes it
    half, a run that has levelled next to none."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        loss, moved = history.series("train/loss").finite, movement(history)
        if len(loss) < self.min_epochs or loss.values[0] <= 0:
            raise CannotTellError("fewer than 3 finite training losses")
        fell = (loss.values[0] - loss.values[-1]) / loss.values[0]
        if not self._small(history, fell, moved) or self._good_already(history, late(loss.values), moved):
            return None
        if stuck(history) is None and begun(history):
            raise CannotTellError(
                "the weights were trained before this fit, and nothing recorded tells how good they were"
            )
        falling = statistics.trend(loss.values)
        steady = falling.slope < 0 and falling.p_value < ALPHA
        if moved is None and not steady:
            raise CannotTellError("weight updates were not measured, and the loss shows no trend")
        if moved is None and _second_half(loss.values) < self.second_half:
            return None
        lr = history.context.optim.lr
        now = f" (learning rate {number(lr)})" if lr else ""
        evidence = [seen(history, "train/loss", f"training loss fell by {percent(max(fell, 0.0))}:")]
        if moved is not None:
            text = f"all updates of the run together are {percent(moved)} of the weights"
            evidence.insert(0, Evidence(signal="update/ratio", text=text, observed=moved, expected=self.moved))
        return self.finding(
            severity="error",
            confidence=(0.9 if moved is not None else 0.6) + (0.05 if steady else 0.0),
            claim="likely",
            title=f"Learning rate too low{now}",
            summary=f"The learning rate is too low{now}: {evidence[0].text}.",
            evidence=tuple(evidence),
            why="At this pace the run ends where it began.",
            actions=(
                "a learning rate 10 to 1000 times higher; 1e-3 is a usual start for Adam, 1e-2 to 1e-1 for SGD",
                "a learning rate range test (Tuner.lr_find)",
                "check that the schedule does not start at 0",
            ),
            next_test="one epoch at a 100 times higher learning rate",
            explains=(*NOTHING_LEARNED, "LD401", "LD412"),
            excludes=("LD102",),
        )

    def _small(self, history: RunHistory, fell: float, moved: float | None) -> bool:
        """Small steps (where measured), and little to show for them."""
        little = -self.fall < fell < self.fall
        return little if moved is None else moved <= self.moved and (little or bool(stuck(history)))

    def _good_already(self, history: RunHistory, loss: float, moved: float | None) -> bool:
        """Weights that have learned may rest: pretrained or resumed ones, and those with a low loss."""
        if stuck(history) is not False:
            return False
        trivial = trivial_loss(history)
        return moved is None or begun(history) or trivial is None or loss < self.level * trivial


def _second_half(losses: tuple[float, ...]) -> float:
    """Share of the fall of the loss that lies in the second half; 0 where it did not fall."""
    fall = losses[0] - losses[-1]
    return (losses[len(losses) // 2] - losses[-1]) / fall if fall > 0 else 0.0
