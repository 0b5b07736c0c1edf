"""Short ways to write a history in a test or on a rule's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lightning_diag.history import (
    ClassRow,
    Count,
    DataFacts,
    EpochRecord,
    Event,
    ModelFacts,
    OptimFacts,
    RunContext,
    RunHistory,
    SplitFacts,
    StageRecord,
    StopFacts,
)


def history(
    series: Mapping[str, Sequence[float | None]] | None = None,
    *,
    counts: Mapping[str, Sequence[tuple[int, int] | None]] | None = None,
    rows: Mapping[str, Sequence[tuple[int, int, int]]] | None = None,
    epochs: Sequence[int] | None = None,
    events: Mapping[int, str] | None = None,
    lrs: Sequence[float] | None = None,
    steps: int | None = None,
    **context: Any,
) -> RunHistory:
    """A history from columns.

    Args:
        series: scalar name -> value per epoch (None: not measured).
        counts: stage -> (correct, n) per epoch; also becomes ``<stage>/acc``.
        rows: stage -> (support, predicted, correct) per class, put on the last epoch that has the stage.
        epochs: their numbers; 0, 1, 2 ... by default.
        events: epoch -> kind.
        lrs: learning rate of each epoch; also becomes ``lr``.
        steps: optimiser steps per epoch; gives each record its step.
        context: fields of ``RunContext``; ``data``, ``train``, ``val``, ``model``, ``optim``, ``stop`` may be plain dicts.
    """
    columns = {name: list(column) for name, column in (series or {}).items()}
    if lrs is not None:
        columns["lr"] = list(lrs)
    per_stage = {stage: list(pairs) for stage, pairs in (counts or {}).items()}
    length = max((len(c) for c in (*columns.values(), *per_stage.values())), default=0)
    numbers = list(epochs) if epochs is not None else list(range(length))
    records = [_record(i, number, columns, per_stage, events or {}) for i, number in enumerate(numbers)]
    if rows and not records:
        records = [EpochRecord(epoch=0)]
    for stage, cells in (rows or {}).items():
        records[-1] = _with_rows(records[-1], stage, cells)
    if steps is not None:
        records = [replace(r, step=steps * (i + 1)) for i, r in enumerate(records)]
    return RunHistory(context=RunContext(**_facts(context)), epochs=tuple(records))


def _record(i: int, number: int, columns: Any, counts: Any, events: Mapping[int, str]) -> EpochRecord:
    values = {name: column[i] for name, column in columns.items() if i < len(column) and column[i] is not None}
    stages = {}
    for stage, pairs in counts.items():
        if i < len(pairs) and pairs[i] is not None:
            k, n = pairs[i]
            stages[stage] = StageRecord(n=n, correct=Count(k=k, n=n))
            values[f"{stage}/acc"] = k / n
    lrs = (values["lr"],) if "lr" in values else ()
    event = (Event(kind=events[number]),) if number in events else ()
    return EpochRecord(epoch=number, values=values, stages=stages, lrs=lrs, events=event)


def _with_rows(record: EpochRecord, stage: str, cells: Sequence[tuple[int, int, int]]) -> EpochRecord:
    classes = tuple(
        ClassRow(index=i, support=support, predicted=predicted, correct=correct)
        for i, (support, predicted, correct) in enumerate(cells)
    )
    n, k = sum(row.support for row in classes), sum(row.correct for row in classes)
    stages = {**record.stages, stage: StageRecord(n=n, correct=Count(k=k, n=n), classes=classes)}
    values = {f"{stage}/acc": k / n, **record.values}
    return EpochRecord(epoch=record.epoch, values=values, stages=stages, lrs=record.lrs, events=record.events)


def _facts(context: dict[str, Any]) -> dict[str, Any]:
    """Plain dicts turned into the frozen facts they stand for."""
    kinds = {"model": ModelFacts, "optim": OptimFacts, "stop": StopFacts}
    out = {k: kinds[k](**v) if k in kinds and isinstance(v, dict) else v for k, v in context.items()}
    splits = {k: SplitFacts(**out.pop(k)) for k in ("train", "val") if k in out}
    data = out.pop("data", {})
    if splits or isinstance(data, dict):
        out["data"] = DataFacts(**splits, **(data if isinstance(data, dict) else {}))
    else:
        out["data"] = data
    return out


def with_matrix(run: RunHistory, matrix: Sequence[Sequence[int]]) -> RunHistory:
    """``run`` with a confusion matrix (rows are targets) in its last validation."""
    last = run.epochs[-1]
    stage = replace(last.stages["val"], matrix=tuple(tuple(row) for row in matrix))
    return replace(run, epochs=(*run.epochs[:-1], replace(last, stages={**last.stages, "val": stage})))


NAMESPACE = {
    "history": history,
    "with_matrix": with_matrix,
    **{
        cls.__name__: cls
        for cls in (ClassRow, Count, DataFacts, ModelFacts, OptimFacts, SplitFacts, StopFacts, StageRecord, EpochRecord)
    },
}
"""What the blocks on the rule pages can use; ``lightning_diag.history`` as a whole is added by the page test."""
