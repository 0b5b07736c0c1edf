"""LD611: inputs that are almost constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.rules.reading import classes, learned
from lightning_diag.words import number, percent


@dataclass(frozen=True, kw_only=True)
class DegenerateInputs(Rule):
    """The inputs hardly vary: preprocessing has destroyed the signal."""

    code: ClassVar[str] = "LD611"
    name: ClassVar[str] = "degenerate-inputs"
    needs: ClassVar[tuple[str, ...]] = ("data.train.constant_features|data.train.input_std|data.train.distinct",)

    constant: float = 0.9
    """Share of features that never vary in the sample. Borders of images are constant too; nine tenths are not."""
    spread: float = 0.01
    """Largest standard deviation of a feature, in units of max(1, |mean|): with the default initialisation, differences of
    a hundredth between inputs move the output less than the bias does."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        split, number_of_classes = history.context.data.train, classes(history) or 2
        spread, mean = split.input_std, abs(split.input_mean or 0.0)
        if split.distinct is not None and split.hashed and split.distinct < min(number_of_classes, split.hashed):
            text = f"{split.hashed:,} training samples hold {split.distinct} different inputs, fewer than there are classes"
            observed = float(split.distinct)
        elif split.constant_features is not None and split.constant_features > self.constant:
            text, observed = (
                f"{percent(split.constant_features)} of the input features never vary",
                split.constant_features,
            )
        elif split.feature_std_max is not None and split.feature_std_max < self.spread * max(mean, 1.0):
            text, observed = (
                f"no input feature varies by more than {number(split.feature_std_max)} (mean {number(mean)})",
                split.feature_std_max,
            )
        elif split.feature_std_max is None and spread is not None and spread < self.spread * max(mean, 1.0):
            text, observed = f"the inputs vary by {number(spread)} around {number(split.input_mean or 0.0)}", spread
        else:
            return None
        harmless = learned(history, "val") is True
        return self.finding(
            severity="warning" if harmless else "error",
            confidence=0.7 if harmless else 0.95,
            claim="established",
            title="The inputs are almost constant",
            summary=f"There is hardly any signal in the inputs: {text}.",
            evidence=(Evidence(signal="data.train.input_std", text=text, observed=observed, expected=1.0),),
            why="A model cannot tell samples apart that look alike.",
            actions=(
                "look at one batch as the model gets it",
                "look for a scaling applied twice, an integer division, a mask over everything",
            ),
            next_test="print mean and spread of one sample after each preprocessing step: it is the step where the spread goes",
            scope="data",
            explains=(*NOTHING_LEARNED, "LD103", "LD107", "LD113", "LD307", "LD603", "LD605", "LD607", "LD609"),
        )
