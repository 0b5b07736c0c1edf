"""The observer: one per Trainer, made by the first monitor, it drives the parts and owns the record."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback

from lightning_diag import store
from lightning_diag.callbacks.base import DiagCallback, without_step_hooks
from lightning_diag.callbacks.options import Options
from lightning_diag.callbacks.parts import default_parts
from lightning_diag.callbacks.run import BACKWARD_PASSES, HOOKS, Part, Run
from lightning_diag.engine import diagnose
from lightning_diag.errors import ConfigError
from lightning_diag.history import EpochRecord, RunHistory
from lightning_diag.recorder import Recorder


@without_step_hooks
class Observer(Callback):
    """Watches one Trainer on behalf of all its monitors.

    It is put into ``trainer.callbacks`` by the first monitor, before any checkpoint callback, so that a checkpoint
    always holds the finished interval.
    """

    state_key = "lightning_diag"

    def __init__(self) -> None:
        super().__init__()
        self.members: list[DiagCallback] = []
        self.parts: list[Part] = []
        self.run: Run | None = None
        self._restored: dict[str, Any] = {}
        self._hooks: dict[str, list[tuple[Part, Callable[..., None]]]] = {name: [] for name in HOOKS}
        self._sanity = False
        self._backward_left = BACKWARD_PASSES
        self._finished: RunHistory | None = None

    # -- joining ------------------------------------------------------------------------------------------------

    @classmethod
    def find(cls, trainer: Any) -> Observer | None:
        """The observer of ``trainer``, if a monitor made one."""
        return next((c for c in trainer.callbacks if isinstance(c, cls)), None)

    @classmethod
    def of(cls, trainer: Any) -> Observer:
        """The observer of ``trainer``; made and inserted before the checkpoint callbacks if there is none."""
        found = cls.find(trainer)
        if found is None:
            found = cls()
            trainer.callbacks.insert(_before_checkpoints(trainer.callbacks), found)
        return found

    def join(self, member: DiagCallback, trainer: Any) -> None:
        """Take ``member`` in for the coming fit.

        Raises:
            ConfigError: if a callback of the same class is already there, or its settings cannot work.
        """
        if any(member is known for known in self.members):
            return
        twin = next((known for known in self.members if type(known) is type(member)), None)
        if twin is None:
            self.members.append(member)
        elif twin.from_environment:
            self.members[self.members.index(twin)] = member
        elif not member.from_environment:
            raise ConfigError(
                f"{type(member).__name__} is attached twice. One is enough: all callbacks of a Trainer share one report."
            )

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Merge and check the settings of all monitors, before training."""
        if stage != "fit":
            return
        from lightning_diag.callbacks.misuse import misconfiguration

        try:
            self._set_up(trainer, pl_module)
        except ConfigError as error:
            raise misconfiguration(trainer, str(error)) from None

    def _set_up(self, trainer: Any, module: Any) -> None:
        options = Options()
        for member in self.members:
            options = options.merged(member.options)
            member.check(trainer, module)
        diagnose(RunHistory(), thresholds=options.thresholds)  # refuses thresholds of unknown rules or fields
        wanted = frozenset(type(member).__name__ for member in self.members)
        earlier = self.run.recorder.epochs if self.run is not None and self.run.module is module else ()
        self.run = Run(trainer=trainer, module=module, options=options, wanted=wanted, recorder=Recorder())
        if trainer.current_epoch and earlier:  # a second fit of the same Trainer goes on where the first ended
            self._take_over(earlier)
        self.parts = default_parts([part for member in self.members for part in member.parts()])
        for part in self.parts:
            part.set_up(self.run)

    # -- hooks of Lightning -------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Restore the record of a resumed run and start the parts."""
        self._finished = None
        self._hooks = {name: [(p, getattr(p, name)) for p in self.parts if _overrides(p, name)] for name in HOOKS}
        if self.run is not None:
            self.run.module = pl_module
            self._guarded("the record of the resumed run", self._restore)
        self._call("fit_start")
        self._bind_step_hooks()

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        """A sanity check is recorded only where it is a full validation: then it is the baseline."""
        self._sanity = trainer.num_sanity_val_steps != float("inf")

    def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
        """Turn a full sanity check into the baseline."""
        if not self._sanity and self.run is not None:
            self._guarded("the baseline", self._take_baseline)
        self._sanity = False

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Pass on."""
        self._call("train_start")

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Pass on; an interval that a checkpoint left open is closed first."""
        if self.run is not None and self.run.recorder.pending:
            self._close(self.run.epoch - 1)
        self._call("epoch_start")

    def _bind_step_hooks(self) -> None:
        """Offer only those step hooks to Lightning that some part listens to (see ``without_step_hooks``)."""
        listening = {
            "on_train_batch_start": ("batch_start", self._train_batch_start),
            "on_train_batch_end": ("batch_end", self._train_batch_end),
            "on_validation_batch_start": ("batch_start", self._validation_batch_start),
            "on_validation_batch_end": ("batch_end", self._validation_batch_end),
            "on_before_backward": ("before_backward", self._before_backward),
            "on_before_optimizer_step": ("before_optimizer_step", self._before_optimizer_step),
        }
        self._backward_left = BACKWARD_PASSES
        for name, (hook, function) in listening.items():
            setattr(self, name, function if self._hooks[hook] else None)

    def _train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._call("batch_start", "train", batch, batch_idx)

    def _train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._call("batch_end", "train", outputs, batch, batch_idx)

    def _before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        self._call("before_backward")
        self._backward_left -= 1
        if self._backward_left <= 0:
            setattr(self, "on_before_backward", None)  # noqa: B010  (Lightning skips a hook that is None)

    def _before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self._call("before_optimizer_step", optimizer)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Pass on, inside a fit."""
        if not self._sanity:
            self._call("validation_start")

    def _validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not self._sanity:
            self._call("batch_start", _val(dataloader_idx), batch, batch_idx)

    def _validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not self._sanity:
            self._call("batch_end", _val(dataloader_idx), outputs, batch, batch_idx)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Pass on, in time for ``ModelCheckpoint(monitor="diag/val_acc")``."""
        if not self._sanity:
            self._call("validation_epoch_end")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Pass on; a validation within an epoch closes an interval of its own."""
        if self._sanity or trainer.sanity_checking or self.run is None:
            return
        self._call("validation_end")
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._close(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the interval."""
        self._close(trainer.current_epoch)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Write the report."""
        self._finish(None)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Write the report of a run that was interrupted; of all hooks only this one is called then."""
        self._finish(exception)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Release everything, also after a tuner run that ends without ``on_fit_end``."""
        if stage == "fit":
            self._release()

    # -- state --------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The record, and what the running interval has measured; no configuration."""
        if self.run is None or self._finished is not None:
            return {}
        run = self.run
        running = run.recorder.running(run.epoch, run.step)
        return {
            "history": run.lines(),
            "running": store.history_to_lines(RunHistory(epochs=(running,))) if running else [],
            "parts": {part.title: state for part in self.parts if (state := part.state_dict(run))},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the record of the checkpoint until the fit starts."""
        self._restored = state_dict

    # -- inner --------------------------------------------------------------------------------------------------

    def _call(self, hook: str, *args: Any) -> None:
        run = self.run
        if run is None:
            return
        for part, function in self._hooks[hook]:
            try:
                function(run, *args)
            except Exception as error:  # noqa: BLE001  (an observer never ends a run)
                self._switch_off(part, hook, error)

    def _guarded(self, what: str, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001  (an observer never ends a run)
            self._report_fault(what, error)

    def _switch_off(self, part: Part, hook: str, error: Exception) -> None:
        for name in HOOKS:
            if name != "close":
                self._hooks[name] = [pair for pair in self._hooks[name] if pair[0] is not part]
        self._report_fault(f"{part.title} ({hook})", error)

    def _report_fault(self, what: str, error: Exception) -> None:
        from lightning_diag.callbacks.messages import warn

        if self.run is not None:
            self.run.recorder.note(f"{what} failed and was switched off: {type(error).__name__}: {error}")
        warn(
            f"lightning_diag: {what} failed and was switched off; training goes on.\n"
            + "".join(traceback.format_exception(error))
        )

    def _restore(self) -> None:
        run, state = self.run, self._restored
        self._restored = {}
        if run is None or not state:
            return
        self._take_over(store.lines_to_history(state["history"]).epochs)
        for record in store.lines_to_history(state["running"]).epochs if state["running"] else ():
            run.recorder.take_running(record)
        for part in self.parts:
            part.load_state_dict(run, state.get("parts", {}).get(part.title, {}))

    def _take_over(self, epochs: tuple[EpochRecord, ...]) -> None:
        assert self.run is not None
        self.run.recorder = Recorder(epochs, self.run.recorder.context)
        self.run.restored = len(epochs)

    def _take_baseline(self) -> None:
        """A full validation before the first step is where the run started from."""
        from lightning_diag.callbacks.context import baseline_of

        assert self.run is not None
        recorder = self.run.recorder
        if recorder.context.baseline is None:
            recorder.update(baseline=baseline_of(recorder.running_values, recorder.running_stages.get("val")))
        recorder.drop()

    def _close(self, epoch: int) -> None:
        if self.run is None:
            return
        self._call("interval_end")
        if self.run.recorder.pending:
            record: EpochRecord = self.run.recorder.close(epoch, self.run.step, _learning_rates(self.run.trainer))
            self.run.extra["closed"] = record
            self._call("interval_closed")

    def _finish(self, exception: BaseException | None) -> None:
        if self.run is None or self._finished is not None:
            return
        self.run.extra["exception"] = exception
        self._call("fit_end")
        self._finished = self.run.recorder.history()
        self._release()

    def _release(self) -> None:
        self._call("close")
        self._hooks = {name: [] for name in HOOKS}
        self._bind_step_hooks()


def _overrides(part: Part, name: str) -> bool:
    return getattr(type(part), name) is not getattr(Part, name)


def _val(dataloader_idx: int) -> str:
    return "val" if dataloader_idx == 0 else f"val:{dataloader_idx}"


def _before_checkpoints(callbacks: list[Any]) -> int:
    """Index of the first checkpoint callback (of either package), else the end."""
    for index, callback in enumerate(callbacks):
        if any(base.__name__ == "Checkpoint" for base in type(callback).__mro__):
            return index
    return len(callbacks)


def _learning_rates(trainer: Any) -> tuple[float, ...]:
    return tuple(float(group["lr"]) for optimizer in trainer.optimizers for group in optimizer.param_groups)
