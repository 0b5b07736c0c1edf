"""Sentences to the person at the terminal, through Lightning's own logging."""

from __future__ import annotations

import logging
import warnings

log = logging.getLogger("lightning.pytorch.lightning_diag")


def warn(text: str) -> None:
    """One warning, attributed to the library and never turned into an exception of the training.

    ``python -W error`` would raise it inside a hook; then it goes to the log instead.
    """
    try:
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    except RuntimeWarning:
        log.warning(text)


def say(text: str) -> None:
    """One line of information that does not cut through a progress bar."""
    log.info(text)
