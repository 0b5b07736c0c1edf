"""LD304: a class without validation samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.independence import independent
from lightning_diag.rules.reading import ALPHA, class_counts
from lightning_diag.words import listed, p


@dataclass(frozen=True, kw_only=True)
class ClassMissingInValidation(Rule):
    """A class of the training set has no validation sample."""

    code: ClassVar[str] = "LD304"
    name: ClassVar[str] = "class-missing-in-validation"
    needs: ClassVar[tuple[str, ...]] = ("data.train.class_counts",)

    alpha: float = ALPHA
    """Probability that a random split misses so many classes, or one so frequent; above it, the validation set is merely
    small (``info``)."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        train, val = history.context.data.train.class_counts, class_counts(history, "val")
        if not sum(val) or not sum(train):
            raise CannotTellError("validation samples were not counted by class")
        held, n = [i for i, c in enumerate(train) if c], sum(val)
        missing = [i for i in held if i >= len(val) or not val[i]]
        if not missing:
            return None
        if independent(history):
            p_value = statistics.absent_by_chance(_chances(train, val), [i in set(missing) for i in held])
        else:
            p_value = 1.0  # a class may be on every position of the few images that show it
        names = listed([f"{history.class_name(i)} ({train[i]:,} training samples)" for i in missing])
        text = f"no validation sample of {names}, among {n:,}{f' ({p(p_value)} by chance)' if independent(history) else ''}"
        return self.finding(
            severity="warning" if p_value < self.alpha else "info",
            confidence=0.97 if p_value < self.alpha else 0.6,
            claim="established",
            title=f"{len(missing)} of {sum(1 for c in train if c)} classes have no validation sample",
            summary=f"Validation does not see every class: {text}.",
            evidence=(
                Evidence(
                    signal="data.val.class_counts",
                    text=text,
                    observed=0.0,
                    expected=float(sum(train[i] for i in missing)) / sum(train) * n,
                    p_value=p_value if independent(history) else None,
                ),
            ),
            why="Accuracy says nothing about these classes, and the best epoch is chosen without them.",
            actions=(
                "split stratified by class (train_test_split(..., stratify=y))",
                "check the label map of the validation set",
            ),
            next_test="list the classes of each split by name",
            scope="data",
        )


def _chances(train: Sequence[int], val: Sequence[int]) -> list[float]:
    """For each class of training the chance that all of its samples fall there when both splits are dealt at random.

    The samples of both together are what was dealt: taking the share of a class from training alone would overstate it
    for the very classes that have none in validation.
    """
    both = [c + (val[i] if i < len(val) else 0) for i, c in enumerate(train) if c]
    stays = math.log(sum(train) / (sum(train) + sum(val)))
    return [math.exp(c * stays) for c in both]
