"""Where the facts on pretrained weights go: into the record that all monitors share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lightning_diag.callbacks.observer import Observer
from lightning_diag.history import PretrainFacts
from lightning_diag.recorder import Recorder
from lightning_diag.rules.weights_not_loaded import VERIFIER


def record_pretraining(trainer: Any, facts: PretrainFacts, values: Mapping[str, float] | None = None) -> None:
    """Put facts and drift into the running record.

    Without a named checkpoint there is no verdict to record, only whether the module looks freshly initialised.

    Args:
        trainer: the Trainer; nothing happens when it has no observer.
        facts: the verdict so far.
        values: scalars of the running epoch.
    """
    recorder = _recorder(trainer)
    if recorder is None:
        return
    model = replace(recorder.context.model, looks_fresh=facts.looks_fresh)
    recorder.update(model=model, pretrain=facts if facts.checkpoint else None)
    recorder.values(values or {})


def record_stop(trainer: Any) -> None:
    """That the verifier ends the run, so that the report names who did."""
    recorder = _recorder(trainer)
    if recorder is not None:
        stop = replace(recorder.context.stop, stopper=VERIFIER, reason="The pretrained weights are not in the module.")
        recorder.update(stop=stop)


def _recorder(trainer: Any) -> Recorder | None:
    observer = Observer.find(trainer)
    return None if observer is None or observer.run is None else observer.run.recorder
