"""From a run and its diagnosis to the content of ``diagnosis.json``."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import lightning_diag
from lightning_diag.findings import Clear, Crashed, Diagnosis, Finding, NotChecked
from lightning_diag.history import Count, RunContext, RunHistory, SplitFacts, StageRecord
from lightning_diag.report.schema import (
    EpochEntry,
    FindingEntry,
    MomentEntry,
    ReportEntry,
    RuleEntry,
    StageEntry,
    write_json,
)
from lightning_diag.report.sections import heading
from lightning_diag.report.sections.epochs import TELLING, thinned
from lightning_diag.report.sections.status import statuses
from lightning_diag.report.view import View, interval
from lightning_diag.rules.best_weights import baseline_value
from lightning_diag.rules.independence import as_samples
from lightning_diag.thinning import notes

_T = TypeVar("_T")
VALUES = 4000
"""Scalars in all rows of ``epochs`` together (about 150 KB); longer runs are thinned like the table of the report."""
EPOCHS = (24, 200)
"""Fewest and most rows of ``epochs``."""
ENTRIES = 1000
"""Entries of any list of the context or of a stage (class names, counts, rows): with 1,000 classes nothing is cut."""


def render_json(history: RunHistory, diagnosis: Diagnosis) -> str:
    """The report as JSON under :func:`~lightning_diag.report.json_schema`; bounded like the Markdown."""
    return write_json(report_entry(history, diagnosis))


def report_entry(history: RunHistory, diagnosis: Diagnosis) -> ReportEntry:
    """The same as a value."""
    view = View(history=history, diagnosis=diagnosis)
    left_out: dict[str, int] = {}
    return ReportEntry(
        tool=f"lightning_diag {lightning_diag.__version__}",
        title=heading(view),
        verdict=diagnosis.verdict,
        findings=tuple(_finding(f) for f in diagnosis.findings),
        not_established=diagnosis.not_established,
        clear=tuple(_rule(c) for c in diagnosis.clear),
        not_checked=tuple(_rule(c) for c in diagnosis.not_checked),
        crashed=tuple(_rule(c) for c in diagnosis.crashed),
        thresholds=diagnosis.thresholds,
        moments=_moments(view),
        epochs=_epochs(view, left_out),
        stages=_stages(view, left_out),
        context=_bounded(replace(history.context, notes=notes(history)), left_out),
        left_out=left_out,
    )


def _finding(finding: Finding) -> FindingEntry:
    return FindingEntry(
        id=finding.code,
        name=finding.name,
        severity=finding.severity,
        confidence=finding.confidence,
        claim=finding.claim,
        scope=finding.scope,
        title=finding.title,
        summary=finding.summary,
        evidence=finding.evidence,
        against=finding.against,
        why=finding.why,
        actions=finding.actions,
        next_test=finding.next_test,
        explains=finding.explains,
        explained_by=finding.explained_by,
        epoch=finding.epoch,
    )


def _rule(outcome: Clear | NotChecked | Crashed) -> RuleEntry:
    return RuleEntry(
        id=outcome.code,
        name=outcome.name,
        text=outcome.text if isinstance(outcome, Clear) else "",
        reason=outcome.reason if isinstance(outcome, NotChecked) else "",
        error=outcome.error if isinstance(outcome, Crashed) else "",
    )


def _moments(view: View) -> tuple[MomentEntry, ...]:
    signal, _ = view.metric
    baseline, target = view.history.context.baseline, view.history.context.target
    found = []
    if baseline is not None and signal:
        count = baseline.correct if signal == "val/acc" else None
        found.append(_moment(view, "baseline", signal, baseline.epoch, baseline_value(baseline, signal), count))
    for role, record in (("best", view.best), ("final", view.final)):
        if record is not None:
            found.append(_moment(view, role, signal, record.epoch, record.values[signal], view.count(record)))
    if target is not None:
        found.append(_moment(view, "target", target.metric, None, target.value, None))
    return tuple(found)


def _moment(
    view: View, role: str, metric: str, epoch: int | None, value: float | None, count: Count | None
) -> MomentEntry:
    tested = as_samples(view.history, count)
    span = interval(tested) if tested is not None and tested.n else None
    bounds = (span.low, span.high) if span is not None else None
    return MomentEntry(role=role, metric=metric, epoch=epoch, value=value, count=count, interval=bounds)


def _epochs(view: View, left_out: dict[str, int]) -> tuple[EpochEntry, ...]:
    words, records = statuses(view), view.history.epochs
    widest = max((len(record.values) for record in records), default=0)
    rows = min(max(VALUES // max(widest, 1), EPOCHS[0]), EPOCHS[1])
    kept = thinned([bool(TELLING & set(w)) for w in words], rows)
    if len(kept) < len(records):
        left_out["epochs"] = len(records)
    return tuple(
        EpochEntry(
            epoch=records[i].epoch,
            step=records[i].step,
            values=records[i].values,
            counts={name: s.correct for name, s in records[i].stages.items() if s.correct is not None},
            lrs=records[i].lrs,
            events=records[i].events,
            status=words[i],
        )
        for i in kept
    )


def _stages(view: View, left_out: dict[str, int]) -> dict[str, StageEntry]:
    names = dict.fromkeys(name for record in view.history.epochs for name in record.stages)
    found = {}
    for name in names:
        rows = [(e, s) for e, s in view.history.stage(name) if s.classes or s.groups or s.confusions]
        if rows:
            found[name] = _stage(*rows[-1], f"stages.{name}", left_out)
    return found


def _stage(epoch: int, record: StageRecord, path: str, left_out: dict[str, int]) -> StageEntry:
    return StageEntry(
        epoch=epoch,
        n=record.n,
        classes=_cut(tuple(record.classes), f"{path}.classes", left_out),
        confusions=_cut(tuple(record.confusions), f"{path}.confusions", left_out),
        matrix=tuple(record.matrix),
        groups=_cut(record.groups, f"{path}.groups", left_out),
    )


def _cut(items: tuple[_T, ...], path: str, left_out: dict[str, int]) -> tuple[_T, ...]:
    """The first entries of a list, and the number there were when that is more."""
    if len(items) > ENTRIES:
        left_out[path] = len(items)
    return items[:ENTRIES]


def _bounded(context: RunContext, left_out: dict[str, int]) -> RunContext:
    """The context with lists of at most :data:`ENTRIES`."""
    stop = replace(context.stop, probability=_cut(context.stop.probability, "context.stop.probability", left_out))
    never = _cut(context.ctc.never_emitted, "context.ctc.never_emitted", left_out) if context.ctc else ()
    blocks = _cut(context.pretrain.blocks, "context.pretrain.blocks", left_out) if context.pretrain else ()
    return replace(
        context,
        class_names=_cut(context.class_names, "context.class_names", left_out),
        samples=_cut(context.samples, "context.samples", left_out),
        notes=_cut(context.notes, "context.notes", left_out),
        data=replace(
            context.data,
            train=_split(context.data.train, "context.data.train", left_out),
            val=_split(context.data.val, "context.data.val", left_out),
        ),
        stop=stop,
        ctc=context.ctc and replace(context.ctc, never_emitted=never),
        pretrain=context.pretrain and replace(context.pretrain, blocks=blocks),
    )


def _split(split: SplitFacts, path: str, left_out: dict[str, int]) -> SplitFacts:
    return replace(
        split,
        class_counts=_cut(split.class_counts, f"{path}.class_counts", left_out),
        drawn_counts=_cut(split.drawn_counts, f"{path}.drawn_counts", left_out),
    )
