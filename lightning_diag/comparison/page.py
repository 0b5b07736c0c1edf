"""``comparison.md``: several runs on one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from lightning_diag import statistics
from lightning_diag.comparison.values import Comparison, Difference, Folds, Score, Setting, Standing
from lightning_diag.history import Count
from lightning_diag.report.document import Block, Bullets, Column, Figure, Item, Paragraph, Report, Section, table
from lightning_diag.report.escape import name, quoted
from lightning_diag.report.markdown import document_markdown
from lightning_diag.report.sections.causes import sentence, words
from lightning_diag.words import listed, number, of, p, points

MAX_ROWS = 50
"""Rows of a table; of more runs the best are shown, and the page says so."""
MAX_COLUMNS = 6
"""Runs that get a column of their own among the settings."""


def render_comparison(comparison: Comparison, figures: Mapping[str, str] | None = None) -> str:
    """The comparison as Markdown.

    Args:
        comparison: of :func:`~lightning_diag.comparison.compare`.
        figures: name of a figure -> relative path it is linked under.
    """
    links = figures or {}
    sections = (
        Section(key="result", title="", blocks=_table(comparison)),
        Section(key="curves", title="", blocks=_figure(comparison) if links else ()),
        Section(key="folds", title="Mean over the folds", blocks=_folds(comparison)),
        Section(key="differences", title="Which differences are established", blocks=_differences(comparison)),
        Section(key="settings", title=_settings_title(comparison), blocks=_settings(comparison)),
        Section(key="findings", title="Findings by run", blocks=_findings(comparison)),
    )
    report = Report(
        title=f"Comparison of {len(comparison.standings)} runs",
        verdict=verdict(comparison),
        sections=tuple(section for section in sections if section.blocks),
    )
    return document_markdown(report, links)


def verdict(comparison: Comparison) -> str:
    """The first line: which run is best, and whether that is established."""
    best = comparison.best
    if best is None or best.best is None:
        return "None of the runs measured what the others are judged by."
    lead = f"The best {comparison.called} is {shown(comparison.signal, best.best)}, of {quoted(best.name)} in epoch {best.best.epoch}."
    tested = [d for d in comparison.differences if d.p_value is not None]
    sure = [d for d in tested if d.claim == "established"]
    if not comparison.differences:
        return f"{lead} No other run measured it."
    if not tested:
        why = (
            "the positions of one sample depend on each other"
            if best.best.dependent
            else "the runs give one number each"
        )
        return f"{lead} Whether that is more than chance cannot be tested: {why}."
    if not sure:
        return f"{lead} That it is better than any other run is not established."
    others = len(comparison.differences)
    which = "the other run" if others == 1 else f"{len(sure)} of {others} other runs"
    return f"{lead} It is established that it is better than {which}."


def shown(signal: str, score: Score | None) -> str:
    """``21/29 = 72 %``, or the number where nothing was counted."""
    if score is None:
        return ""
    return of(score.count) if score.count else _number(signal, score.value)


def _number(signal: str, value: float) -> str:
    """A rate in per cent with the digits that a log has, everything else as a number."""
    return f"{100 * value:.3g} %" if _is_rate(signal) and 0 <= value <= 1 else number(value)


def _interval(count: Count | None) -> str:
    if count is None:
        return ""
    interval = statistics.wilson(count)
    return f"{100 * interval.low:.0f}–{100 * interval.high:.0f} %"


def _table(comparison: Comparison) -> tuple[Block, ...]:
    columns = (
        Column("run"),
        Column(f"best {comparison.called}"),
        Column("95 % interval"),
        Column("epoch", numeric=True),
        Column("training then"),
        Column("at the end"),
        Column("evaluations", numeric=True),
        Column("findings"),
    )
    rows = [_row(comparison.signal, standing) for standing in comparison.standings[:MAX_ROWS]]
    blocks: list[Block] = [table(columns, rows, note=_more(len(comparison.standings)))]
    if comparison.optimism and comparison.optimism >= 0.005:
        text = (
            f"The best of {len(comparison.differences) + 1} runs is picked by chance too: even if all were equally good, it would "
            f"look up to {points(comparison.optimism)} better than it is."
        )
        blocks.append(Paragraph(text=text))
    return tuple(blocks)


def _row(signal: str, standing: Standing) -> tuple[str, ...]:
    best = standing.best
    return (
        name(standing.name),
        shown(signal, best) or "not measured",
        _interval(best.count if best else None),
        str(best.epoch) if best else "",
        shown(signal, standing.train),
        _end(signal, standing),
        str(standing.evaluations),
        listed(standing.codes, 4),
    )


def _end(signal: str, standing: Standing) -> str:
    """The last evaluation, unless it is the best one, which stands before."""
    same = standing.best is not None and standing.final is not None and standing.best.epoch == standing.final.epoch
    return "the best" if same else shown(signal, standing.final)


def _more(total: int) -> str:
    return f"The best {MAX_ROWS} of {total} runs." if total > MAX_ROWS else ""


def _figure(comparison: Comparison) -> tuple[Block, ...]:
    return (Figure(name="comparison", alt=f"{comparison.called} of the runs over epochs"),)


def _folds(comparison: Comparison) -> tuple[Block, ...]:
    folds = comparison.folds
    if folds is None:
        return ()
    mean = _number(comparison.signal, folds.mean)
    text = f"At the end of training, {comparison.called} is {mean} on average over {folds.n} folds{_fold_interval(comparison.signal, folds)}."
    items = [Item(text=text)]
    if folds.pooled:
        items.append(Item(text=f"All folds together: {of(folds.pooled)}, 95 % interval {_interval(folds.pooled)}."))
    best = _number(comparison.signal, folds.best_mean)
    items.append(
        Item(
            text=f"The mean of the folds' best epochs, {best}, is too good: each was picked on its own validation set."
        )
    )
    return (Bullets(items=tuple(items)),)


def _fold_interval(signal: str, folds: Folds) -> str:
    if folds.interval is None:
        return ""
    low, high = folds.interval.low, folds.interval.high
    text = f"{100 * low:.0f}–{100 * high:.0f} %" if _is_rate(signal) else f"{number(low)} to {number(high)}"
    return f" (95 % interval {text}, allowing for the training samples that folds share)"


def _is_rate(signal: str) -> bool:
    return signal.rpartition("/")[2] in {"acc", "balanced_acc", "macro_f1"}


def _differences(comparison: Comparison) -> tuple[Block, ...]:
    if not comparison.differences:
        return ()
    columns = (
        Column("best run against"),
        Column("difference", numeric=True),
        Column("claim"),
        Column("p"),
        Column("how"),
        Column("to settle it"),
    )
    rows = [_difference(comparison.signal, d) for d in comparison.differences[:MAX_ROWS]]
    tested = sum(d.p_value is not None for d in comparison.differences)
    note = (
        "p is corrected for the number of pairs of runs (Holm), because the best one was picked by what is tested."
        if tested > 1
        else ""
    )
    notes = [note, _more(len(comparison.differences)), _other_data(comparison)]
    return (table(columns, rows, note=" ".join(filter(None, notes))),)


def _other_data(comparison: Comparison) -> str:
    """Where the runs were not asked the same question; folds have validation sets of their own."""
    asked = [s for s in comparison.settings if s.name in {"classes", "val size"} and len(set(s.values.values())) > 1]
    if not asked or comparison.folds:
        return ""
    what = listed(["number of classes" if s.name == "classes" else "size of the validation set" for s in asked])
    return f"The runs differ in the {what}: a difference is one of data and model together."


def _difference(signal: str, difference: Difference) -> tuple[str, ...]:
    amount = points(difference.amount) if _is_rate(signal) else number(difference.amount)
    return (
        name(difference.other),
        amount,
        difference.claim,
        p(difference.p_value) if difference.p_value is not None else "",
        difference.method,
        f"about {statistics.rounded_up(difference.needed):,} samples each" if difference.needed else "",
    )


def _settings_title(comparison: Comparison) -> str:
    return "Settings that differ" if len(comparison.standings) <= MAX_COLUMNS else "What the best run did differently"


def _settings(comparison: Comparison) -> tuple[Block, ...]:
    names = [standing.name for standing in comparison.standings]
    if not comparison.settings:
        return ()
    if len(names) <= MAX_COLUMNS:
        columns = (Column("setting"), *(Column(name(n)) for n in names))
        rows = [(name(s.name), *(_value(s, n) for n in names)) for s in comparison.settings[:MAX_ROWS]]
    else:
        columns = (Column("setting"), Column("best run"), Column("the others"))
        rows = [(name(s.name), _value(s, names[0]), _others(s, names[1:])) for s in comparison.settings[:MAX_ROWS]]
    left = len(comparison.settings) - MAX_ROWS
    return (table(columns, rows, note=f"{left} more settings differ." if left > 0 else ""),)


def _value(setting: Setting, run: str) -> str:
    return name(setting.values[run]) if run in setting.values else "–"


def _others(setting: Setting, runs: list[str]) -> str:
    values = Counter(setting.values.get(run, "–") for run in runs)
    shown_values = [f"{quoted(value, 24)} × {count}" for value, count in values.most_common(3)]
    return ", ".join(shown_values) + (f" and {len(values) - 3} more" if len(values) > 3 else "")


def _findings(comparison: Comparison) -> tuple[Block, ...]:
    total = len(comparison.standings)
    known = [
        f"{words(finding)} ({code}, {len(runs)} of {total} runs)" for (code, finding), runs in comparison.known.items()
    ]
    worth = (Paragraph(lead="Worth knowing", text=f"{sentence(listed(known, 5))}"),) if known else ()
    if not comparison.findings:
        none = "No run has an error or a warning." if known else "No run has a finding."
        return (Paragraph(text=none), *worth)
    rows = [
        (code, words(finding), f"{len(runs)} of {total}", listed([quoted(r, 24) for r in runs], 5))
        for (code, finding), runs in comparison.findings.items()
    ]
    return (table((Column("code"), Column("finding"), Column("runs"), Column("")), rows), *worth)
