"""What chance is for an accuracy, in words, and whether validation ever left it where few samples leave that open."""

from __future__ import annotations

from lightning_diag.findings import Evidence
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError
from lightning_diag.rules.reading import (
    STAGE_NAMES,
    above_trivial,
    best_count,
    class_counts,
    classes,
    could_be_good,
    counts,
    learned,
    train_rate,
    trivial_loss,
    trivial_rate,
)
from lightning_diag.words import of, p, percent

HALF = 0.5
"""Least training accuracy that validation is measured by: half of what there was to learn."""


def chance(history: RunHistory, stage: str = "val") -> str:
    """``38 %, the share of the most frequent validation class``: the rate that rules compare accuracies with, by name."""
    rate = trivial_rate(history, stage)
    if rate is None:
        return "the share of the most frequent class"
    if sum(class_counts(history, stage)):
        return f"{percent(rate)}, the share of the most frequent {STAGE_NAMES.get(stage, stage)} class"
    return f"{percent(rate)}, one of {classes(history)} classes"


def near_chance(history: RunHistory, least: float = HALF) -> bool:
    """Whether validation never was better than chance, and its samples are enough to say so."""
    return learned(history) is False and not could_be_good(history, "val", max(train_rate(history), least))


def doubt(history: RunHistory) -> Evidence | None:
    """Why it is open whether validation ever learned anything, for a rule that says it did; None where it is established.

    Where the samples are too few to tell, the loss decides as it does without counts: 10 % below the trivial one.

    Raises:
        CannotTellError: when accuracy does not decide and the loss does not either.
    """
    known = learned(history)
    measured = len(history.series("val/acc")) and history.context.task in {None, "multiclass", "binary"}
    if known is None and measured and trivial_rate(history) is None:
        text = "not verified: whether validation was ever better than chance, since the number of classes is not known"
        return Evidence(signal="classes", text=text)
    if known is not False:
        return None
    best, loss, trivial = best_count(history, "val"), history.series("val/loss").best("min"), trivial_loss(history)
    p_value = above_trivial(history, "val")
    looks = len(counts(history, "val"))
    sure = f", {p(p_value)} as the best of {looks} evaluations" if p_value is not None else ""
    seen = f"{of(best[1])} at best against {chance(history)}{sure}" if best else "no accuracy was counted"
    if not loss or not trivial or loss[1] >= 0.9 * trivial:
        raise CannotTellError(
            f"the validation loss rises, and whether validation ever learned anything is open: {seen}"
        )
    text = f"not established: that validation was ever better than chance by its accuracy ({seen}); its loss was"
    return Evidence(signal="val/acc", text=text)
