"""Sentences to the person at the terminal, through Lightning's own logging."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

log = logging.getLogger("lightning.pytorch.lightning_diag")


def warn(text: str) -> None:
    """One warning, attributed to the library and never turned into an exception of the training.

    ``python -W error`` would raise it inside a hook; then it goes to the log instead.
    """
    try:
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    except RuntimeWarning:
        log.warning(text)


def say(text: str, trainer: Any = None) -> None:
    """One line of information through Lightning's logger, above a progress bar and never across it.

    Args:
        text: the line.
        trainer: whose progress bar may be on the screen. Rich prints above its bar only what goes through its console.
    """
    try:
        _print(text, trainer)
    except Exception:  # noqa: BLE001  (a terminal that cannot show the line is no fault of the run or of who says it)
        log.info(text)


def _print(text: str, trainer: Any) -> None:
    progress = getattr(getattr(trainer, "progress_bar_callback", None), "progress", None)
    if progress is not None and getattr(getattr(progress, "live", None), "is_started", False):
        progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        return
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        log.info(text)
