"""What a checkpoint holds of the record, and how a resumed run takes it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lightning_diag import store
from lightning_diag.callbacks.run import Part, Run
from lightning_diag.history import RunHistory
from lightning_diag.recorder import Recorder


def checkpoint_state(run: Run, parts: Sequence[Part]) -> dict[str, Any]:
    """The closed records, the running interval and what the parts have measured in it.

    Holds texts, numbers and tensors only, so that ``torch.load(weights_only=True)`` reads it, and no configuration: a
    resumed run takes the new arguments.
    """
    running = run.recorder.running(run.epoch, run.step)
    return {
        "epoch": run.epoch,
        "batches": run.batches,
        "history": run.lines(),
        "running": store.history_to_lines(RunHistory(epochs=(running,))) if running else [],
        "processes": run.processes,
        "parts": {part.title: state for part in parts if (state := part.state_dict(run))},
    }


def restore(run: Run, parts: Sequence[Part], state: Mapping[str, Any]) -> None:
    """Take up the closed records, and the running interval."""
    take_over(run, store.lines_to_history(state["history"]))
    for record in store.lines_to_history(state["running"]).epochs if state["running"] else ():
        run.recorder.take_running(record)
    saved = state.get("parts", {})
    for part in parts:
        if part.title in saved:
            part.load_state_dict(run, saved[part.title])


class Place(NamedTuple):
    """What Lightning tells nobody of.

    Attributes:
        is_over: the epoch of the open interval ended with the step after which the checkpoint was written.
        begun: the epoch after it has begun.
    """

    is_over: bool = False
    begun: bool = False


def find_place(run: Run, state: Mapping[str, Any]) -> Place:
    """Say whether the first interval is torn, and whether the checkpoint's part of it counts.

    What was measured before belongs to the interval when nothing between is missing or comes twice: one process then
    and now, and loaders that go on where they were. Without a ``state_dict`` of theirs Lightning starts them again.

    Args:
        run: at the start of training; the Trainer's progress is restored.
        state: what :func:`checkpoint_state` gave, empty where the checkpoint was written without it.

    """
    loop = run.trainer.fit_loop
    progress = loop.epoch_loop.batch_progress
    is_open = not state or bool(state["running"]) or state["batches"] > 0
    within = bool(progress.current.processed > 0 and getattr(loop, "restarted_mid_epoch", loop.restarting))
    is_over = bool(state) and state["epoch"] < run.epoch and is_open
    run.torn = is_over or (is_open and within)
    run.carried = run.torn and _is_whole(run, state)
    run.began = progress.total.processed
    if run.torn:
        run.began -= state["batches"] if state else progress.current.processed
    return Place(is_over=is_over, begun=is_over and within)


def _is_whole(run: Run, state: Mapping[str, Any]) -> bool:
    if not state or run.processes > 1 or state["processes"] > 1:
        return False
    stateful = all(callable(getattr(loader, "load_state_dict", None)) for loader in _train_loaders(run.trainer))
    return stateful or bool(run.trainer.fit_loop.epoch_loop.batch_progress.is_last_batch)


def _train_loaders(trainer: Any) -> list[Any]:
    combined = trainer.fit_loop._combined_loader  # noqa: SLF001  (what Lightning itself asks for loader states)
    return [] if combined is None else list(combined.flattened)


def take_over(run: Run, earlier: RunHistory) -> None:
    """Go on after the records of ``earlier``; the context is that of this run."""
    run.recorder = Recorder(earlier.epochs, run.recorder.context)
    run.restored = len(earlier.epochs)
