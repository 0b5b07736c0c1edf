"""LD305: a class of the validation set that training never shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.consequences import VALIDATION_BEHIND
from lightning_diag.rules.reading import ALPHA, class_counts
from lightning_diag.words import listed, percent


@dataclass(frozen=True, kw_only=True)
class ClassMissingInTraining(Rule):
    """A class of the validation set has no training sample."""

    code: ClassVar[str] = "LD305"
    name: ClassVar[str] = "class-missing-in-training"
    needs: ClassVar[tuple[str, ...]] = ("data.train.class_counts",)

    alpha: float = ALPHA
    """Probability that drawing at random leaves out so many classes in one epoch, or one so large."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        train, val = history.context.data.train.class_counts, class_counts(history, "val")
        if not sum(val) or not sum(train):
            raise CannotTellError("validation samples were not counted by class")
        absent = [i for i, c in enumerate(val) if c and (i >= len(train) or not train[i])]
        missing = absent or [i for i in self._never_drawn(history) if i < len(val) and val[i]]
        if not missing:
            return None
        names = listed([f"{history.class_name(i)} ({val[i]:,} validation samples)" for i in missing])
        lost = sum(val[i] for i in missing)
        sampler = f" was drawn ({history.context.data.train.sampler})" if not absent else ""
        text = (
            f"no training sample of {names}{sampler}: {percent(lost / sum(val))} of the validation set cannot be right"
        )
        return self.finding(
            severity="error",
            confidence=0.98,
            claim="established",
            title=f"{len(missing)} of {sum(1 for c in val if c)} validation classes are "
            + ("not in the training set" if absent else "never drawn in training"),
            summary=f"A class was never shown in training: {text}.",
            evidence=(Evidence(signal="data.train.class_counts", text=text, observed=0.0, expected=float(lost)),),
            why="Its recall is 0 for ever, whatever else is tuned.",
            actions=(
                "split stratified by class",
                "collect samples of the class, or drop it from the task",
                "check the label map of the training set, and which indices a sampler is given",
            ),
            next_test="count both splits by class name, not by index",
            scope="data",
            explains=(*VALIDATION_BEHIND, "LD208", "LD303", "LD604", "LD608"),
        )

    def _never_drawn(self, history: RunHistory) -> list[int]:
        """Classes that the data set holds and the sampler left out in an epoch, which drawing at random would not do."""
        split = history.context.data.train
        total, drawn = sum(split.class_counts), sum(split.drawn_counts)
        pairs = zip(split.class_counts, split.drawn_counts, strict=False)
        held = [(i, (1 - has / total) ** drawn, not got) for i, (has, got) in enumerate(pairs) if has]
        p_value = statistics.absent_by_chance([chance for _, chance, _ in held], [gone for *_, gone in held])
        return [i for i, _, gone in held if gone] if p_value < self.alpha else []
