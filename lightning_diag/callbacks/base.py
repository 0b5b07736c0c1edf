"""What the user-facing callbacks have in common."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from lightning.pytorch import Callback

from lightning_diag.callbacks.messages import warn
from lightning_diag.callbacks.misuse import misconfiguration
from lightning_diag.callbacks.options import Options
from lightning_diag.callbacks.run import Part
from lightning_diag.errors import ConfigError

STEP_HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_validation_batch_start",
    "on_validation_batch_end",
)
_C = TypeVar("_C", bound=type)


def without_step_hooks(cls: _C) -> _C:
    """Set the inherited per-step hooks of ``cls`` to None, unless the class has its own.

    Lightning opens a profiler context per callback and hook, even for hooks that do nothing (about 1 µs each), and
    skips hooks that are not callable. Five callbacks with eight step hooks each would cost more than all their work.
    """
    for name in STEP_HOOKS:
        if name not in vars(cls):
            setattr(cls, name, None)
    return cls


@without_step_hooks
class DiagCallback(Callback):
    """A monitor that shares one record and one report with the other monitors of its Trainer.

    Args:
        dirpath: folder of the report; default: the Trainer's log folder.
        class_names: names by class index; default: found on the data set, data module or module.
        thresholds: rule code -> threshold field -> value, e.g. ``{"LD201": {"rise": 0.2}}``.
        options: settings of the subclass.
    """

    from_environment = False

    def __init__(
        self,
        *,
        dirpath: str | None = None,
        class_names: Sequence[str] | None = None,
        thresholds: Mapping[str, Mapping[str, float]] | None = None,
        **options: Any,
    ) -> None:
        _accept_pytorch_lightning()
        self.options = Options(
            dirpath=None if dirpath is None else str(dirpath),
            class_names=None if class_names is None else tuple(class_names),
            thresholds={} if thresholds is None else thresholds,
            **options,
        )

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Join the Trainer's observer (it is made by the first monitor)."""
        if stage != "fit":
            return
        if getattr(trainer, "barebones", False):
            warn(f"lightning_diag: {type(self).__name__} is off, because Trainer(barebones=True) asks for raw speed.")
            return
        from lightning_diag.callbacks.observer import Observer

        try:
            Observer.of(trainer).join(self, trainer)
        except ConfigError as error:
            raise misconfiguration(trainer, str(error)) from None

    def parts(self) -> list[Part]:
        """What this monitor adds to the observer."""
        return []

    def check(self, trainer: Any, pl_module: Any) -> None:
        """Raise :class:`ConfigError` for settings that cannot work; called in ``setup``, before training."""


def _accept_pytorch_lightning() -> None:
    """Make monitors callbacks of ``pytorch_lightning`` too, where it is in use.

    Before 2.6 its Trainer refuses every callback that is not derived from its own class ("Expected a parent"). The class
    is added behind Lightning's, so that no method changes; it is not imported here, which would cost a second.
    """
    other = getattr(sys.modules.get("pytorch_lightning"), "Callback", None)
    if other is not None and not issubclass(DiagCallback, other):
        DiagCallback.__bases__ = (*DiagCallback.__bases__, other)
