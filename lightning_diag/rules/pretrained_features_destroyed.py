"""LD504: the first epochs threw away what pretraining had given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.independence import differ
from lightning_diag.rules.pretraining import IN, judged, where
from lightning_diag.rules.reading import ALPHA, counts
from lightning_diag.words import number, of, p


@dataclass(frozen=True, kw_only=True)
class PretrainedFeaturesDestroyed(Rule):
    """Weights moved far from the checkpoint at once, and validation fell with it."""

    code: ClassVar[str] = "LD504"
    name: ClassVar[str] = "pretrained-features-destroyed"
    needs: ClassVar[tuple[str, ...]] = ("pretrain/relative_l2", "val/acc|val/loss")

    moved: float = 0.7
    """Relative L2 distance from the checkpoint. Ordinary fine-tuning stays at 0.02 to 0.41 after 200 steps (Adam up to 1e-3,
    SGD up to 0.1), destructive rates reach 1.0 to 2.6; 0.7 lies between on a logarithmic scale."""
    early: int = 3
    """Epochs in which it must happen. Weights that move later follow the new task."""
    rise: float = 0.5
    """Where no accuracy was counted: relative rise of the validation loss, more than ordinary runs show between epochs."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        facts = judged(history)
        if facts.verdict not in IN:
            raise CannotTellError("the pretrained weights were not in the module")
        course = list(history.series("pretrain/relative_l2").finite)[: self.early]
        far = [(epoch, gap) for epoch, gap in course if gap >= self.moved]
        fallen = far and (_fall_in_accuracy(history, course[-1][0]) or self._rise_in_loss(history, course[-1][0]))
        if not fallen:
            return None
        epoch, gap = far[0]
        text = f"relative distance from the checkpoint {number(gap)} in epoch {epoch}"
        moved = Evidence(signal="pretrain/relative_l2", text=text, epoch=epoch, observed=gap, expected=self.moved)
        return self.finding(
            severity="error",
            confidence=0.9,
            claim="likely",
            title=f"Pretrained features of {where(facts)} destroyed in epoch {epoch}",
            summary=f"The weights moved away from the checkpoint ({text}) and validation fell with them: {fallen.text}.",
            evidence=(moved, fallen),
            against=_still_alike(history, epoch),
            why="Updates this large replace the pretrained features before the new layers have learned to use them.",
            actions=(
                "lower the learning rate of the pretrained part 10 to 100 times, with a warm-up of some hundred steps",
                "train the new layers alone first, then unfreeze",
            ),
            next_test="freeze the pretrained part for one epoch: validation must not fall",
            scope="weights",
            explains=("LD202", "LD208"),
            epoch=epoch,
        )

    def _rise_in_loss(self, history: RunHistory, last: int) -> Evidence | None:
        loss = [(epoch, value) for epoch, value in history.series("val/loss").finite if epoch <= last]
        baseline = history.context.baseline
        start = baseline.loss if baseline and baseline.loss is not None else loss[0][1] if loss else None
        if counts(history, "val") or start is None or start <= 0 or not loss:
            return None
        epoch, worst = max(loss, key=lambda pair: pair[1])
        text = f"validation loss {number(start)} → {number(worst)} in epoch {epoch}"
        risen = worst >= start * (1 + self.rise)
        return Evidence(signal="val/loss", text=text, epoch=epoch, observed=worst, expected=start) if risen else None


def _fall_in_accuracy(history: RunHistory, last: int) -> Evidence | None:
    """The largest established fall from the start of the run, within the early epochs."""
    found: list[tuple[int, Count]] = [(epoch, count) for epoch, count in counts(history, "val") if epoch <= last]
    baseline = history.context.baseline
    before = baseline.correct if baseline and baseline.correct else found[0][1] if len(found) > 1 else None
    if before is None or not found:
        return None
    epoch, lowest = min(found, key=lambda pair: pair[1].rate)
    p_value = statistics.corrected(differ(history, before, lowest), len(found))
    if lowest.rate >= before.rate or p_value >= ALPHA:
        return None
    text = f"validation {of(before)} → {of(lowest)} in epoch {epoch} ({p(p_value)})"
    return Evidence(
        signal="val/acc", text=text, epoch=epoch, observed=lowest.rate, expected=before.rate, p_value=p_value
    )


def _still_alike(history: RunHistory, epoch: int) -> tuple[Evidence, ...]:
    record = history.record(epoch)
    cosine = record.value("pretrain/cosine") if record else None
    text = f"the direction is still that of the checkpoint (cosine {number(cosine or 0.0)})"
    found = Evidence(signal="pretrain/cosine", text=text, epoch=epoch, observed=cosine, expected=1.0)
    return (found,) if cosine is not None and cosine >= 0.5 else ()
