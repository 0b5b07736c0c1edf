"""How the inputs of the two splits differ, and what that costs."""

from __future__ import annotations

from lightning_diag.findings import Evidence
from lightning_diag.history import RunContext, RunHistory
from lightning_diag.rules.gaps import established, gap
from lightning_diag.rules.reading import ALPHA, late, loss_scale
from lightning_diag.words import number, of


def harm_of_shift(history: RunHistory, gap_from: float, loss_from: float) -> str:
    """What it costs, as a clause; empty when nothing shows it."""
    ends = established(history, gap_from)
    if ends:
        return f"training {of(ends[0])}, validation {of(ends[1])}"
    train = history.series("probe/train_loss").finite or history.series("train/loss").finite
    val = history.series("val/loss").finite
    if (
        len(train)
        and len(val)
        and late(val.values) > loss_from * max(late(train.values), 0.1 * (loss_scale(history) or 0.0)) > 0
        and gap(history) is None
    ):
        return f"training loss {number(late(train.values))}, validation loss {number(late(val.values))}"
    return ""


def compared(context: RunContext) -> str:
    """Which samples were looked at for copies, where not all were; those of one process of several meet only each other."""
    sides = [(context.data.train, "training"), (context.data.val, "validation")]
    if not any(split.hashed and split.size and split.hashed < split.size for split, _ in sides):
        return ""
    shares = [f"{split.hashed or 0:,}{f' of {split.size:,}' if split.size else ''} {word}" for split, word in sides]
    alone = f", those of one process of {context.devices:,}" if (context.devices or 1) > 1 else ""
    return f"Compared were {' and '.join(shares)} samples{alone}: copies of the others were not looked for"


def scale_differs(history: RunHistory, limit: float, alpha: float) -> Evidence | None:
    """Spread or mean of the inputs differ by the factor ``limit``, and not by chance where the two-sample test was run.

    Moments alone do not say: one sample in a long tail makes the spread of its split.
    """
    train, val = history.context.data.train, history.context.data.val
    p_value = history.context.data.shift_pvalue
    if not train.input_std or val.input_std is None or (p_value is not None and p_value >= alpha):
        return None
    ratio = max(val.input_std, 1e-12) / train.input_std
    moved = abs((val.input_mean or 0.0) - (train.input_mean or 0.0)) / train.input_std
    if 1 / limit < ratio < limit and moved < limit:
        return None
    text = (
        f"inputs are {number(train.input_mean or 0.0)} ± {number(train.input_std)} in training and "
        f"{number(val.input_mean or 0.0)} ± {number(val.input_std)} in validation"
    )
    return Evidence(
        signal="data.val.input_std", text=text, observed=val.input_std, expected=train.input_std, p_value=p_value
    )


def means_differ(history: RunHistory, limit: float, alpha: float) -> Evidence | None:
    """Feature means differ by ``limit`` standard deviations on average."""
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


def told_apart(history: RunHistory, limit: float, alpha: float) -> Evidence | None:
    """A linear classifier tells the splits apart."""
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


SCALE = 2.0
"""Factor between the spreads of the inputs, or distance of their means in spreads, that changes what a model sees."""
SMD = 0.3
"""Mean standardised difference of the feature means; random splits of n samples have about 0.8 * sqrt(2 / n), 0.15 for 60."""
AUC = 0.85
"""Area under the curve of a classifier that tells the splits apart: 0.5 is what random splits give."""


def looks_different(history: RunHistory) -> bool:
    """Whether the inputs of the two splits are told apart by any of the three signs."""
    return any(
        (scale_differs(history, SCALE, ALPHA), means_differ(history, SMD, ALPHA), told_apart(history, AUC, ALPHA))
    )
