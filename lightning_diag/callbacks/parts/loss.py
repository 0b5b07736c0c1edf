"""What the loss was given in the first steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from lightning_diag.callbacks.run import Part, Run
from lightning_diag.signals.outputs import OutputWatch

MOST_WEIGHTS = 1_000
TASKS = ("multiclass", "dense", "binary", "multilabel")
CALL = "loss call "
"""Before the name of the loss, in the source of what was read off its call."""


class LossPart(Part):
    """Name, class weights, smoothing and the form of the outputs, read once after the first interval."""

    title = "loss call"

    def __init__(self) -> None:
        self._watch = OutputWatch()
        self._seen: Any = None
        self._done = False

    def batch_end(self, run: Run, stage: str, result: Any, batch: Any, batch_idx: int | None) -> bool | None:
        """Keep what the first training steps gave to the loss."""
        if self._done:
            return False
        observation = run.observation
        if stage != "train" or observation is None:
            return None
        if observation.task not in TASKS:
            return False
        by_class = observation.task in ("multiclass", "dense")  # weights of a BCE are per element, not per class
        weight = observation.weight if by_class else None
        self._seen = self._seen or (observation.source, weight, observation.label_smoothing)
        if by_class:
            self._watch.step(observation.preds, observation.kind, observation.class_dim)
            return self._watch.wants_scores
        if observation.kind == "logits":  # few class scores can all lie in [0, 1] for a while
            self._watch.widen(observation.preds)
        return observation.kind == "logits" and self._watch.wants_range

    def interval_end(self, run: Run) -> None:
        """Read it."""
        if self._done or self._seen is None:
            return
        self._done = True
        source, weight, smoothing = self._seen
        self._seen = None
        found = self._watch.read()
        run.recorder.update(
            model=replace(
                run.recorder.context.model,
                loss_name=source.removeprefix(CALL) if source.startswith(CALL) else None,
                loss_weight=_weights(weight),
                label_smoothing=float(smoothing),
                outputs_are_probabilities=found.are_probabilities,
                class_axis_ok=found.class_axis_ok,
            )
        )


def _weights(weight: Any) -> tuple[float, ...]:
    if not isinstance(weight, Tensor) or weight.dim() != 1 or len(weight) > MOST_WEIGHTS:
        return ()
    return tuple(float(w) for w in weight.tolist())
