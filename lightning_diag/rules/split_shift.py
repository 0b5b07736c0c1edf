"""LD604: the two splits look different."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.splits import AUC, SCALE, SMD, harm_of_shift, means_differ, scale_differs, told_apart
from lightning_diag.words import number, p


@dataclass(frozen=True, kw_only=True)
class SplitShift(Rule):
    """Inputs of training and validation come from different distributions."""

    code: ClassVar[str] = "LD604"
    name: ClassVar[str] = "split-shift"
    needs: ClassVar[tuple[str, ...]] = ("data.train.input_std|data.shift_smd|data.shift_auc",)

    scale: float = SCALE
    """Factor between the spreads of the inputs, or distance of their means in spreads, that changes what a model sees."""
    smd: float = SMD
    """Mean standardised difference of the feature means; random splits of n samples have about 0.8 * sqrt(2 / n), 0.15 for 60."""
    auc: float = AUC
    """Area under the curve of a classifier that tells the splits apart: 0.5 is what random splits give."""
    alpha: float = 0.01
    """p-value of the two-sample (permutation) test that must go with each of them, where it was run: long tails alone make
    spreads differ by 2 in a quarter of random splits. With 500 permutations it cannot pass below 0.002."""
    gap: float = 0.05
    """Lower end of the interval of the gap to validation from which the shift has done harm."""
    loss: float = 2.0
    """Validation over training loss that counts as harm where accuracy was not counted."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        stretched = scale_differs(history, self.scale, self.alpha)
        found = stretched or means_differ(history, self.smd, self.alpha) or told_apart(history, self.auc, self.alpha)
        if found is None:
            return self._slight(history)
        harm, augmented = harm_of_shift(history, self.gap, self.loss), history.context.data.train.augmented
        if augmented and not harm:
            raise CannotTellError(AUGMENTED_ALONE)
        tested = found.p_value is not None
        notable = bool(stretched) and tested
        against = [("data.train.augmented", AUGMENTED)] * bool(augmented)
        against += [] if tested else [("data.shift_pvalue", UNTESTED)]
        return self.finding(
            severity="error" if harm else "warning" if notable else "info",
            confidence=0.6 if augmented or not (harm or notable) else 0.93 if tested else 0.85,
            claim="established" if tested else "likely",
            title="Training and validation inputs differ" + ("" if harm else ", without harm so far"),
            summary=f"The two splits do not look alike: {found.text}" + (f"; {harm}." if harm else "."),
            evidence=(found,),
            against=tuple(Evidence(signal=signal, text=text) for signal, text in against),
            why="The model is judged on inputs that it was not trained for.",
            actions=(
                "one preprocessing function for both splits",
                "split at random within each source, or collect training samples like those of validation",
            ),
            next_test="evaluate a held-out part of the training set through the validation loader's transform",
            scope="data",
            explains=HARMED if harm else (),
            outweighs=("LD602",) if harm else (),
            excludes=("LD606",),
        )

    def _slight(self, history: RunHistory) -> Finding | None:
        """The test tells the splits apart, by less than matters: not clear, and nothing to act on."""
        data = history.context.data
        p_value = data.shift_pvalue
        if p_value is None or p_value >= self.alpha:
            return None
        if data.train.augmented:
            raise CannotTellError(AUGMENTED_ALONE)
        parts = [f"area under the curve {number(data.shift_auc)}"] if data.shift_auc is not None else []
        parts += (
            [f"feature means {number(data.shift_smd)} standard deviations apart"] if data.shift_smd is not None else []
        )
        text = f"a two-sample test tells them apart ({', '.join([*parts, p(p_value)])}), by less than matters"
        return self.finding(
            severity="info",
            confidence=0.6,
            claim="established",
            title="Training and validation inputs differ slightly",
            summary=f"The two splits are not alike: {text}.",
            evidence=(
                Evidence(signal="data.shift_pvalue", text=text, observed=p_value, expected=self.alpha, p_value=p_value),
            ),
            why="A small difference between the splits can grow with new data: later recordings, other people.",
            actions=("look how the splits were made: by time, source or person, or at random",),
            next_test="train a classifier to tell the splits apart, and look at the features that it uses",
            scope="data",
        )


AUGMENTED = "training inputs are augmented, which is part of the difference"
AUGMENTED_ALONE = "training inputs are augmented, which alone makes them differ from those of validation"
UNTESTED = "no two-sample test was run (few samples, or no features that can be laid side by side): one sample in a long tail moves the spread too"
HARMED = tuple(f"LD{n}" for n in (201, 202, 203, 204, 207, 301, 302, 303, 608, 609, 607, 507, 208))
"""What a shift that costs something would cause."""
