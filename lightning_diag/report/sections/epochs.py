"""The epoch table: every row of a short run, of a long one the rows that matter and some between them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from lightning_diag.findings import Finding
from lightning_diag.history import Baseline, EpochRecord
from lightning_diag.report import numbers
from lightning_diag.report.document import Block, Column, table
from lightning_diag.report.sections.causes import sentence
from lightning_diag.report.sections.status import MEANINGS, statuses
from lightning_diag.report.view import View, shown, with_interval
from lightning_diag.rules.independence import independent
from lightning_diag.rules.reading import fullest_stage
from lightning_diag.words import EXACT_MATCH

ROWS = 24
"""Rows of a thinned table: what fits on one screen."""
WHOLE = 36
"""Longest table that is not thinned: leaving out a third gains little."""
LESS = 0.9
"""Of the samples of the epoch that counted most: loaders may drop a batch or draw a few samples more or less."""
TELLING = frozenset(
    {
        "drop",
        "best",
        "best of this fit",
        "diverged",
        "not finite",
        "no targets",
        "resumed",
        "learning rate restarts",
        "would stop",
        "crashed",
    }
)
"""Words that make a row worth its place in a thinned table."""
EXACT = {"ctc": "lines exact", "multilabel": EXACT_MATCH}
"""What the counts of a task are counts of, where that is no accuracy."""
STRONG = frozenset({"drop", "diverged", "not finite", "no targets", "best"})
"""Words that are printed bold with their row."""


def epochs(view: View) -> tuple[Block, ...]:
    """The table with a status word per row."""
    records = view.history.epochs
    if not records:
        return ()
    words = statuses(view)
    kept = thinned([bool(TELLING & set(w)) for w in words], ROWS, _cited(view))
    columns = _columns(view)
    rows = [(*(_cell(view, records[i], c.title) for c in columns[:-1]), ", ".join(words[i][:3])) for i in kept]
    start = _baseline_row(view.history.unrecorded_baseline(), columns)
    rows = [start, *rows] if start else rows
    left_out = (
        f"{len(kept)} of {len(records):,} epochs: first, last, those with an event or named in this report, and others "
        "evenly between."
    )
    notes = ([left_out] if len(kept) < len(records) else []) + _samples(view, rows, columns) + _legend(rows)
    strong = tuple(i for i, row in enumerate(rows) if STRONG & set(row[-1].split(", ")))
    columns = tuple(replace(c, title=_counted(view, c.title)) for c in columns)
    return (table(columns, rows, note=" ".join(notes), strong=strong),)


def _counted(view: View, title: str) -> str:
    """The title of a column, with what the counts of this task are counts of."""
    counts = EXACT.get(view.history.context.task or "", "acc")
    return re.sub(r"\bacc\b", counts, title)


def _legend(rows: list[tuple[str, ...]]) -> list[str]:
    """What the status words of these rows mean."""
    used = {word for row in rows for word in row[-1].split(", ")}
    parts = [f"{word}: {meaning}" for word, meaning in MEANINGS.items() if word in used]
    return [sentence("; ".join(parts))] if parts else []


def _samples(view: View, rows: list[tuple[str, ...]], columns: tuple[Column, ...]) -> list[str]:
    """Which counts rest on a sample of the training set, and on how large a one."""
    shown = {column.title for at, column in enumerate(columns) if any(row[at] for row in rows)}
    notes = []
    if view.training_lines and "train acc" in shown:
        notes.append(
            f"{_counted(view, 'train acc')} and train TER are read from a sample: in the last epoch {view.training_lines}"
        )
    last, fullest = (view.history.last_stage("train"), fullest_stage(view.history, "train"))
    sampled = last and fullest and last.complete and last.n < LESS * fullest.n and view.history.context.task != "ctc"
    if last and fullest and sampled and "train acc" in shown:
        notes.append(
            f"{_counted(view, 'train acc')} is read from a sample after the first epoch: in the last one {last.n:,} of "
            f"{fullest.n:,}"
        )
    count = next(reversed(list(view.probe.values())), None)
    if count is not None and "train acc (eval mode)" in shown:
        size = view.history.context.data.train.size
        whole = f" of {size:,}" if size and size >= count.n and view.history.context.task != "dense" else ""
        unit = "positions" if view.history.context.task == "dense" else "training samples"
        notes.append(
            f"{_counted(view, 'train acc (eval mode)')} is measured on a fixed sample, {count.n:,}{whole} {unit}"
        )
    return [sentence("; ".join(notes))] if notes else []


_EPOCH = re.compile(r"\bepochs? (\d+)(?:–(\d+))?")
CITED = 12
"""Rows that are kept because a sentence names their epoch, the first ones named: half of the table."""


def _cited(view: View) -> list[int]:
    """Positions of the epochs that the findings and the doubts name: who reads the sentence looks for the row."""
    texts = [text for f in view.diagnosis.findings for text in (f.title, f.summary, *_facts(f), *f.actions)]
    texts += [text for doubt in view.diagnosis.not_established for text in (doubt.claim, doubt.reason)]
    named = (int(n) for text in texts for match in _EPOCH.finditer(text) for n in match.groups() if n)
    places = {record.epoch: i for i, record in enumerate(view.history.epochs)}
    return [places[epoch] for epoch in dict.fromkeys(named) if epoch in places][:CITED]


def _facts(finding: Finding) -> list[str]:
    return [fact.text for fact in (*finding.evidence, *finding.against)]


def thinned(telling: list[bool], rows: int, cited: Iterable[int] = ()) -> list[int]:
    """Positions to show: both ends, ``cited`` ones, the telling ones (at most half the rows), and even steps between."""
    size = len(telling)
    if size <= rows * WHOLE // ROWS:
        return list(range(size))
    marked = [i for i, tells in enumerate(telling) if tells]
    kept = {0, size - 1, *cited, *_evenly(marked, rows // 2)}
    for step in _evenly(list(range(size)), rows):
        if len(kept) < rows:
            kept.add(step)
    return sorted(kept)


def _evenly(items: list[int], most: int) -> list[int]:
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _columns(view: View) -> tuple[Column, ...]:
    """The columns a run of this task can fill; the empty ones are dropped later."""
    present = set(view.history.signals())
    loaders = [s for s in _further_loaders(view) if f"{s}/acc" in present or f"{s}/loss" in present]
    names = [
        "epoch",
        "train acc",
        "train acc (eval mode)",
        "val acc",
        *(f"{s} acc" for s in loaders),
        "train TER",
        "val TER",
    ]
    names += ["train loss", "val loss", *(f"{s} loss" for s in loaders)]
    if view.history.context.data.train.sorted_batches:  # the probe holds the first classes only
        names.remove("train acc (eval mode)")
    monitored = view.metric[0]
    if monitored and monitored not in _SIGNALS.values():
        names.append(monitored)
    return (*(Column(n, numeric=True) for n in names), Column("learning rate", numeric=True), Column("status"))


def _further_loaders(view: View) -> list[str]:
    return sorted({s for record in view.history.epochs[-1:] for s in record.stages if s.startswith("val:")})[:4]


_SIGNALS = {
    "train acc": "train/acc",
    "train acc (eval mode)": "probe/train_acc",
    "val acc": "val/acc",
    "train TER": "ctc/train/ter",
    "val TER": "ctc/val/ter",
    "train loss": "train/loss",
    "val loss": "val/loss",
}


def _cell(view: View, record: EpochRecord, column: str) -> str:
    if column == "epoch":
        return view.epoch_label(record)
    if column == "learning rate":
        return numbers.rate(record.values.get("lr", record.lrs[0] if record.lrs else None))
    signal = _SIGNALS.get(column, column.replace(" ", "/"))
    value = record.values.get(signal)
    if column == "train acc (eval mode)":
        return (with_interval(view.probe.get(record.epoch)) if independent(view.history) else "") or shown(
            signal, value
        )
    if column.endswith(" acc"):
        count = view.count(record, signal)
        whole = column == "train acc" and not view.training_lines  # of a sample the interval is wide and says so
        whole = whole or not independent(view.history)
        interval = numbers.count(count) if whole else with_interval(count)
        return interval or shown(signal, value)
    return shown(signal, value)


def _baseline_row(baseline: Baseline | None, columns: tuple[Column, ...]) -> tuple[str, ...] | None:
    if baseline is None:
        return None
    cells = {
        "epoch": "" if baseline.epoch is None else str(baseline.epoch),
        "val acc": with_interval(baseline.correct) or numbers.percent(baseline.value),
        "val loss": numbers.significant(baseline.loss),
        "status": "baseline",
    }
    return tuple(cells.get(c.title, "") for c in columns)
