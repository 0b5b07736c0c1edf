"""CTCBlankMonitor: waiting or dead, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning_diag.callbacks.base import DiagCallback
from lightning_diag.errors import ConfigError


class CTCBlankMonitor(DiagCallback):
    """Compares blanks with their expectation and the loss with that of the best output that ignores the input.

    It reads the arguments of the CTC loss call. Without a CTC loss it stays silent and the report says so.

    Args:
        blank: blank index of *your decoder*; it is compared with the one given to the loss.
        id_to_token: token names by index (sequence or mapping) or a callable; for readable decodes, WER and CER.
        dirpath: folder of the report; default: the Trainer's log folder.
        thresholds: rule code -> threshold field -> value.
        extractor: gives log-probabilities, targets and lengths for a CTC loss that is not torch's
            (``docs/capture.md``).
    """

    def __init__(
        self,
        *,
        blank: int | None = None,
        id_to_token: Mapping[int, str] | Sequence[str] | Callable[[int], str] | None = None,
        dirpath: str | None = None,
        thresholds: Mapping[str, Mapping[str, float]] | None = None,
        extractor: Callable[..., Any] | Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        super().__init__(
            dirpath=dirpath, thresholds=thresholds, extractor=extractor, blank=blank, id_to_token=id_to_token
        )

    def check(self, trainer: Any, pl_module: Any) -> None:
        """Refuse a blank index that cannot be."""
        if self.options.blank is not None and self.options.blank < 0:
            raise ConfigError(f"CTCBlankMonitor(blank={self.options.blank}): expected an index of 0 or more.")
