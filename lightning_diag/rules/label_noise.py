"""LD606: validation is ahead of training, by far and all the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.best_weights import best_weights
from lightning_diag.rules.class_mix import MIX
from lightning_diag.rules.consequences import VALIDATION_BEHIND
from lightning_diag.rules.gaps import comparable, training_measure, unseen_noise, validation_ahead
from lightning_diag.rules.reading import counts, learned, stuck
from lightning_diag.words import of, points


@dataclass(frozen=True, kw_only=True)
class LabelNoise(Rule):
    """Training accuracy stays well below validation accuracy: part of the training labels is wrong."""

    code: ClassVar[str] = "LD606"
    name: ClassVar[str] = "label-noise"
    needs: ClassVar[tuple[str, ...]] = ("stage:val", "stage:probe|stage:train|probe/train_acc")
    tasks: ClassVar[tuple[str, ...]] = ("multiclass", "binary", "dense")
    min_epochs: ClassVar[int] = 2

    margin: float = 0.05
    """Points by which validation must be established to be ahead (lower end of the 95 % interval)."""
    share: float = 0.3
    """Share of the evaluations in which it must be; chance gives one in forty. Those up to the lowest validation loss
    count: after it the wrong labels are learned by heart, and training passes validation."""
    evaluations: int = 2
    """Evaluations in which it must be at least."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        last = self._until(history)
        looked = sum(1 for epoch, _ in counts(history, "val") if epoch <= last)
        least = max(self.evaluations, self.share * looked)
        ahead = [row for row in validation_ahead(history, self.margin) if row.epoch <= last]
        if not comparable(history):
            raise CannotTellError(
                "training mode lowers the running accuracy (dropout, small batches), and it was not counted in eval mode"
            )
        if stuck(history) or learned(history, "val") is not True:
            return None
        if len(ahead) < least:
            if sum(row.epoch <= last for row in validation_ahead(history, self.margin, mix=False)) >= least:
                raise CannotTellError(MIX)
            return None
        if history.context.data.train.augmented:
            raise CannotTellError("training samples are augmented, which puts validation ahead in the same way")
        worst = max(ahead, key=lambda row: row.lead.low)
        epoch, val, lead = worst.epoch, worst.val, worst.lead
        behind = f"{100 * lead.low:.0f}–{100 * lead.high:.0f} points behind"
        until = " up to the lowest validation loss" if looked < len(counts(history, "val")) else ""
        text = (
            f"validation is {of(val)} right in epoch {epoch} and training {worst.training} {training_measure(history)}, "
            f"{behind}; it is behind in {len(ahead)} of {looked} evaluations{until}"
        )
        train = worst.weighed or worst.train
        return self.finding(
            severity="error",
            confidence=0.85,
            claim="likely",
            title=f"Label noise: training is {points(val.rate - train.rate)} behind validation",
            summary=f"Part of the training labels is probably wrong: {text}.",
            evidence=(
                Evidence(signal="probe/train_acc", text=text, epoch=epoch, observed=train.rate, expected=val.rate),
            ),
            against=(
                Evidence(signal="data", text="not excluded: a validation set that is easier than the training set"),
                Evidence(signal="data.train.augmented", text=f"not excluded: {_augmentation(history)}"),
                *unseen_noise(history),
            ),
            why="The model is right more often than its labels; trained longer, it memorises the wrong ones.",
            actions=(
                "read the 50 training samples with the largest loss, with their labels",
                f"go on from {best_weights(history) or 'the best validation epoch'}; label smoothing or a robust loss",
                "do not add capacity",
            ),
            next_test="have 50 random training samples labelled again: the share that changes is the noise",
            scope="data",
            explains=(*VALIDATION_BEHIND, "LD204", "LD205", "LD208"),
            excludes=("LD613", "LD604"),
        )

    def _until(self, history: RunHistory) -> int:
        """The epoch of the lowest validation loss, but at least as many evaluations as must show it."""
        seen = [epoch for epoch, _ in counts(history, "val")]
        lowest = history.series("val/loss").best("min")
        least = seen[min(self.evaluations, len(seen)) - 1] if seen else 0
        return max(lowest[0], least) if lowest else max(seen, default=0)


def _augmentation(history: RunHistory) -> str:
    """Which augmentation was not looked for."""
    if history.context.data.train.augmented is False:
        return "strong augmentation or noise inside training_step; the samples themselves do not change"
    return "strong augmentation, which was not looked for"
