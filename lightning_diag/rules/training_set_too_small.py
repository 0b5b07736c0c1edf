"""LD602: few training samples, and they were memorised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.gaps import established
from lightning_diag.rules.sample_size import shown
from lightning_diag.words import number


@dataclass(frozen=True, kw_only=True)
class TrainingSetTooSmall(Rule):
    """Few samples per class; a warning where the gap to validation shows that they were memorised."""

    code: ClassVar[str] = "LD602"
    name: ClassVar[str] = "training-set-too-small"
    needs: ClassVar[tuple[str, ...]] = ("data.train.size",)

    per_class: float = 30.0
    """Training samples per class; below, the mean of anything over a class is itself uncertain by a fifth of its spread."""
    gap: float = 0.05
    """Lower end of the interval of the gap to validation from which the small number has done harm."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        size, seen = history.context.data.train.size, shown(history)
        if not size or seen is None:
            raise CannotTellError("the number of classes is not known")
        each, what = seen
        if each >= self.per_class:
            return None
        harm = established(history, self.gap) is not None
        parameters = history.context.model.trainable
        beside = f", {number(round(parameters / size))} trainable parameters per sample" if parameters else ""
        text = f"{size:,} training samples, {each:.0f} {what}{beside}"
        better = "; training is established to be better than validation" if harm else ""
        return self.finding(
            severity="warning" if harm else "info",
            confidence=0.8 if harm else 0.6,
            claim="likely" if harm else "not established",
            title=f"{each:.0f} training samples {what}",
            summary=f"The training set is small for its task: {text}{better}.",
            evidence=(Evidence(signal="data.train.size", text=text, observed=each, expected=self.per_class),),
            why="A model can memorise so few samples without finding what they have in common.",
            actions=(
                "more samples, or augmentation",
                "start from pretrained weights and train the head only",
                "a smaller model",
            ),
            next_test="train on half of the samples: if validation hardly falls, more data will not help much",
            scope="data",
            explains=("LD411",) if harm else (),  # tokens that were hardly ever seen
        )
