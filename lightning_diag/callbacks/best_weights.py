"""The best weights, kept so that they can be put back at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lightning_diag.callbacks.run import Run
from lightning_diag.history import EpochRecord

FILE = "best-weights.pt"


class BestWeights:
    """Uses the best checkpoint that ``ModelCheckpoint`` keeps, else a file of its own."""

    def __init__(self) -> None:
        self.path: str | None = None
        self._epoch: int | None = None

    def state(self) -> dict[str, Any]:
        """Where the best weights are."""
        return {} if self.path is None else {"path": self.path, "epoch": self._epoch}

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Use the file of the run before, where it is still there."""
        if state and Path(state["path"]).exists():
            self.path, self._epoch = str(state["path"]), state["epoch"]

    def keep(self, run: Run, record: EpochRecord) -> None:
        """Save the weights of a new best; collective, because sharded weights are gathered."""
        is_best = any(event.kind == "best" for event in record.events)
        if not is_best or run.directory is None or _ranking(run.trainer):
            return
        state = run.trainer.strategy.lightning_module_state_dict()
        path = run.directory / FILE
        if run.is_writer:
            temporary = path.with_suffix(".tmp")
            torch.save(state, temporary)
            temporary.replace(path)
        self.path, self._epoch = str(path), record.epoch

    def restore(self, run: Run) -> str:
        """Load the best weights into the module; returns a sentence for the report."""
        best = _checkpoint(run.trainer)
        path = best or self.path
        if path is None:
            return "restore_best: nothing kept the best weights, so the last ones stay."
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        run.module.load_state_dict(loaded["state_dict"] if best else loaded)
        self.path = str(path)
        return f"restore_best: the weights of {'the best checkpoint' if best else f'epoch {self._epoch}'} were put back from {path}."


def _checkpoint(trainer: Any) -> str | None:
    """Path of the best checkpoint of a ``ModelCheckpoint`` that ranks by a metric."""
    paths = (str(getattr(callback, "best_model_path", "")) for callback in _ranking(trainer))
    return next((path for path in paths if path), None)


def _ranking(trainer: Any) -> list[Any]:
    """Checkpoint callbacks that rank by a metric."""
    return [callback for callback in trainer.checkpoint_callbacks if getattr(callback, "monitor", None)]
