"""Where the facts on pretrained weights go: into the record that all monitors share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lightning_diag.callbacks.observer import Observer
from lightning_diag.history import PretrainFacts


def record_pretraining(trainer: Any, facts: PretrainFacts, values: Mapping[str, float] | None = None) -> None:
    """Put facts and drift into the running record.

    Without a named checkpoint there is no verdict to record, only whether the module looks freshly initialised.

    Args:
        trainer: the Trainer; nothing happens when it has no observer.
        facts: the verdict so far.
        values: scalars of the running epoch.
    """
    observer = Observer.find(trainer)
    if observer is None or observer.run is None:
        return
    recorder = observer.run.recorder
    model = replace(recorder.context.model, looks_fresh=facts.looks_fresh)
    recorder.update(model=model, pretrain=facts if facts.checkpoint else None)
    recorder.values(values or {})
