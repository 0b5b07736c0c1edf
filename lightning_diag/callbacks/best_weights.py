"""The best weights, kept so that they can be put back at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_diag.callbacks.messages import warn
from lightning_diag.callbacks.ranks import shards_weights
from lightning_diag.callbacks.run import Run
from lightning_diag.history import EpochRecord

FILE = "best-weights.pt"


class BestWeights:
    """Uses the best checkpoint that ``ModelCheckpoint`` keeps, else a file of its own.

    Where several processes train, the first one alone writes and reads: the others may not see its disk. What it reads
    goes to all of them, so that they never end with different weights.
    """

    def __init__(self) -> None:
        self.path: str | None = None
        self._epoch: int | None = None
        self._told = False

    def state(self) -> dict[str, Any]:
        """Where the best weights are."""
        return {} if self.path is None else {"path": self.path, "epoch": self._epoch}

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Use the file of the run before, where it is still there."""
        if state and Path(state["path"]).exists():
            self.path, self._epoch = str(state["path"]), state["epoch"]

    def keep(self, run: Run, record: EpochRecord) -> None:
        """Save the weights of a new best; a file that cannot be written costs one warning and a note."""
        is_best = any(event.kind == "best" for event in record.events)
        if not is_best or not run.is_writer or run.directory is None:
            return
        if shards_weights(run.trainer) or _ranking(run.trainer):
            return
        path = run.directory / FILE
        fault = _save(run.module.state_dict(), path)
        if fault is None:
            self.path, self._epoch = str(path), record.epoch
        elif not self._told:
            self._told = True
            text = f"restore_best: the weights of epoch {record.epoch} could not be kept in {path} ({fault})."
            run.recorder.note(text)
            warn(f"lightning_diag: {text} Training and stopping go on.")

    def restore(self, run: Run) -> str:
        """Load the best weights into the module of every process, or of none; returns a sentence for the report.

        Collective where several processes train.
        """
        strategy = run.trainer.strategy
        if shards_weights(run.trainer):
            return (
                f"restore_best: {type(strategy).__name__} shards the weights, so the last ones stay. "
                "Use ModelCheckpoint(monitor=...) and load its best checkpoint."
            )
        told, state = self._read(run) if run.is_writer else ("", None)
        if run.processes > 1:
            told, names = strategy.broadcast((told, None if state is None else list(state)))
            # one entry at a time: a message holds a second copy of what it carries
            found = {name: strategy.broadcast(None if state is None else state[name]) for name in names or ()}
            state = None if names is None else found
        if state is not None:
            run.module.load_state_dict(state, strict=False)  # what is in it was compared with the module before
        return told

    def _read(self, run: Run) -> tuple[str, Mapping[str, Any] | None]:
        """A sentence for the report, and the best weights where they are there and fit the module."""
        best = _checkpoint(run.trainer)
        path = best or self.path
        if path is None:
            return "restore_best: nothing kept the best weights, so the last ones stay.", None
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
            state = loaded["state_dict"] if best else loaded
            odd = _misfits(run.module, state)
        except Exception as error:  # noqa: BLE001  (the other processes wait for what this one has read)
            return f"restore_best: {path} could not be read ({_short(error)}), so the last weights stay.", None
        if odd:
            return (
                f"restore_best: {path} does not fit the module ({', '.join(odd[:3])}), so the last weights stay.",
                None,
            )
        self.path = str(path)
        kept = "the best checkpoint" if best else f"epoch {self._epoch}"
        return f"restore_best: the weights of {kept} were put back from {path}.", state


def _save(state: Mapping[str, Any], path: Path) -> str | None:
    """Write atomically; the fault as text (torch turns a full disk into a RuntimeError of its own)."""
    temporary = path.with_suffix(".tmp")
    try:
        torch.save(state, temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)  # half a file fills the disk further
        return _short(error)
    return None


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _misfits(module: Any, state: Mapping[str, Any]) -> list[str]:
    """Names that would not load: a load that fails half way leaves a mixture of two states."""
    own = module.state_dict()
    odd = [name for name, value in state.items() if name not in own or _shape(own[name]) != _shape(value)]
    return odd + [name for name in own if name not in state and getattr(module, "strict_loading", True)]


def _shape(value: object) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None


def _checkpoint(trainer: Any) -> str | None:
    """Path of the best checkpoint of a ``ModelCheckpoint`` that ranks by a metric."""
    paths = (str(getattr(callback, "best_model_path", "")) for callback in _ranking(trainer))
    return next((path for path in paths if path), None)


def _ranking(trainer: Any) -> list[Any]:
    """Checkpoint callbacks that rank by a metric."""
    return [callback for callback in trainer.checkpoint_callbacks if getattr(callback, "monitor", None)]
