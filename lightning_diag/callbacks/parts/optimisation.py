"""Gradients, weights and modes on a few steps per epoch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from lightning_diag.callbacks.run import Part, Run
from lightning_diag.signals.gradients import GradientSignals
from lightning_diag.signals.modes import ModeSignals
from lightning_diag.signals.weights import WeightSignals, coverage, start_facts

BLOCKS_SHOWN = 12
"""Blocks whose update ratio is recorded; the largest modules have hundreds."""


class OptimisationPart(Part):
    """What the optimiser sees and does; a step that is not looked at costs one comparison."""

    title = "gradients and weights"

    def __init__(self) -> None:
        self.gradients: GradientSignals | None = None
        self.weights: WeightSignals | None = None
        self.modes: ModeSignals | None = None
        self._saved: dict[str, Any] = {}

    def train_start(self, run: Run) -> None:
        """Look at the weights once, before the first step."""
        optim = run.recorder.context.optim
        self.gradients = GradientSignals(run.module, clip=optim.clip, by_value=optim.clip_algorithm == "value")
        self.weights = WeightSignals(run.module)
        self.weights.start()
        self.modes = ModeSignals(run.module)
        self.gradients.start_epoch(_optimizer_steps(run.trainer))  # a resume in mid-epoch starts none
        if self._saved:
            self.gradients.take_up(self._saved, same_epoch=run.carried)
        start, reached = start_facts(run.module), coverage(run.module, run.trainer.optimizers)
        run.recorder.update(
            model=replace(
                run.recorder.context.model,
                constant_init=start.constant_init,
                looks_fresh=start.looks_fresh,
                frozen_fresh=start.frozen_fresh,
                in_optimizer=reached.in_optimizer,
                trainable_not_in_optimizer=reached.trainable_not_in_optimizer,
                missing_blocks=reached.missing_blocks,
            )
        )

    def epoch_start(self, run: Run) -> None:
        """Choose the steps of the epoch."""
        if self.gradients is not None and self.modes is not None:
            self.gradients.start_epoch(_optimizer_steps(run.trainer))
            self.modes.start()

    def validation_start(self, run: Run) -> None:
        """Modes are looked at again in validation."""
        if self.modes is not None:
            self.modes.start()

    def batch_end(self, run: Run, stage: str, result: Any, batch: Any, batch_idx: int | None) -> bool:
        """Look at the modes of the first steps of a stage."""
        return self.modes is not None and self.modes.step("train" if stage == "train" else "val")

    def before_backward(self, run: Run) -> bool:
        """Look whether the gradients of the step before were zeroed."""
        return self.gradients is not None and self.gradients.before_backward()

    def before_optimizer_step(self, run: Run, optimizer: Any) -> bool:
        """Look at the gradients of a chosen step, and rest until the next one."""
        if self.gradients is None:
            return False
        if not run.module.automatic_optimization:  # no number of batches tells how many steps are taken in them
            self.gradients.before_step(optimizer)
            return True
        every, batch = run.trainer.accumulate_grad_batches, run.trainer.fit_loop.epoch_loop.batch_idx
        self.gradients.before_step(optimizer, batch // every)
        following = self.gradients.next_step()
        if following is not None:
            run.rest = following * every - batch
        return following is not None and run.rest <= 1

    def interval_end(self, run: Run) -> None:
        """Read the signals of the interval from the device."""
        if self.gradients is None or self.weights is None:
            return
        run.recorder.values(self.gradients.finish().values)
        if run.recorder.context.model.trainable_not_in_optimizer:
            reached = coverage(run.module, run.trainer.optimizers, self.gradients.with_grad)
            facts = replace(run.recorder.context.model, missing_without_grad=reached.missing_without_grad)
            run.recorder.update(model=facts)
        values, blocks = self.weights.finish_epoch()
        if run.torn:  # where the weights were when the interval began is not in the checkpoint
            values, blocks = {name: v for name, v in values.items() if name != "update/ratio"}, {}
        largest = sorted(blocks.items(), key=lambda pair: -pair[1] if math.isfinite(pair[1]) else 0)[:BLOCKS_SHOWN]
        run.recorder.values(
            values | {f"update/ratio/{block}": ratio for block, ratio in largest if math.isfinite(ratio)}
        )

    def state_dict(self, run: Run) -> dict[str, Any]:
        """The looked-at gradients; weights are too large for it."""
        return {} if self.gradients is None else self.gradients.state()

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        """Keep it until the parameters are known to be in place."""
        self._saved = state

    def fit_end(self, run: Run) -> None:
        """Facts that need the whole run."""
        if self.gradients is None or self.weights is None or self.modes is None:
            return
        if (kept := self.gradients.kept) is not None:
            run.recorder.update(optim=replace(run.recorder.context.optim, gradients_kept=kept))
        run.recorder.update(
            model=replace(
                run.recorder.context.model,
                changed=self.weights.changed(),
                without_grad=self.gradients.without_grad,
                train_mode_ok=self.modes.count("train"),
                eval_mode_ok=self.modes.count("val"),
            )
        )


def _optimizer_steps(trainer: Any) -> int | None:
    """Optimiser steps of an epoch; None where the loader has no length."""
    batches = trainer.num_training_batches
    return None if math.isinf(batches) else max(1, int(batches) // trainer.accumulate_grad_batches)
