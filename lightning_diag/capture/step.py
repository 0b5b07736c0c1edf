"""The capture of a fit: wraps the module's steps and hands out one observation per step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_diag.capture.batch import Path, leaves, pick
from lightning_diag.capture.choices import Shared
from lightning_diag.capture.extractor import ExtractorError, Extractors, extractor_of
from lightning_diag.capture.faults import Faults
from lightning_diag.capture.observation import Again, Consumer, Observation
from lightning_diag.capture.plans import Evidence
from lightning_diag.capture.recording import Recording
from lightning_diag.capture.stage import Stage
from lightning_diag.capture.wrapping import OBSERVED, RESULT, UNSEEN, StepWrapper, is_compiled
from lightning_diag.history import CaptureFacts

STEPS = ("training_step", "validation_step", "test_step")


class StepCapture:
    """Reads predictions and targets out of the steps of an unmodified module.

    Use :meth:`install` at fit start, :meth:`begin` before each batch, :meth:`end` after it (or a consumer),
    :meth:`remove` at fit end and on an exception. With ``position`` training batches need not be announced. Nothing here
    raises into the step; errors are counted in :attr:`faults`.

    Args:
        module: the LightningModule (of ``lightning.pytorch`` or ``pytorch_lightning``).
        extractor: the user's own function, or one by stage, see :class:`~.extractor.Extractor`; in stages that have one, it
            alone is asked.
        consumer: called with (stage, observation or None, what the step returned, batch, index of the batch or None)
            right after an observed step and before backward, without gradients; the references are dropped then, so that
            large logits do not live through the backward pass, and :meth:`end` returns None. What it returns is called in
            its place after training steps that are like this one.
        position: says which batch the Trainer is at, a number that grows with each training batch. Then the first
            ``training_step`` that the Trainer itself calls for a batch is observed; a closure may call it again.

    Attributes:
        faults: errors of our own, of the extractor and of the consumer.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        extractor: Extractors | None = None,
        consumer: Consumer | None = None,
        position: Callable[[], int] | None = None,
    ) -> None:
        self.module = module
        self.faults = Faults()
        self._extractors, self._consumer, self._position = extractor, consumer, position
        self._at = -1
        self._again: Again | None = None
        self._given: object = None
        self._takes_batch = True
        self._recording = Recording(module, compiled=is_compiled(module, STEPS))
        self._log, self._undo = self._recording.log, self._recording.undo
        self._wrappers: list[StepWrapper] = []
        self._shared = Shared()
        self._stages: dict[str, Stage] = {}
        self._stage: Stage | None = None
        self._batch: object = None
        self._leaves: Mapping[Path, Tensor] = {}
        self._where: tuple[int | None, int] = (0, 0)
        self._pending: Observation | None = None

    def install(self) -> None:
        """Wrap the steps of this instance; does nothing the second time."""
        if self._wrappers:
            return
        self._recording.tapper.reset()
        for name in STEPS:
            if callable(getattr(self.module, name, None)):
                self._wrappers.append(StepWrapper(self.module, name, self))
                self._wrappers[-1].install()

    def remove(self) -> None:
        """Restore the module; does nothing the second time."""
        while self._wrappers:
            self._wrappers.pop().remove()
        self._forget()
        self._pending = self._again = None

    def begin(
        self, stage: str, batch: object, batch_idx: int | None, dataloader_idx: int = 0, *, enabled: bool = True
    ) -> None:
        """Announce a step, from ``on_*_batch_start``.

        Args:
            stage: ``train``, ``val`` or ``test``.
            batch: as the step gets it; read before the step can take things out of it.
            batch_idx: index of the batch in its loader; None where it is not known.
            dataloader_idx: index of the loader; above 0 it makes a stage of its own, ``val:1``.
            enabled: False lets this step run unobserved.
        """
        self._pending = None
        self._stage = None
        if not enabled:
            return
        name = f"{stage}:{dataloader_idx}" if dataloader_idx else stage
        state = self._stages.get(name)
        if state is None:
            own = extractor_of(self._extractors, name)
            state = self._stages[name] = Stage(name, self.module, self._shared, own)
        self._where, self._given = (batch_idx, dataloader_idx), batch
        try:
            self._read_batch(state, batch)
            self._stage = state
        except Exception as fault:  # noqa: BLE001 an observer's error must not reach the user's run
            self._note(state, fault)

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
        facts = (
            state.facts(alone=self._alone(stage))
            if state
            else CaptureFacts(stage=stage, problem="no step was observed")
        )
        problem = self.faults.problem(stage)
        if problem and facts.source is None:
            return replace(facts, problem=problem)
        return replace(facts, source=f"{facts.source} ({problem})") if problem else facts

    def _alone(self, stage: str) -> bool:
        """Whether pairs were read in another stage than this one."""
        kind = stage.partition(":")[0]
        return any(other.pairs and other.name.partition(":")[0] != kind for other in self._stages.values())

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages seen so far, e.g. ``("val", "train", "val:1")``."""
        return tuple(self._stages)

    def enter(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        """Before the step: start recording. Unseen when this step is not observed (or runs inside another)."""
        if self._undo:
            return UNSEEN
        if self._position is not None and name == "training_step":
            how = self._begin_training(args, kwargs)
            if how != OBSERVED:
                return how
        state = self._stage
        if state is None:
            return UNSEEN
        try:
            self._recording.arm(state, self._leaves)
        except Exception as fault:  # noqa: BLE001 an observer's error must not reach the user's step
            self._note(state, fault)
            self.leave(done=False)
            return UNSEEN
        return OBSERVED

    def _begin_training(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        """Begin the batch that the Trainer is at, unless it was observed, or the user's own code calls the step."""
        assert self._position is not None
        caller = self.module.__dict__.get("_current_fx_name", "training_step")  # set by Lightning around each hook
        at = self._position()
        if caller != "training_step" or at == self._at:
            return UNSEEN
        self._at = at
        if self._again is not None and self._again.left:
            self._again.left -= 1
            return RESULT
        args = args or tuple(kwargs.values())
        index = args[1] if len(args) > 1 and isinstance(args[1], int) else None
        if self._again is None:
            self._takes_batch = bool(args) and not isinstance(args[0], Iterator)
            self.begin("train", args[0] if self._takes_batch else None, index)
        else:  # nothing is read out of the batch of a steady step
            self._given = args[0] if self._takes_batch else None
            self._stage, self._where = self._stages["train"], (index, 0)
        return OBSERVED

    def leave(self, *, done: bool = True) -> None:
        """After the step: stop recording; drop everything of a step that raised."""
        while self._undo:
            try:
                self._undo.pop()()
            except Exception as fault:  # noqa: BLE001 an observer's error must not reach the user's step
                self._note(self._stage, fault)
        if not done:
            self._forget()

    def digest(self, result: object) -> None:
        """Choose the pair of the step that just ran; a second run of the step for one batch is not read again."""
        state, self._stage = self._stage, None
        if state is None:
            self._pass_over(result)
            return
        if self._again is not None and state.name == "train" and self._repeated(state, result):
            return
        seen, batch, index = None, self._given, self._where[0]
        try:
            seen = self._digest(state, result)
        except Exception as fault:  # noqa: BLE001 an observer's error must not reach the user's step
            self._note(state, fault)
        finally:
            self._forget()
        try:
            if self._consumer is None:
                self._pending = seen
            else:
                with torch.no_grad():
                    again = self._consumer(state.name, seen, result, batch, index)
                if state.name == "train":
                    self._again = again if seen is not None and seen.form is not None else None
            if seen is not None:
                self.faults.well(state.name)
        except Exception as fault:  # noqa: BLE001 an observer's error must not reach the user's step
            self._note(state, fault)

    def _pass_over(self, result: object) -> None:
        try:
            if self._again is not None:
                self._again.pass_over(result)
        except Exception as fault:  # noqa: BLE001 an observer's error must not reach the user's step
            self._again = None
            self._note(self._stages["train"], fault)

    def _repeated(self, state: Stage, result: object) -> bool:
        """Hand over a training step like the one before; False when it is not, or nobody takes it this way."""
        calls, steady, again = self._log.calls, state.steady, self._again
        try:
            if again is not None and steady is not None and len(calls) == 1 and steady.matches(calls[0]):
                call = calls[0]
                returned = steady.returned(call, result)
                if again.read(steady.tensors(call), call.result.detach(), result, self._given, returned=returned):
                    state.count_repeat()
                    self._log.clear()
                    self._given = None
                    return True
        except Exception as fault:  # noqa: BLE001 an observer's error must not reach the user's step
            self._note(state, fault)
        self._again = None
        return False

    def _digest(self, state: Stage, result: object) -> Observation | None:
        log, heard = self._log, self._recording
        if (fault := heard.take_fault()) is not None:
            self._note(state, fault)
        if state.ended:
            return None
        if state.extractor is not None:
            seen = state.extracted(state.extractor, log.calls, self._batch, self._where, result)
        else:
            seen = state.again(log.calls, result)
            if seen is None:
                evidence = Evidence(self._leaves, heard.tapper.visits, result, state.name == "train", heard.usage)
                seen = state.observe(log.calls, evidence)
            if log.dropped and seen is not None:
                seen.partial, state.dropped = True, max(state.dropped, log.dropped)
            if log.traced and not log.calls:
                state.mode = True
        return seen

    def _read_batch(self, state: Stage, batch: object) -> None:
        if state.ended:
            return
        if state.extractor is not None:
            self._batch = copy.copy(batch) if isinstance(batch, dict | list) else batch
        elif state.calibrating:
            self._leaves = leaves(batch)
        elif state.plan is not None:
            self._leaves = {path: leaf for path in state.plan.leaves if (leaf := pick(batch, path)) is not None}

    def _forget(self) -> None:
        """Drop all references to tensors of the step."""
        self._stage = self._batch = self._given = None
        if self._leaves:
            self._leaves = {}
        self._recording.clear()

    def _note(self, state: Stage | None, fault: Exception) -> None:
        name = "train" if state is None else state.name
        if isinstance(fault, ExtractorError):
            self.faults.note(name, fault.error, ours=False)
        else:
            self.faults.note(name, fault)
        if state is not None and self.faults.ended(name):
            state.ended, state.steady = True, None
