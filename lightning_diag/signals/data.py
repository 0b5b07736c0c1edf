"""Facts about both splits, made at the end from what was gathered while they passed by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lightning_diag.history import Count, DataFacts
from lightning_diag.signals.neighbours import same_label_as_nearest
from lightning_diag.signals.purity import purity_facts
from lightning_diag.signals.split import Floats, SplitWatch
from lightning_diag.signals.two_sample import compare, near_copies

MOST_CLASSES = 100_000
"""Larger integers are no class indices."""
CHANCE_LIMIT = 0.01
"""From this expected share of chance duplicates on, duplicates say nothing about leakage."""
CORRELATED = 10.0
"""Features are seldom independent: chance duplicates are allowed to be this much more frequent than independence
says (iris with two features: 5 % expected, 20-30 % observed)."""


class DataSignals:
    """Watches the batches of both splits and compares the splits once.

    Use :meth:`start_epoch` and :meth:`batch` as they come, :meth:`finish_epoch` after each epoch and :meth:`facts` at
    the end of the fit.
    """

    def __init__(self) -> None:
        self.splits = {"train": SplitWatch(), "val": SplitWatch()}
        self._purity: dict[str, Any] = {}
        self._drawn: dict[str, tuple[int, ...]] = {}

    def start_epoch(self, stage: str) -> None:
        """Begin an epoch of ``train`` or ``val``."""
        self.splits[stage].start()

    def batch(self, stage: str, batch: Any, target: Tensor | None = None, *, binary: bool = False) -> bool:
        """Look at one batch; whether the next one of this epoch is wanted too."""
        return self.splits[stage].batch(batch, target, binary=binary)

    def finish_epoch(self) -> dict[str, float]:
        """Signals of the training epoch that ends here."""
        labels = {stage: watch.take_labels() for stage, watch in self.splits.items()}
        for stage, batches in labels.items():
            if stage not in self._drawn and self.splits[stage].labels_complete:
                self._drawn[stage] = drawn_counts(batches)
        facts = purity_facts(labels["train"])
        if not facts:
            return {}
        self._purity = self._purity or facts
        return {"batch/purity": facts["label_purity"]}

    def facts(self, known: DataFacts) -> DataFacts:
        """What was seen, added to what the loaders say about themselves."""
        train, val = self.splits["train"], self.splits["val"]
        a, b = train.rows(), val.rows()
        changes: dict[str, Any] = {
            "train": replace(known.train, **_moments(a, train), **self._purity, **self._counts("train")),
            "val": replace(known.val, **_moments(b, val), **self._counts("val")),
        }
        same = same_label_as_nearest(a, train.row_labels())
        if same is not None:
            changes["train"] = replace(changes["train"], nearest_same=Count(k=same[0], n=same[1]))
        if (augmented := _augmented(train)) is not None and not (augmented and known.train.redrawn):
            changes["train"] = replace(changes["train"], augmented=augmented)
        changes |= _duplicates(train, val, a)
        if len(a) and len(b):
            shift = compare(a, b)
            if shift is not None:
                changes |= {"shift_smd": shift.smd, "shift_pvalue": shift.pvalue, "shift_auc": shift.auc}
            near = near_copies(a, b)
            changes["near_overlap"] = None if near is None else Count(k=near[0], n=near[1])
        return replace(known, **changes)

    def _counts(self, stage: str) -> dict[str, Any]:
        """Drawn samples per class; for validation, which nothing resamples, also the samples there are."""
        drawn = self._drawn.get(stage, ())
        if not drawn:
            return {}
        return {"drawn_counts": drawn} | ({"class_counts": drawn} if stage == "val" else {})


def _moments(rows: Floats, watch: SplitWatch) -> dict[str, Any]:
    """Moments of the kept samples; NaN and infinite values are left out of them and counted."""
    found: dict[str, Any] = {"nonfinite_inputs": watch.nonfinite()}
    prints = watch.prints()
    if len(prints):
        kinds = np.unique(prints, return_counts=True)[1]
        found |= {"hashed": len(prints), "distinct": len(kinds)}
        found |= {"repeated": len(prints) - int(np.count_nonzero(kinds == 1))} if watch.indices else {}
    finite = np.where(np.isfinite(rows), rows, np.nan).astype(np.float64)
    if not np.isfinite(finite).any():
        return found
    seen = np.isfinite(finite).any(0)
    finite = finite[:, seen]
    spread, means = np.nanstd(finite, 0), np.nanmean(finite, 0)
    return found | {
        "sampled": len(rows),
        "features": watch.feature_count,
        "input_mean": float(np.nanmean(finite)),
        "input_std": float(np.nanstd(finite)),
        "input_min": float(np.nanmin(finite)),
        "input_max": float(np.nanmax(finite)),
        "feature_std_min": float(spread.min()),
        "feature_std_max": float(spread.max()),
        "feature_mean_absmax": float(np.abs(means).max()),
        "constant_features": float((spread <= 1e-7 * np.maximum(1.0, np.abs(means))).mean()),
    }


def _duplicates(train: SplitWatch, val: SplitWatch, rows: Floats) -> dict[str, Any]:
    a, b = train.prints(), val.prints()
    if not len(a) or not len(b) or train.feature_count != val.feature_count:
        return {}
    expected = expected_overlap(rows, len(a))
    return {
        "overlap": Count(k=int(np.isin(b, a).sum()), n=len(b)),
        "overlap_expected": expected,
        "low_cardinality": expected * CORRELATED > CHANCE_LIMIT,
    }


def expected_overlap(rows: Floats, train_size: int) -> float:
    """Share of validation samples that equal a training sample by chance if features were independent.

    Two samples agree in a feature with the sum of the squared frequencies of its values (Simpson's index), in all of
    them with the product.
    """
    if not rows.size:
        return 0.0
    log_match = sum(float(np.log(_simpson(column))) for column in rows.T)
    return float(-np.expm1(-train_size * np.exp(log_match)))


def _simpson(column: npt.NDArray[np.float32]) -> float:
    """Chance that two different samples agree; a column without any repetition counts as one agreement."""
    _, counts = np.unique(column, return_counts=True)
    n = len(column)
    pairs = float((counts * (counts - 1)).sum())
    return max(pairs, 1.0) / max(1.0, n * (n - 1.0))


def _augmented(train: SplitWatch) -> bool | None:
    """Whether training inputs change from epoch to epoch; None when the first epoch was not fingerprinted whole."""
    later = train.later_prints()
    if not len(later) or not train.complete:
        return None
    return bool(np.isin(later, train.prints()).mean() < 0.5)


def drawn_counts(batches: list[npt.NDArray[np.int64]]) -> tuple[int, ...]:
    """Samples per class index that were drawn; empty without class indices or with too many to be classes."""
    if not batches:
        return ()
    labels = np.concatenate(batches)
    labels = labels[labels >= 0]
    if not len(labels) or labels.max() > MOST_CLASSES:
        return ()
    return tuple(np.bincount(labels).tolist())
