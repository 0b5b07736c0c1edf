"""Per-class recall on both stages, groups of samples, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from lightning_diag.history import ClassRow, Confusion, Count, StageRecord
from lightning_diag.report import numbers
from lightning_diag.report.document import Block, Column, Figure, Paragraph, table
from lightning_diag.report.escape import Name, name
from lightning_diag.report.sections.trivial import REGIONS, overlap
from lightning_diag.report.view import NUMBERS_TO, View, interval, with_interval
from lightning_diag.rules.independence import independent
from lightning_diag.words import p as p_text

ROWS = 40
"""Classes that are listed; of more, the lowest recalls (by the upper end of their interval)."""
ALIKE = 12
"""Never-predicted classes that get a row each; more are named in a sentence."""
PAIRS = 12
"""Confused pairs that are listed."""
GROUPS = 30
"""Groups that are listed; of more, the lowest accuracies."""


def classes(view: View) -> tuple[Block, ...]:
    """Counts per class at the end, with the change since the best epoch."""
    (val_epoch, val), (_, train) = view.last_classes("val"), view.last_classes("train")
    main, stage = (val, "validation") if val is not None else (train, "training")
    blocks: list[Block] = [Figure(name=n, alt=a) for n, a in _FIGURES if n in view.figures]
    if main is None:
        return tuple(blocks)
    rows = [row for row in main.classes if row.support or row.predicted]
    lost = _lost(rows)
    gone = {row.index for row in lost}
    shown = _listed([row for row in rows if row.index not in gone])
    best = _best_rows(view, val_epoch) if val is not None else {}
    other = {row.index: row for row in train.classes} if train is not None and val is not None else {}
    often = _most_confused(main)
    lines = [_line(view, row, other.get(row.index), best, often) for row in shown]
    columns = (
        Column("class"),
        Column("training recall", numeric=True),
        Column(f"{stage} recall", numeric=True),
        Column(f"since epoch {view.best.epoch}" if best and view.best else "", numeric=True),
        Column("precision" if val is not None else "training precision", numeric=True),
        Column("IoU", numeric=True),
        Column("most confused with"),
    )
    note = " ".join(_notes(view, main, rows, shown))
    listed: list[Block] = [table(columns, lines, note=note)] if lines else [Paragraph(text=note)] if note else []
    unseen = [Paragraph(text=_lost_text(view, lost))] if lost else []
    return (*blocks, *listed, *unseen)


_FIGURES = (
    ("recall", "recall of each class over the epochs, validation"),
    ("confusion", "confusion matrix of the last validation"),
)


def _lost(rows: list[ClassRow]) -> list[ClassRow]:
    """Classes that were never right and never predicted, where they are so many that a row each would say nothing."""
    lost = [row for row in rows if row.support and not row.correct and row.predicted == 0]
    return sorted(lost, key=lambda row: -row.support) if len(lost) > ALIKE else []


def _lost_text(view: View, lost: list[ClassRow]) -> str:
    some = ", ".join(f"{view.label(row.index)} ({row.support:,})" for row in lost[:ALIKE])
    total = sum(row.support for row in lost)
    return f"{len(lost):,} classes with {total:,} samples are never predicted, the largest: {some}."


def _listed(rows: list[ClassRow]) -> list[ClassRow]:
    """All classes in their order, or of many the ones that are surely low."""
    if len(rows) <= ROWS:
        return rows
    supported = [row for row in rows if row.support]
    return sorted(supported, key=lambda row: (interval(row.recall).high, -row.support))[:ROWS]


def _best_rows(view: View, epoch: int | None) -> dict[int, ClassRow]:
    """Rows of the best epoch, when that is not the one shown and they were kept."""
    if view.best is None or view.best.epoch == epoch:
        return {}
    return view.classes_at(view.best.epoch, "val")


def _most_confused(stage: StageRecord) -> dict[int, Confusion]:
    """The most frequent wrong prediction of each class."""
    found: dict[int, Confusion] = {}
    for confusion in _confusions(stage):
        found.setdefault(confusion.target, confusion)
    return found


def _confusions(stage: StageRecord) -> list[Confusion]:
    """Confusions, largest first; read off the matrix where there is one, as that is complete."""
    if not stage.matrix:
        return list(stage.confusions)
    pairs = (
        Confusion(target=t, predicted=p, count=n)
        for t, row in enumerate(stage.matrix)
        for p, n in enumerate(row)
        if t != p and n
    )
    return sorted(pairs, key=lambda c: (-c.count, c.target, c.predicted))


def _line(
    view: View, row: ClassRow, other: ClassRow | None, best: dict[int, ClassRow], often: dict[int, Confusion]
) -> tuple[str, ...]:
    wrong = often.get(row.index)
    regions = not independent(view.history) and (view.history.context.classes or 0) <= REGIONS
    return (
        view.label(row.index),
        numbers.count(other.recall) if other is not None else "",
        (with_interval if independent(view.history) else numbers.count)(row.recall) or "no samples",
        _change(best.get(row.index), row),
        numbers.count(row.precision) or ("never predicted" if row.support and row.predicted == 0 else ""),
        numbers.percent(overlap(row)) if regions else "",
        Name(f"{view.label(wrong.predicted)} ({wrong.count:,}×)") if wrong is not None else "",
    )


def _change(before: ClassRow | None, now: ClassRow) -> str:
    """The change of recall: in samples where the support is the same, else in points."""
    if before is None or not before.support or not now.support:
        return ""
    if before.support == now.support:
        gained = now.correct - before.correct
        return "0" if gained == 0 else f"{'+' if gained > 0 else '−'}{abs(gained):,} of {now.support:,}"
    return numbers.points(now.recall.rate - before.recall.rate)


def _notes(view: View, stage: StageRecord, rows: list[ClassRow], shown: list[ClassRow]) -> Iterable[str]:
    supported = [row for row in rows if row.support]
    if shown and len(shown) < len(rows):
        rates = sorted(row.recall.rate for row in supported)
        yield (
            f"{len(shown)} of {len(rows):,} classes: those whose recall is surely lowest. Over all classes the median "
            f"recall is {numbers.percent(median(rates))}; {_at(rates, 0.0):,} have none right, {_at(rates, 1.0):,} all."
        )
    absent = len(stage.classes) - len(supported)
    if absent:
        yield f"{absent:,} of {len(stage.classes):,} classes have no sample in this evaluation."
    kept = view.best is not None and view.best is not view.final and not view.classes_at(view.best.epoch, "val")
    if kept and view.best is not None and stage is view.last_classes("val")[1]:
        yield f"No change is shown: the classes of the best epoch ({view.best.epoch}) were not recorded."


def _at(rates: list[float], value: float) -> int:
    return sum(1 for rate in rates if rate == value)


def groups(view: View) -> tuple[Block, ...]:
    """Accuracy of each group, and how far it lies from the rest."""
    found = next(((e, s) for e, s in reversed(view.history.stage("val")) if s.groups), None)
    if found is None:
        return ()
    rows = sorted(found[1].groups, key=lambda g: interval(g.correct).high)
    total = Count(k=sum(g.correct.k for g in rows), n=sum(g.correct.n for g in rows))
    single = independent(view.history)
    shown = with_interval if single else numbers.count
    lines = [(name(g.group), shown(g.correct), _gap(g.correct, total, tested=single)) for g in rows[:GROUPS]]
    columns = (Column("group"), Column(f"validation, epoch {found[0]}", numeric=True), Column("against the others"))
    note = f"{GROUPS} of {len(rows):,} groups: the lowest." if len(rows) > GROUPS else ""
    return (table(columns, lines, note=note),)


def _gap(group: Count, total: Count, *, tested: bool) -> str:
    """Points above or below the samples of all other groups, with Fisher's exact test unless answers depend on each other."""
    from lightning_diag.statistics import fisher

    rest = Count(k=total.k - group.k, n=total.n - group.n)
    if not rest.n or not group.n:
        return ""
    chance = f" ({p_text(fisher(group, rest))})" if tested else ""
    return f"{numbers.points(group.rate - rest.rate)}{chance}"


def confused_pairs(view: View) -> tuple[Block, ...]:
    """Which classes are taken for which, most often first."""
    stage = view.history.last_stage("val") or view.history.last_stage("train")
    pairs = _confusions(stage) if stage is not None else []
    drawn = "confusion" in view.figures and stage is not None and 0 < len(stage.matrix) <= NUMBERS_TO
    if stage is None or len(pairs) < 2 or drawn:  # a small matrix says it all
        return ()
    rows = {row.index: row for row in stage.classes}
    back = {(c.target, c.predicted): c.count for c in pairs}
    lines = [
        (
            view.label(c.target),
            view.label(c.predicted),
            _share(c, rows),
            numbers.integer(back.get((c.predicted, c.target), 0)),
        )
        for c in pairs[:PAIRS]
    ]
    times = "times" if view.history.last_stage("val") is not None else "times in training"
    columns = (
        Column("class"),
        Column("taken for"),
        Column(times, numeric=True),
        Column("the other way", numeric=True),
    )
    note = f"{PAIRS} of {len(pairs):,} pairs." if len(pairs) > PAIRS else ""
    return (table(columns, lines, note=note),)


def _share(confusion: Confusion, rows: dict[int, ClassRow]) -> str:
    row = rows.get(confusion.target)
    if row is None or row.support < confusion.count:
        return numbers.integer(confusion.count)
    return numbers.count(Count(k=confusion.count, n=row.support))
