"""The capture of a fit: wraps the module's steps and hands out one observation per step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from lightning_diag.capture.calls import LossCall
from lightning_diag.capture.interception import CallLog, Patch
from lightning_diag.capture.observation import Observation
from lightning_diag.capture.reading import Rejected, read
from lightning_diag.capture.wrapping import StepWrapper
from lightning_diag.history import CaptureFacts

STEPS = ("training_step", "validation_step", "test_step")


class StepCapture:
    """Reads predictions and targets out of the steps of an unmodified module.

    Use :meth:`install` at fit start, :meth:`begin` and :meth:`end` around each batch, :meth:`remove` at fit end and
    on an exception. Nothing here raises into the step; the first error of our own is kept in :attr:`fault`.

    Args:
        module: the LightningModule (of ``lightning.pytorch`` or ``pytorch_lightning``).
        extractor: the user's own function, see :class:`~.extractor.Extractor`; it is asked first.
        consumer: called with (stage, observation) right after the step returned and before backward, without
            gradients; the references are dropped then, so that large logits do not live through the backward pass.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        extractor: Callable[..., Any] | None = None,
        consumer: Callable[[str, Observation], None] | None = None,
    ) -> None:
        self.module = module
        self.fault: Exception | None = None
        self._extractor = extractor
        self._consumer = consumer
        self._log = CallLog()
        self._patch = Patch(self._log)
        self._wrappers: list[StepWrapper] = []
        self._stage: str | None = None
        self._inside = False
        self._pending: Observation | None = None
        self._facts: dict[str, CaptureFacts] = {}

    def install(self) -> None:
        """Wrap the steps of this instance; does nothing the second time."""
        if self._wrappers:
            return
        self._wrappers = [
            StepWrapper(self.module, name, self) for name in STEPS if callable(getattr(self.module, name, None))
        ]
        for wrapper in self._wrappers:
            wrapper.install()

    def remove(self) -> None:
        """Restore the module; does nothing the second time."""
        for wrapper in reversed(self._wrappers):
            wrapper.remove()
        self._wrappers = []
        self._stage = self._pending = None

    def begin(
        self, stage: str, batch: object, batch_idx: int, dataloader_idx: int = 0, *, enabled: bool = True
    ) -> None:
        """Announce a step, from ``on_*_batch_start``.

        Args:
            stage: ``train``, ``val`` or ``test``.
            batch: as the step gets it; read before the step can take things out of it.
            batch_idx: index of the batch in its loader.
            dataloader_idx: index of the loader.
            enabled: False lets this step run unobserved.
        """
        del batch, batch_idx
        self._pending = None
        self._stage = (f"{stage}:{dataloader_idx}" if dataloader_idx else stage) if enabled else None

    def end(self, outputs: object) -> Observation | None:
        """The observation of the step, from ``on_*_batch_end``; all references to its tensors are dropped."""
        del outputs
        pending, self._pending, self._stage = self._pending, None, None
        return pending

    def facts(self, stage: str) -> CaptureFacts:
        """Where predictions and targets of ``stage`` come from, or why they do not."""
        return self._facts.get(stage, CaptureFacts(stage=stage, problem="no step was observed"))

    def enter(self, name: str) -> bool:
        """Before the step: start recording."""
        del name
        if self._stage is None or self._inside:
            return False
        self._inside = True
        self._log.open()
        self._patch.enter()
        return True

    def leave(self) -> None:
        """After the step: stop recording."""
        self._patch.leave()
        self._inside = False

    def digest(self, result: object) -> None:
        """Choose the pair of the step that just ran."""
        del result
        try:
            self._digest()
        except Exception as fault:  # noqa: BLE001 an observer's error must not reach the user's step
            self.fault = self.fault or fault
        self._log.clear()

    def _digest(self) -> None:
        if self._log.calls:
            self._read(self._stage or "", self._log.calls[0])

    def _read(self, stage: str, call: LossCall) -> None:
        try:
            self._pending = read(call)
        except Rejected as reason:
            self._facts[stage] = CaptureFacts(stage=stage, problem=str(reason))
        else:
            self._facts[stage] = CaptureFacts(stage=stage, source=self._pending.source, task=self._pending.task)
