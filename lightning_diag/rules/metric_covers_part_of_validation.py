"""LD706: the logged metric is not that of the validation set."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import NOT_IN_LOGS, CannotTellError, Rule
from lightning_diag.words import listed, number


@dataclass(frozen=True, kw_only=True)
class MetricCoversPartOfValidation(Rule):
    """The accuracy that the module logs differs from the one recomputed over the whole validation set."""

    code: ClassVar[str] = "LD706"
    name: ClassVar[str] = "metric-covers-part-of-validation"
    needs: ClassVar[tuple[str, ...]] = ("stage:val",)
    min_epochs: ClassVar[int] = 2
    # not readers of sequences, whose accuracy may be of lines, tokens or characters
    tasks: ClassVar[tuple[str, ...]] = ("multiclass", "binary", "dense", "multilabel")

    apart: float = 0.02
    """Difference that is more than rounding and more than an unweighted mean over batches makes."""
    share: float = 0.5
    """Share of the evaluations that must differ; a metric over another set of samples nearly always does."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        names = [n for n in history.signals() if n.startswith("logged/") and _is_accuracy(n)]
        if not names:
            raise CannotTellError(NOT_IN_LOGS if history.foreign else _not_logged(history))
        most = 0
        for name in names:
            both = [(e, v, whole) for e, v in history.series(name).finite if (whole := _recomputed(history, e))]
            apart = [
                (e, v, min(whole, key=lambda rate: abs(v - rate)))
                for e, v, whole in both
                if all(abs(v - rate) > self.apart for rate in whole) and not _of_sequences(history, v, whole)
            ]
            most = max(most, len(both))
            if len(both) >= 2 and len(apart) >= self.share * len(both):
                return self._found(history, name, apart, len(both))
        if most < 2:
            raise CannotTellError("fewer than 2 evaluations have both the logged accuracy and the one recomputed")
        return None

    def _found(self, history: RunHistory, name: str, apart: list[tuple[int, float, float]], looked: int) -> Finding:
        epoch, logged, whole = max(apart, key=lambda row: abs(row[1] - row[2]))
        own = name.removeprefix("logged/")
        n = history.stage("val")[-1][1].n
        text = (
            f"{own} was logged as {number(logged)} in epoch {epoch}; over all {n:,} validation samples it is "
            f"{number(whole)} (apart in {len(apart)} of {looked} evaluations)"
        )
        return self.finding(
            severity="error",
            confidence=0.85,
            claim="likely",
            title=f"{own} does not cover the validation set",
            summary=f"The logged metric is not that of the validation set: {text}.",
            evidence=(Evidence(signal=name, text=text, epoch=epoch, observed=logged, expected=whole),),
            against=(
                Evidence(
                    signal=name,
                    text="not excluded: a metric of another definition under this name (top-5, another threshold than 0.5, padding counted)",
                ),
            ),
            why="Checkpoints and early stopping choose by a number that rests on part of the samples.",
            actions=(
                "update a torchmetrics.Accuracy in validation_step and log the metric object",
                "do not compute the metric from the last batch in on_validation_epoch_end",
            ),
            next_test="log the number of samples that went into the metric",
            scope="val",
            epoch=epoch,
            explains=("LD206",),
            outweighs=("LD601",),
        )


def _recomputed(history: RunHistory, epoch: int) -> tuple[float, ...]:
    """Every accuracy of the validation of ``epoch`` that a metric of this name can mean; empty where one is not known.

    With several labels per sample it is of samples that are right in all of them, or of single labels.
    """
    record = history.record(epoch)
    if record is None or "val/acc" not in record.values or not math.isfinite(record.values.get("val/loss", 0.0)):
        return ()
    if history.context.task == "multilabel" and "val/label_acc" not in record.values:
        return ()
    names = ("val/acc", "val/balanced_acc", "val/label_acc")
    return tuple(record.values[name] for name in names if name in record.values)


def _of_sequences(history: RunHistory, logged: float, whole: tuple[float, ...]) -> bool:
    """Whether it may be the share of samples that are right at all their positions, which is the smaller one."""
    return history.context.task == "dense" and logged < min(whole)


_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_VALIDATION = frozenset({"val", "valid", "validation", "eval", "evaluation", "dev"})
_ACCURACY = frozenset({"acc", "accuracy"})
_OTHER = frozenset(
    {
        "bal",
        "balanced",
        "per",
        "class",
        "macro",
        "weighted",
        "seq",
        "sequence",
        "exact",
        "ema",
        "best",
        "max",
        "dataloader",
    }
)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(name.removeprefix("logged/"))]


def _not_logged(history: RunHistory) -> str:
    """Why there is nothing to compare with: no metric of validation was logged, or none under a name that tells."""
    logged = [name for name in history.signals() if name.startswith("logged/")]
    metrics = [
        n.removeprefix("logged/") for n in logged if (words := {*_words(n)}) & _VALIDATION and "loss" not in words
    ]
    if not metrics:
        return "the module logged no validation accuracy to compare with"
    return f"none of the logged names ({listed(metrics, 3)}) is known as a validation accuracy (log it as val_acc)"


def _is_accuracy(name: str) -> bool:
    """``val_acc``, ``valAccuracy``, ``acc/val``, ``validation/top1_acc`` ...: not top-k, per-class, balanced or best ones."""
    words = _words(name)
    numbers = [word for word in words if word.isdigit() and word != "1"]
    return bool(_VALIDATION & set(words) and _ACCURACY & set(words)) and not (_OTHER & set(words) or numbers)
