"""LD604: the two splits look different."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.reading import gap, late, loss_scale
from lightning_diag.words import number, of


@dataclass(frozen=True, kw_only=True)
class SplitShift(Rule):
    """Inputs of training and validation come from different distributions."""

    code: ClassVar[str] = "LD604"
    name: ClassVar[str] = "split-shift"
    needs: ClassVar[tuple[str, ...]] = ("data.train.input_std|data.shift_smd|data.shift_auc",)

    scale: float = 2.0
    """Factor between the spreads of the inputs, or distance of their means in spreads, that no random split makes."""
    smd: float = 0.3
    """Mean standardised difference of the feature means; random splits of n samples have about 0.8 * sqrt(2 / n), 0.15 for 60."""
    auc: float = 0.85
    """Area under the curve of a classifier that tells the splits apart: 0.5 is what random splits give."""
    alpha: float = 1e-3
    """p-value of the two-sample test that must go with ``smd`` or ``auc``, where it was run."""
    gap: float = 0.05
    """Lower end of the interval of the gap to validation from which the shift has done harm."""
    loss: float = 2.0
    """Validation over training loss that counts as harm where accuracy was not counted."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        stretched = _scale(history, self.scale)
        found = stretched or _means(history, self.smd, self.alpha) or _told_apart(history, self.auc, self.alpha)
        if found is None:
            return None
        harm = self._harm(history)
        if history.context.data.train.augmented and not harm:
            return None  # what augmentation does to the training inputs
        return self.finding(
            severity="error" if harm else "warning" if stretched else "info",
            confidence=0.93 if (harm or stretched) and not history.context.data.train.augmented else 0.6,
            claim="established",
            title="Training and validation inputs differ" + ("" if harm else ", without harm so far"),
            summary=f"The two splits do not look alike: {found.text}" + (f"; {harm}." if harm else "."),
            evidence=(found,),
            against=(
                Evidence(
                    signal="data.train.augmented", text="training inputs are augmented, which is part of the difference"
                ),
            )
            if history.context.data.train.augmented
            else (),
            why="The model is judged on inputs that it was not trained for.",
            actions=(
                "one preprocessing function for both splits",
                "split at random within each source, or collect training samples like those of validation",
            ),
            next_test="evaluate a held-out part of the training set through the validation loader's transform",
            scope="data",
            explains=(
                "LD201",
                "LD202",
                "LD203",
                "LD204",
                "LD207",
                "LD301",
                "LD302",
                "LD303",
                "LD602",
                "LD608",
                "LD609",
                "LD607",
                "LD507",
                "LD208",
            )
            if harm
            else (),
            excludes=("LD606",),
        )

    def _harm(self, history: RunHistory) -> str:
        """What it costs, as a clause; empty when nothing shows it."""
        ends = gap(history)
        if ends and statistics.difference(*ends).low > self.gap:
            return f"training {of(ends[0])}, validation {of(ends[1])}"
        train = history.series("probe/train_loss").finite or history.series("train/loss").finite
        val = history.series("val/loss").finite
        if (
            len(train)
            and len(val)
            and late(val.values) > self.loss * max(late(train.values), 0.1 * (loss_scale(history) or 0.0)) > 0
            and ends is None
        ):
            return f"training loss {number(late(train.values))}, validation loss {number(late(val.values))}"
        return ""


def _scale(history: RunHistory, limit: float) -> Evidence | None:
    train, val = history.context.data.train, history.context.data.val
    if not train.input_std or val.input_std is None:
        return None
    ratio = max(val.input_std, 1e-12) / train.input_std
    moved = abs((val.input_mean or 0.0) - (train.input_mean or 0.0)) / train.input_std
    if 1 / limit < ratio < limit and moved < limit:
        return None
    text = f"inputs are {number(train.input_mean or 0.0)} ± {number(train.input_std)} in training and {number(val.input_mean or 0.0)} ± {number(val.input_std)} in validation"
    return Evidence(signal="data.val.input_std", text=text, observed=val.input_std, expected=train.input_std)


def _means(history: RunHistory, limit: float, alpha: float) -> Evidence | None:
    data = history.context.data
    if (
        data.shift_smd is None
        or data.shift_smd < limit
        or (data.shift_pvalue is not None and data.shift_pvalue > alpha)
    ):
        return None
    if data.shift_pvalue is None and (data.shift_auc or 0.0) < 0.7:
        return None
    text = f"feature means differ by {number(data.shift_smd)} standard deviations on average"
    return Evidence(
        signal="data.shift_smd", text=text, observed=data.shift_smd, expected=0.0, p_value=data.shift_pvalue
    )


def _told_apart(history: RunHistory, limit: float, alpha: float) -> Evidence | None:
    data = history.context.data
    if (
        data.shift_auc is None
        or data.shift_auc < limit
        or (data.shift_pvalue is not None and data.shift_pvalue > alpha)
    ):
        return None
    text = f"a linear classifier tells training from validation inputs (area under the curve {number(data.shift_auc)})"
    return Evidence(
        signal="data.shift_auc", text=text, observed=data.shift_auc, expected=0.5, p_value=data.shift_pvalue
    )
