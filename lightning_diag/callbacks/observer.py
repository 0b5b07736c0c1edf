"""The observer: one per Trainer, made by the first monitor, it drives the parts and owns the record."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback

from lightning_diag.callbacks.base import DiagCallback, without_step_hooks
from lightning_diag.callbacks.dispatch import Dispatch
from lightning_diag.callbacks.options import Options
from lightning_diag.callbacks.parts import default_parts
from lightning_diag.callbacks.resume import Place, checkpoint_state, find_place, restore, take_over
from lightning_diag.callbacks.run import Run
from lightning_diag.capture.observation import Again
from lightning_diag.engine import diagnose
from lightning_diag.errors import ConfigError
from lightning_diag.history import RunHistory
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
        self.run: Run | None = None
        self._dispatch = Dispatch()
        self._call = self._dispatch.call
        self._restored: dict[str, Any] = {}
        self._sanity = False
        self._finished = False

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
            take_over(self.run, RunHistory(epochs=earlier))
        self._restored = {}
        self._dispatch.set_up(self.run, default_parts([part for member in self.members for part in member.parts()]))

    # -- hooks of Lightning -------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Restore the record of a resumed run and start the parts."""
        self._finished = False
        self._dispatch.start()
        if self.run is not None:
            self.run.module, self.run.step_done, self.run.along = pl_module, self._step_done, self._along
            self._dispatch.guarded("the record of the resumed run", self._restore)
        self._call("fit_start")
        self._bind_step_hooks()

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        """A sanity check is recorded only where it is a full validation: then it is the baseline."""
        self._sanity = trainer.num_sanity_val_steps != float("inf")

    def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
        """Turn a full sanity check into the baseline."""
        if not self._sanity and self.run is not None:
            self._dispatch.guarded("the baseline", self._take_baseline)
        self._sanity = False

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Pass on; what ended and began with the checkpoint of a resumed run, no hook of Lightning tells."""
        if self.run is None:
            return
        run, saved, self._restored = self.run, self._restored, {}
        place = self._dispatch.guarded("the place in the resumed run", lambda: find_place(run, saved)) or Place()
        self._call("train_start")
        if place.is_over:
            self._close(saved["epoch"])
        if place.begun:
            self._call("epoch_start")

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Pass on."""
        self._wake()
        self._call("epoch_start")

    def _wake(self) -> None:
        self._dispatch.wake()
        if self.run is not None:
            self.run.turn += 1
            self.run.rest = 0
            if self.run.again is not None:
                self.run.again.left = 0
        self._bind_step_hooks()

    def _bind_step_hooks(self) -> None:
        """Offer only those step hooks to Lightning that some part listens to (see ``without_step_hooks``)."""
        listening = {
            "on_train_batch_start": ("batch_start", self._train_batch_start),
            "on_validation_batch_start": ("batch_start", self._validation_batch_start),
            "on_before_backward": ("before_backward", self._before_backward),
            "on_before_optimizer_step": ("before_optimizer_step", self._before_optimizer_step),
        }
        for name, (hook, function) in listening.items():
            setattr(self, name, function if self._dispatch.listeners(hook) else None)

    def _train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._call("batch_start", "train", batch, batch_idx)
        if not self._dispatch.listeners("batch_start"):
            setattr(self, "on_train_batch_start", None)  # noqa: B010  (Lightning skips a hook that is None)

    def _before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        self._call("before_backward")
        if not self._dispatch.listeners("before_backward"):
            setattr(self, "on_before_backward", None)  # noqa: B010  (as above)

    def _before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self._call("before_optimizer_step", optimizer)
        if not self._dispatch.listeners("before_optimizer_step"):
            setattr(self, "on_before_optimizer_step", None)  # noqa: B010  (as above)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Pass on, inside a fit."""
        if not self._sanity:
            self._wake()
            self._call("validation_start")

    def _validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not self._sanity:
            self._call("batch_start", _val(dataloader_idx), batch, batch_idx)

    def _step_done(
        self, stage: str, observation: Any, result: object, batch: object, batch_idx: int | None
    ) -> Again | None:
        """The capture saw a step return. Where one part alone needs it, that part may ask for a shorter way."""
        run = self.run
        if run is None:
            return None
        if stage == "train" and run.rest:
            run.rest -= 1
            if not run.rest:
                self._wake()
        run.observation, run.again = observation, None
        self._call("batch_end", stage, result, batch, batch_idx)
        run.observation = None
        return run.again if self._dispatch.alone("batch_end", "along") else None

    def _along(self, batch: object, target: object) -> None:
        """Tell the parts that listen alongside of a step that went the short way."""
        self._call("along", batch, target)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Pass on, in time for ``ModelCheckpoint(monitor="diag/val_acc")``."""
        if not self._sanity:
            self._call("validation_epoch_end")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Pass on; a validation within an epoch closes an interval of its own."""
        if self._sanity or trainer.sanity_checking or self.run is None:
            return
        self._wake()
        self._call("validation_end")
        if not (trainer.fit_loop.epoch_loop.batch_progress.is_last_batch or self.run.late):
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
        state: dict[str, Any] = {}
        if self.run is not None and self._dispatch.parts:
            run = self.run
            self._dispatch.guarded(
                "the record in the checkpoint", lambda: state.update(checkpoint_state(run, self._dispatch.parts))
            )
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the record of the checkpoint until the fit starts."""
        self._restored = state_dict

    # -- inner --------------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        if self.run is not None and self._restored:
            restore(self.run, self._dispatch.parts, self._restored)

    def _take_baseline(self) -> None:
        """A full validation before the first step is where the run started from."""
        from lightning_diag.callbacks.context import baseline_of

        assert self.run is not None
        recorder = self.run.recorder
        if recorder.context.baseline is None:
            recorder.update(baseline=baseline_of(recorder.running_values, recorder.running_stages.get("val")))
        recorder.drop()

    def _close(self, epoch: int) -> None:
        run = self.run
        if run is None:
            return
        self._call("interval_end")
        if run.recorder.pending:
            self._dispatch.guarded("the record", lambda: run.close(epoch))
            self._call("interval_closed")
        self._call("interval_done")

    def _finish(self, exception: BaseException | None) -> None:
        if self.run is None or self._finished:
            return
        self._finished = True
        self.run.extra["exception"] = exception
        self._call("fit_end")
        self._release()

    def _release(self) -> None:
        self._dispatch.stop()
        self._bind_step_hooks()


def _val(dataloader_idx: int) -> str:
    return "val" if dataloader_idx == 0 else f"val:{dataloader_idx}"


def _before_checkpoints(callbacks: list[Any]) -> int:
    """Index of the first checkpoint callback (of either package), else the end."""
    for index, callback in enumerate(callbacks):
        if any(base.__name__ == "Checkpoint" for base in type(callback).__mro__):
            return index
    return len(callbacks)
