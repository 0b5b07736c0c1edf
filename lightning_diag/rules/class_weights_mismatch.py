"""LD306: class weights that make the classes less equal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.rules.reading import class_counts
from lightning_diag.words import number


@dataclass(frozen=True, kw_only=True)
class ClassWeightsMismatch(Rule):
    """The class weights of the loss make classes less equal instead of more."""

    code: ClassVar[str] = "LD306"
    name: ClassVar[str] = "class-weights-mismatch"
    needs: ClassVar[tuple[str, ...]] = ("model.loss_weight", "data.train.class_counts|stage:train")

    ratio: float = 3.0
    """Effective imbalance (count times weight, largest over smallest) from which it matters; 1:3 cost 1 to 3 points on digits."""
    worse: float = 2.0
    """Effective imbalance over that of the counts alone. Weights 1/count make it 1; anything above 1 points the wrong way."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        weights = history.context.model.loss_weight
        drawn = class_counts(history, "train")
        pairs = [(w, c) for w, c in zip(weights, drawn, strict=False) if c]
        if len(pairs) < 2:
            raise CannotTellError("fewer than two classes have training samples")
        without = max(c for _, c in pairs) / min(c for _, c in pairs)
        if min(w for w, _ in pairs) <= 0:
            with_weights = math.inf
        else:
            with_weights = max(w * c for w, c in pairs) / min(w * c for w, c in pairs)
        if with_weights < self.ratio or with_weights < self.worse * without:
            return None
        effect = (
            "a class of weight 0 is not learned at all"
            if math.isinf(with_weights)
            else f"the largest class counts {number(with_weights)} times the smallest with these weights, {number(without)} times without"
        )
        top = max(range(len(weights)), key=lambda i: weights[i])
        unit = "positions" if history.context.task == "dense" else "samples"
        text = f"{effect}; the largest weight, {number(weights[top])}, is that of {history.class_name(top)} with {drawn[top] if top < len(drawn) else 0:,} {unit}"
        return self.finding(
            severity="error",
            confidence=0.93,
            claim="established",
            title="Class weights do not match the class counts",
            summary=f"The class weights of the loss do harm: {text}.",
            evidence=(
                Evidence(signal="model.loss_weight", text=text, observed=min(with_weights, 1e9), expected=without),
            ),
            why="The loss asks for answers that the data do not call for: overweighted classes are predicted too often.",
            actions=(
                "weights 1 / count of each class, in the order of the class indices",
                "no weights when the classes are balanced",
                "not weights and a balanced sampler at once",
            ),
            next_test="print class name, count and weight side by side",
            scope="class",
            explains=(*NOTHING_LEARNED, "LD203", "LD303", "LD606", "LD608"),
        )
