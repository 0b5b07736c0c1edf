"""PyTorch Lightning callbacks that watch a training run and leave a ``diagnosis.md``.

Names are imported when they are first used (PEP 562), so that ``import lightning_diag.rules`` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_diag.callbacks.collapse import ClassCollapseDetector
    from lightning_diag.callbacks.ctc import CTCBlankMonitor
    from lightning_diag.callbacks.early_stop import AdaptiveEarlyStop
    from lightning_diag.callbacks.factory import all_callbacks
    from lightning_diag.callbacks.gap import GapMonitor
    from lightning_diag.callbacks.pretrain import PretrainLoadVerifier
    from lightning_diag.callbacks.results import RunDiagnosis, diagnosis_of

__version__ = "0.1.0"

_HOMES = {
    "AdaptiveEarlyStop": "callbacks.early_stop",
    "CTCBlankMonitor": "callbacks.ctc",
    "ClassCollapseDetector": "callbacks.collapse",
    "GapMonitor": "callbacks.gap",
    "PretrainLoadVerifier": "callbacks.pretrain",
    "RunDiagnosis": "callbacks.results",
    "all_callbacks": "callbacks.factory",
    "diagnosis_of": "callbacks.results",
}

__all__ = [
    "AdaptiveEarlyStop",
    "CTCBlankMonitor",
    "ClassCollapseDetector",
    "GapMonitor",
    "PretrainLoadVerifier",
    "RunDiagnosis",
    "all_callbacks",
    "diagnosis_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
