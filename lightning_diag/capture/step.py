"""The capture of a fit: wraps the module's steps and hands out one observation per step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from lightning_diag.capture.batch import Path, leaves, pick
from lightning_diag.capture.extractor import Extractor
from lightning_diag.capture.interception import CallLog, Mode, Patch
from lightning_diag.capture.names import module_names
from lightning_diag.capture.observation import Observation
from lightning_diag.capture.plans import Evidence
from lightning_diag.capture.stage import Shared, Stage, needed
from lightning_diag.capture.taps import Tapper, parts
from lightning_diag.capture.wrapping import StepWrapper
from lightning_diag.history import CaptureFacts

STEPS = ("training_step", "validation_step", "test_step")
MAX_FAULTS = 3
"""Errors of our own after which a fit is no longer observed."""


class StepCapture:
    """Reads predictions and targets out of the steps of an unmodified module.

    Use :meth:`install` at fit start, :meth:`begin` and :meth:`end` around each batch, :meth:`remove` at fit end and
    on an exception. Nothing here raises into the step; the first error of our own is kept in :attr:`fault`.

    Args:
        module: the LightningModule (of ``lightning.pytorch`` or ``pytorch_lightning``).
        extractor: the user's own function, see :class:`~.extractor.Extractor`; where given, it alone is asked.
        consumer: called with (stage, observation) right after the step returned and before backward, without
            gradients; the references are dropped then, so that large logits do not live through the backward pass,
            and :meth:`end` returns None.

    Attributes:
        fault: first error of our own, or of the extractor or the consumer; None while all is well.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        extractor: Extractor | None = None,
        consumer: Callable[[str, Observation], None] | None = None,
    ) -> None:
        self.module = module
        self.fault: Exception | None = None
        self._faults = 0
        self._extractor = extractor
        self._consumer = consumer
        self._log = CallLog()
        self._patch = Patch(self._log)
        self._mode = Mode(self._log)
        self._tapper = Tapper(module)
        self._wrappers: list[StepWrapper] = []
        self._shared = Shared()
        self._stages: dict[str, Stage] = {}
        self._compiled = _compiled(module)
        self._targets: dict[frozenset[str] | None, list[tuple[str, nn.Module]]] = {}
        self._stage: Stage | None = None
        self._undo: list[Callable[[], None]] = []
        self._batch: object = None
        self._leaves: Mapping[Path, Tensor] = {}
        self._where = (0, 0)
        self._pending: Observation | None = None

    def install(self) -> None:
        """Wrap the steps of this instance; does nothing the second time."""
        if self._wrappers:
            return
        self._targets = {}
        names = [name for name in STEPS if callable(getattr(self.module, name, None))]
        self._wrappers = [StepWrapper(self.module, name, self) for name in names]
        for wrapper in self._wrappers:
            wrapper.install()

    def remove(self) -> None:
        """Restore the module; does nothing the second time."""
        for wrapper in reversed(self._wrappers):
            wrapper.remove()
        self._wrappers = []
        self._forget()
        self._pending = None

    def begin(
        self, stage: str, batch: object, batch_idx: int, dataloader_idx: int = 0, *, enabled: bool = True
    ) -> None:
        """Announce a step, from ``on_*_batch_start``.

        Args:
            stage: ``train``, ``val`` or ``test``.
            batch: as the step gets it; read before the step can take things out of it.
            batch_idx: index of the batch in its loader.
            dataloader_idx: index of the loader; above 0 it makes a stage of its own, ``val:1``.
            enabled: False lets this step run unobserved.
        """
        self._pending = None
        self._stage = None
        if not enabled or self._faults >= MAX_FAULTS:
            return
        name = f"{stage}:{dataloader_idx}" if dataloader_idx else stage
        state = self._stages.get(name)
        if state is None:
            state = self._stages[name] = Stage(name, self.module, self._shared)
        self._where = (batch_idx, dataloader_idx)
        try:
            self._read_batch(state, batch)
        except Exception as fault:  # noqa: BLE001 an observer's error must not reach the user's run
            self._note(fault)
        else:
            self._stage = state

    def end(self, outputs: object) -> Observation | None:
        """The observation of the step, from ``on_*_batch_end``; all references to its tensors are dropped.

        Args:
            outputs: as the hook gets them; what the step returned was read before.
        """
        del outputs
        pending, self._pending = self._pending, None
        self._forget()
        return pending

    def facts(self, stage: str) -> CaptureFacts:
        """Where predictions and targets of ``stage`` come from, or why they do not."""
        state = self._stages.get(stage)
        facts = state.facts() if state else CaptureFacts(stage=stage, problem="no step was observed")
        if state is not None and facts.source is None and self.fault is not None:
            return CaptureFacts(stage=stage, problem=f"capture failed: {type(self.fault).__name__}: {self.fault}")
        return facts

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages seen so far, e.g. ``("val", "train", "val:1")``."""
        return tuple(self._stages)

    def enter(self) -> bool:
        """Before the step: start recording. False when this step is not observed (or runs inside another)."""
        state = self._stage
        if state is None or self._undo:
            return False
        try:
            self._arm(state)
        except Exception as fault:  # noqa: BLE001 an observer's error must not reach the user's step
            self._note(fault)
            self.leave()
            return False
        return True

    def _arm(self, state: Stage) -> None:
        close = state.calibrating and not self._compiled and self._extractor is None
        self._log.modules = module_names(self.module) if close else None
        self._log.copying = state.copying
        self._log.open()
        names = needed(state.plan)[0]
        if close or names:
            self._undo.append(self._tapper.leave)
            self._tapper.enter(self._parts(None if close else names), close=close)
        if close or state.plan is None:
            recorder: Patch | Mode = self._mode if self._compiled else self._patch
            recorder.enter()
            self._undo.append(recorder.leave)

    def leave(self) -> None:
        """After the step: stop recording."""
        while self._undo:
            try:
                self._undo.pop()()
            except Exception as fault:  # noqa: BLE001 an observer's error must not reach the user's step
                self._note(fault)

    def digest(self, result: object) -> None:
        """Choose the pair of the step that just ran; a second run of the step for one batch is not read again."""
        state, self._stage = self._stage, None
        if state is None:
            return
        try:
            with torch.no_grad():
                self._digest(state, result)
        except Exception as fault:  # noqa: BLE001 an observer's error must not reach the user's step
            self._note(fault)
        finally:
            self._forget()

    def _digest(self, state: Stage, result: object) -> None:
        log, tapper = self._log, self._tapper
        for fault in filter(None, (log.fault, tapper.fault)):
            self._note(fault)
        log.fault = tapper.fault = None
        if self._extractor is not None:
            seen = state.extracted(self._extractor, log.calls, self._batch, self._where, result)
        else:
            training = any(call.graph for call in log.calls) or state.name == "train"
            seen = state.observe(log.calls, Evidence(self._leaves, tapper.visits, result, training))
        if seen is None or self._consumer is None:
            self._pending = seen
        else:
            self._consumer(state.name, seen)

    def _read_batch(self, state: Stage, batch: object) -> None:
        if self._extractor is not None:
            self._batch = copy.copy(batch) if isinstance(batch, dict | list) else batch
        elif state.calibrating:
            self._leaves = leaves(batch)
        else:
            paths = needed(state.plan)[1]
            self._leaves = {path: leaf for path in paths if (leaf := pick(batch, path)) is not None}

    def _forget(self) -> None:
        """Drop all references to tensors of the step."""
        self._stage = self._batch = None
        self._leaves = {}
        self._log.clear()
        self._tapper.clear()

    def _note(self, fault: Exception) -> None:
        self.fault = self.fault or fault
        self._faults += 1

    def _parts(self, names: frozenset[str] | None) -> list[tuple[str, nn.Module]]:
        if names not in self._targets:
            self._targets[names] = [(n, p) for n, p in parts(self.module) if names is None or n in names]
        return self._targets[names]


def _compiled(module: nn.Module) -> bool:
    """Whether the steps themselves were compiled (``torch.compile(module)``)."""
    if module.__dict__.get("_compiler_ctx"):
        return True
    return any(hasattr(getattr(module, name, None), "_torchdynamo_orig_callable") for name in STEPS)
