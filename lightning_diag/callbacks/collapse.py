"""ClassCollapseDetector: which classes the model predicts at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning_diag.callbacks.base import DiagCallback


class ClassCollapseDetector(DiagCallback):
    """Counts what is predicted per class, and tells collapse from imbalance and from classes that are not there.

    Args:
        class_names: names by class index; default: found on the data set, data module or module.
        dirpath: folder of the report; default: the Trainer's log folder.
        thresholds: rule code -> threshold field -> value, e.g. ``{"LD303": {"ratio": 20}}``.
        extractor: gives predictions and targets where they cannot be captured; a function, or functions by stage (``docs/capture.md``).
    """

    def __init__(
        self,
        *,
        class_names: Sequence[str] | None = None,
        dirpath: str | None = None,
        thresholds: Mapping[str, Mapping[str, float]] | None = None,
        extractor: Callable[..., Any] | Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        super().__init__(class_names=class_names, dirpath=dirpath, thresholds=thresholds, extractor=extractor)
