"""A few batches once more in eval mode, outside the steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lightning_diag.callbacks.ranks import shards_weights
from lightning_diag.callbacks.run import Part, Run
from lightning_diag.metrics.classification import StageMetrics
from lightning_diag.signals.norms import NormWatch
from lightning_diag.signals.probe import BATCHES, ModuleProbe, ProbeOutput


class ProbePart(Part):
    """Training samples as validation sees them: no dropout, running statistics, weights that stand still."""

    title = "probe"

    def __init__(self) -> None:
        self.probe: ModuleProbe | None = None
        self.norms: NormWatch | None = None
        self._ran = False
        self._relu = False

    def fit_start(self, run: Run) -> None:
        """Prepare; sharded modules are not probed, because the other ranks would have to run along."""
        wanted = BATCHES if run.options.probe_batches is None else run.options.probe_batches
        self.probe = ModuleProbe(run.module, batches=wanted)
        if shards_weights(run.trainer):
            self.probe.why_not = "the weights are sharded over the processes"
        self.norms = NormWatch(run.module)

    def batch_start(self, run: Run, stage: str, batch: Any, batch_idx: int) -> bool | None:
        """Watch the first steps."""
        if stage not in ("train", "val"):
            return None
        return self.probe is not None and self.probe.before(stage)

    def batch_end(self, run: Run, stage: str, result: Any, batch: Any, batch_idx: int | None) -> bool | None:
        """Keep what the predicting part was given."""
        if stage not in ("train", "val"):
            return None
        return self.probe is not None and self.probe.after(stage, run.observation)

    def validation_epoch_end(self, run: Run) -> None:
        """Evaluate the probe with the weights that validation saw."""
        if not run.trainer.sanity_checking:
            self._run(run)

    def interval_end(self, run: Run) -> None:
        """Evaluate it here where there is no validation; read the normalisation layers once."""
        if not self._ran and run.recorder.pending:
            self._run(run)
        self._ran = False
        self._tell_relu(run)
        found = None if self.norms is None else self.norms.read()
        if found is not None and run.recorder.context.model.norm_shift is None:
            run.recorder.update(model=replace(run.recorder.context.model, norm_shift=found[0], norm_scale=found[1]))

    def _tell_relu(self, run: Run) -> None:
        """Record why no ReLU unit was observed, until one is."""
        known, seen = run.recorder.context.model, "relu/dead_share" in run.recorder.running_values
        self._relu = self._relu or seen
        why = None if self._relu or self.probe is None else self.probe.relu_missing()
        if known.relu_missing != why:
            run.recorder.update(model=replace(known, relu_missing=why))

    def close(self, run: Run) -> None:
        """Remove all hooks."""
        if self.probe is not None:
            self.probe.close()
        if self.norms is not None:
            self.norms.remove()

    def _run(self, run: Run) -> None:
        assert self.probe is not None
        result = self.probe.run(run.trainer.precision_plugin.val_step_context)
        self._ran = True
        if result is None:
            return
        run.recorder.values(_counted(result.train) | result.values)
        known = run.recorder.context.model
        if result.nondeterministic is not None:
            largest = max(result.nondeterministic, known.nondeterministic_eval or 0.0)
            run.recorder.update(model=replace(known, nondeterministic_eval=largest))


def _counted(outputs: tuple[ProbeOutput, ...]) -> dict[str, float]:
    """Loss, accuracy and size of the probe, counted as the stages are."""
    metrics = StageMetrics()
    for out in outputs:
        counts = out.task in ("multiclass", "binary", "multilabel", "dense", "soft")
        metrics.accumulate(
            out.preds if counts else None,
            out.target if counts else None,
            task=out.task,
            kind=out.kind,
            class_dim=out.class_dim,
            ignore_index=out.ignore_index,
            loss=out.loss,
        )
    result = metrics.result()
    values = result.values()
    found = {f"probe/train_{name}": values[name] for name in ("loss", "acc") if name in values}
    return found | {"probe/train_n": float(result.n)} if "acc" in values else found
