"""LD301: all answers fall on one or few classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.answers import dealt_out, effective, scores_tell
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.reading import ALPHA, NO_ANSWERS, last_rows
from lightning_diag.words import percent


@dataclass(frozen=True, kw_only=True)
class ClassCollapse(Rule):
    """Predictions fall on far fewer classes than the validation set has."""

    code: ClassVar[str] = "LD301"
    name: ClassVar[str] = "class-collapse"
    needs: ClassVar[tuple[str, ...]] = ("classes:val",)
    tasks: ClassVar[tuple[str, ...]] = ("multiclass", "binary", "dense")

    share: float = 0.55
    """Effective number of predicted classes (exponential of the entropy) over what as many answers have that are dealt
    out as the classes are: 20 answers over 20 classes never look like 20. With two classes it means that nearly every
    answer is the same one, with ten that half of them carry all answers."""
    samples: int = 20
    """Validation samples below which a histogram of predictions says little."""
    alpha: float = ALPHA
    """Probability that all answers are of one class by chance, although each class is answered as often as it occurs:
    how a collapse shows where one class is frequent and the effective numbers are close."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        rows = last_rows(history, "val")
        n, answers = sum(row.support for row in rows), [row.predicted for row in rows if row.predicted is not None]
        if len(answers) < len(rows):
            raise CannotTellError(NO_ANSWERS)
        if n < self.samples or sum(answers) == 0:
            raise CannotTellError(f"{n} validation samples, at least {self.samples} are needed")
        most, top = max(zip(answers, rows, strict=True), key=lambda pair: pair[0])
        used, present = effective(answers), dealt_out([r.support for r in rows], sum(answers))
        all_one = most == sum(answers) and (top.support / n) ** most < self.alpha
        if used > self.share * present and (not all_one or scores_tell(history)):
            return None
        predicted = sum(1 for times in answers if times)
        text = (
            f"{history.class_name(top.index)} gets {percent(most / n)} of the predictions and is "
            f"{percent(top.support / n)} of the samples; {predicted} of {sum(1 for r in rows if r.support)} classes are "
            "predicted at all"
        )
        return self.finding(
            severity="error",
            confidence=0.95,
            claim="established",
            title=f"Class collapse: {percent(most / n)} of the predictions are {history.class_name(top.index)}",
            summary=f"Predictions have collapsed: {text}.",
            evidence=(
                Evidence(
                    signal="val/classes", text=text, epoch=history.stage("val")[-1][0], observed=used, expected=present
                ),
            ),
            against=(
                Evidence(
                    signal="val/classes",
                    text="collapse is a symptom: learning rate, class weights, sorted batches or labels can all cause it",
                ),
            ),
            why="The accuracy that is left is the share of one class; the other classes are lost.",
            actions=(
                "settle the causes named above first",
                "a 10 times lower learning rate",
                "check class weights, sampler and label order",
            ),
            next_test="memorise a balanced batch of 20 samples: if that works, the data order or the class weights are at fault",
            scope="class",
            explains=("LD115", "LD202", "LD204", "LD203", "LD302", "LD303", "LD208", "LD607"),
        )
