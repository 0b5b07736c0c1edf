"""LD609: inputs on a wild scale, with harm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.rules.reading import stuck, trivial_loss
from lightning_diag.words import number


@dataclass(frozen=True, kw_only=True)
class InputsNotNormalised(Rule):
    """Inputs have a scale that the network is not made for, and training suffers."""

    code: ClassVar[str] = "LD609"
    name: ClassVar[str] = "inputs-not-normalised"
    needs: ClassVar[tuple[str, ...]] = ("data.train.feature_std_max|data.train.input_std",)

    large: float = 20.0
    """Largest spread or mean of a feature. Networks are initialised for inputs of about 1; digits of 0 to 16 (spread 6) train
    well, pixels of 0 to 255 (spread 70) and raw measurements often do not."""
    start: float = 3.0
    """Loss of the first steps over the trivial loss: random weights on inputs of about 1 stay near 1."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        split = history.context.data.train
        spread = split.feature_std_max if split.feature_std_max is not None else split.input_std
        largest = max(spread or 0.0, split.feature_mean_absmax or 0.0, abs(split.input_mean or 0.0))
        if largest < self.large:
            return None
        harm = self._harm(history)
        low = f"{number(split.feature_std_min)}" if split.feature_std_min is not None else "0"
        text = (
            f"the spreads of the input features go from {low} to {number(spread or 0.0)}"
            if spread
            else f"inputs have a mean of {number(largest)}"
        )
        return self.finding(
            severity="error" if harm else "info",
            confidence=0.93 if harm else 0.6,
            claim="likely" if harm else "established",
            title="Inputs are not normalised" + ("" if harm else ", without harm so far"),
            summary=f"Inputs are on a wild scale: {text}" + (f"; {harm}." if harm else "."),
            evidence=(Evidence(signal="data.train.feature_std_max", text=text, observed=largest, expected=1.0),),
            why="The first updates are as large as the inputs; features of small scale are not heard.",
            actions=(
                "standardise each feature with mean and spread of the training set (the same for validation)",
                "images: divide by 255, or use the normalisation of the pretrained weights",
            ),
            next_test="standardise and train for two epochs at the same learning rate",
            scope="data",
            explains=(*NOTHING_LEARNED, "LD101", "LD102", "LD103", "LD104", "LD106", "LD107", "LD113", "LD207")
            if harm
            else (),
        )

    def _harm(self, history: RunHistory) -> str:
        """What shows that the scale hurts, as a clause; empty when training went well."""
        first, trivial = history.series("loss/first").finite, trivial_loss(history)
        peaks = history.series("loss/step_max").finite
        start = max([*first.values[:1], *peaks.values[:1]], default=0.0)
        if stuck(history):
            return "training got nowhere"
        if trivial and start > self.start * trivial:
            return f"the loss of early steps was {number(start)}, {number(start / trivial)} times that of an answer that ignores the input"
        return ""
