"""The frozen record of a run: what was measured, and nothing else.

A :class:`RunHistory` is the only thing that rules, engine and report see. It is the same value whether it comes from
a live run, a resumed run, ``history.jsonl`` or somebody else's CSV.

Conventions
-----------
* Absent is not zero: a value that was not measured in an evaluation is missing.
* Every rate is a :class:`Count`, *k of n*, so that intervals and exact tests stay possible.
* Scalars of an epoch live in ``EpochRecord.values`` under the names listed in :data:`SIGNALS`; ``train/...`` and
  ``val/...`` say the stage. A second validation loader is ``val:1/...``.
* Shares and accuracies are fractions (0.72, not 72), losses are in nats, times in seconds.
"""

from __future__ import annotations

from lightning_diag.history.context import (
    Baseline,
    CaptureFacts,
    CTCFacts,
    MappingTest,
    RunContext,
    StopFacts,
    StopSettings,
    Target,
)
from lightning_diag.history.counts import ClassRow, Confusion, Count, GroupRow
from lightning_diag.history.data import DataFacts, SplitFacts
from lightning_diag.history.epochs import EpochRecord, Event, Outcomes, Paired, Sample, StageRecord
from lightning_diag.history.model import BlockFacts, BlockShare, ModelFacts, OptimFacts, PretrainFacts
from lightning_diag.history.run import RunHistory, Series, usual_series
from lightning_diag.history.signals import SIGNALS
from lightning_diag.history.tables import ClassRows, Confusions, Matrix

SCHEMA_VERSION = 1

__all__ = [
    "SCHEMA_VERSION",
    "SIGNALS",
    "Baseline",
    "BlockFacts",
    "BlockShare",
    "CTCFacts",
    "CaptureFacts",
    "ClassRow",
    "ClassRows",
    "Confusion",
    "Confusions",
    "Count",
    "DataFacts",
    "EpochRecord",
    "Event",
    "GroupRow",
    "MappingTest",
    "Matrix",
    "ModelFacts",
    "OptimFacts",
    "Outcomes",
    "Paired",
    "PretrainFacts",
    "RunContext",
    "RunHistory",
    "Sample",
    "Series",
    "SplitFacts",
    "StageRecord",
    "StopFacts",
    "StopSettings",
    "Target",
    "usual_series",
]
