"""How and why the run ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lightning_diag.callbacks.run import Part, Run
from lightning_diag.history import StopFacts


class EndingPart(Part):
    """Reads the end of the run off the Trainer."""

    title = "how the run ended"

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._earlier: dict[int, int] = {}

    def fit_start(self, run: Run) -> None:
        """The run goes on until something ends it."""
        run.recorder.update(stop=replace(run.recorder.context.stop, status="running", reason=""))
        self._earlier = {id(callback): epoch for callback, epoch in _stops(run.trainer)}

    def fit_end(self, run: Run) -> None:
        """Record status, reason and where the best weights are."""
        facts = ending(run.trainer, run.extra.get("exception"), self._earlier)
        before = run.recorder.context.stop
        stop = replace(
            before,
            status=facts.status,
            reason=before.reason if before.stopper and facts.status == "stopped" else facts.reason,
            stopper=before.stopper or facts.stopper,
            error=facts.error,
            best_checkpoint=facts.best_checkpoint or before.best_checkpoint,
        )
        run.recorder.update(stop=stop, total_seconds=time.monotonic() - self._begin)
        kinds = {"stopped": "stop", "interrupted": "interrupted", "exception": "exception"}
        if facts.status in kinds:
            run.recorder.add_event(kinds[facts.status], stop.reason)


def ending(trainer: Any, exception: BaseException | None, earlier: Mapping[int, int]) -> StopFacts:
    """Status, reason, stopper and best checkpoint of a fit that is over.

    Args:
        trainer: the Trainer.
        exception: what ended the fit, if anything did.
        earlier: the epochs that stoppers had noted when the fit began, by the ``id`` of the callback.
    """
    best = _best_checkpoint(trainer)
    if isinstance(exception, KeyboardInterrupt):
        return StopFacts(status="interrupted", reason="Interrupted by hand (Ctrl-C).", best_checkpoint=best)
    if exception is not None:
        text = f"{type(exception).__name__}: {exception}".splitlines()[0][:300]
        return StopFacts(status="exception", reason=f"Ended by {text}", error=text, best_checkpoint=best)
    stopper = _stopper(trainer, earlier)
    if stopper is not None:
        reason = f"Stopped by {type(stopper).__name__} after epoch {trainer.current_epoch - 1}."
        return StopFacts(status="stopped", reason=reason, stopper=type(stopper).__name__, best_checkpoint=best)
    if trainer.should_stop:
        return StopFacts(status="stopped", reason="trainer.should_stop was set.", best_checkpoint=best)
    return StopFacts(status="finished", reason="Ran to its planned length.", best_checkpoint=best)


def _stopper(trainer: Any, earlier: Mapping[int, int]) -> Any:
    """The callback that stopped this fit: Lightning's stoppers note the epoch, and keep it in fits to come."""
    if not trainer.should_stop:
        return None
    return next((callback for callback, epoch in _stops(trainer) if epoch != earlier.get(id(callback), 0)), None)


def _stops(trainer: Any) -> list[tuple[Any, int]]:
    """Callbacks that note when they stopped a run, with the epoch; 0 before they do."""
    return [(callback, callback.stopped_epoch) for callback in trainer.callbacks if hasattr(callback, "stopped_epoch")]


def _best_checkpoint(trainer: Any) -> str | None:
    """Without a monitor Lightning's *best* checkpoint is simply the last one."""
    ranking = (callback for callback in trainer.checkpoint_callbacks if getattr(callback, "monitor", None))
    return next((str(callback.best_model_path) for callback in ranking if callback.best_model_path), None)
