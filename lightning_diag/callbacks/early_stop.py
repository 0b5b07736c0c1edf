"""AdaptiveEarlyStop: stop when the best is not expected to improve, and say why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from lightning.pytorch.callbacks import EarlyStopping

from lightning_diag.callbacks.base import DiagCallback
from lightning_diag.callbacks.context import mode_of
from lightning_diag.callbacks.parts.stopping import StoppingPart
from lightning_diag.callbacks.run import Part
from lightning_diag.errors import ConfigError
from lightning_diag.history import StopSettings
from lightning_diag.stopping import SETTINGS, JointCriterion


class AdaptiveEarlyStop(DiagCallback, EarlyStopping):
    """Stops a run when its best is not expected to improve by much any more.

    Instead of counting epochs it asks a small model, fitted on recorded runs of public repositories, for the
    probability that the best still improves (``docs/stopping.md``). It knows the schedule, the noise of the series
    and the planned length, and it never stops before the Trainer's ``min_epochs`` and ``min_steps``.

    Args:
        monitor: the series to watch: a signal (``val/loss``) or a name that the module logs (``val_loss``). None: the
            captured validation metric and loss together; both must have stalled.
        mode: ``min`` or ``max``; default: by the name of the monitor.
        max_missed_gain: share of the gain that may be missed in the mean over runs, or ``safe`` (0.025),
            ``default`` (0.05), ``early`` (0.1).
        min_gain: improvement worth waiting for, as a share of the gain so far.
        min_evaluations: validations before any stop.
        target: value that is enough; stop_at_target: whether to stop once it is reached and held.
        stop_at_target: see ``target``.
        restore_best: put the best weights back at the end: from ``ModelCheckpoint`` where it keeps the best, else
            from a file of its own in the report's folder.
        dry_run: only report where it would have stopped.
        dirpath: folder of the report; default: the Trainer's log folder.
        thresholds: rule code -> threshold field -> value.

    Raises:
        MisconfigurationException: in ``setup``, for settings that cannot work.
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
        *,
        max_missed_gain: float | Literal["safe", "default", "early"] = "default",
        min_gain: float = 0.05,
        min_evaluations: int = 3,
        target: float | None = None,
        stop_at_target: bool = False,
        restore_best: bool = False,
        dry_run: bool = False,
        dirpath: str | None = None,
        thresholds: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        EarlyStopping.__init__(self, monitor or "val/loss", mode=mode or mode_of(monitor or "val/loss"), strict=False)
        DiagCallback.__init__(self, dirpath=dirpath, thresholds=thresholds)
        self.watched = monitor
        self.watched_mode = mode
        self.max_missed_gain = max_missed_gain
        self.min_gain = min_gain
        self.min_evaluations = min_evaluations
        self.target = target
        self.stop_at_target = stop_at_target
        self.restore_best = restore_best
        self.dry_run = dry_run

    @property
    def state_key(self) -> str:
        """One per Trainer; the state lives in the shared record.

        Lightning compares the keys before one that ``LIGHTNING_DIAG=1`` attached gives way to the script's own.
        """
        return type(self).__name__ + (" of the environment" if self.from_environment else "")

    def check(self, trainer: Any, pl_module: Any) -> None:
        """Refuse settings that cannot work."""
        if self.watched_mode not in (None, "min", "max"):
            raise ConfigError(f'AdaptiveEarlyStop(mode={self.watched_mode!r}): expected "min" or "max".')
        if isinstance(self.max_missed_gain, str) and self.max_missed_gain not in SETTINGS:
            names = ", ".join(SETTINGS)
            raise ConfigError(
                f"AdaptiveEarlyStop(max_missed_gain={self.max_missed_gain!r}): expected a share such as 0.05, or {names}."
            )
        if self.stop_at_target and self.target is None:
            raise ConfigError("AdaptiveEarlyStop(stop_at_target=True) needs target=.")
        JointCriterion.of(replace(self.settings(), series=(("val/acc", "max"),)))  # refuses what is out of range

    def parts(self) -> list[Part]:
        """The part that decides after each interval."""
        return [StoppingPart(self)]

    def settings(self) -> StopSettings:
        """What this callback asks of the criterion, without series and schedule."""
        limit = self.max_missed_gain
        return StopSettings(
            max_missed_gain=SETTINGS[limit] if isinstance(limit, str) else limit,
            min_gain=self.min_gain,
            min_evaluations=self.min_evaluations,
            target=self.target,
            stop_at_target=self.stop_at_target,
        )

    def state_dict(self) -> dict[str, Any]:
        """Nothing: a resumed run takes the new arguments, and what was seen is in the shared record."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to restore."""

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """The decision is made when the interval is closed, not here."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """The decision is made when the interval is closed, not here."""
