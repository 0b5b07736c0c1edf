"""GapMonitor: training against validation, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from lightning_diag.callbacks.base import DiagCallback
from lightning_diag.callbacks.context import DEFAULT_METRIC
from lightning_diag.errors import ConfigError, check_target


class GapMonitor(DiagCallback):
    """Compares training with validation each epoch and says at the end what the gap means.

    Args:
        target: value that the run should reach, e.g. ``0.82``.
        target_metric: the signal that the target is about (default: the monitored one, ``val/acc`` where there is one).
        baseline: where the run started from: ``(21, 29)`` correct of samples, or a value. Default: the restored
            history; else a full validation before the first step, where ``num_sanity_val_steps=-1``.
        groups: batch key, or callable ``(batch) -> sequence``, that gives each sample's group (a demographic, a
            writer): accuracy per group is counted and compared.
        monitor: signal by which *best* is judged, e.g. ``val/loss`` or a name that the module logs.
        mode: ``max`` or ``min``; default: by the name of the monitor.
        probe_batches: training batches that are evaluated once more in eval mode each epoch, outside the steps and
            without any trace in the training; 0 switches it off.
        extractor: gives predictions and targets where they cannot be captured; a function, or functions by stage (``docs/capture.md``).
        dirpath: folder of the report; default: the Trainer's log folder.
        class_names: names by class index; default: found on the data set, data module or module.
        thresholds: rule code -> threshold field -> value.
        figures: draw figures at the end (needs matplotlib).
        live: refresh the report after each epoch, as long as all of that takes less than 1 % of the time.
        loggers: give the Trainer's loggers the ``diag/...`` scalars and the report; False keeps them out of there.

    Raises:
        MisconfigurationException: in ``setup``, for a target, baseline or mode that cannot be.
    """

    def __init__(
        self,
        *,
        target: float | None = None,
        target_metric: str | None = None,
        baseline: tuple[int, int] | float | None = None,
        groups: str | Callable[[Any], Sequence[Any]] | None = None,
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
        probe_batches: int | None = None,
        extractor: Callable[..., Any] | Mapping[str, Callable[..., Any]] | None = None,
        dirpath: str | None = None,
        class_names: Sequence[str] | None = None,
        thresholds: Mapping[str, Mapping[str, float]] | None = None,
        figures: bool | None = None,
        live: bool | None = None,
        loggers: bool | None = None,
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            class_names=class_names,
            thresholds=thresholds,
            target=target,
            target_metric=target_metric,
            baseline=tuple(baseline) if isinstance(baseline, (list, tuple)) else baseline,
            groups=groups,
            monitor=monitor,
            mode=mode,
            probe_batches=probe_batches,
            extractor=extractor,
            figures=figures,
            live=live,
            loggers=loggers,
        )

    def check(self, trainer: Any, pl_module: Any) -> None:
        """Refuse settings that cannot work."""
        options = self.options
        if options.mode not in (None, "min", "max"):
            raise ConfigError(f'GapMonitor(mode={options.mode!r}): expected "min" or "max".')
        if options.target is not None:
            check_target(options.target, options.target_metric or options.monitor or DEFAULT_METRIC)
        if isinstance(options.baseline, tuple):
            _check_counts(options.baseline)
        if options.probe_batches is not None and options.probe_batches < 0:
            raise ConfigError(f"GapMonitor(probe_batches={options.probe_batches}): expected 0 (off) or more.")


def _check_counts(baseline: tuple[int, ...]) -> None:
    if len(baseline) != 2 or not 0 <= baseline[0] <= baseline[1] or baseline[1] == 0:
        raise ConfigError(
            f"GapMonitor(baseline={baseline!r}): expected (correct, samples) with 0 <= correct <= samples, "
            "e.g. (21, 29), or one value."
        )
