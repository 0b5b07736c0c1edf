"""CTC: the signals that tell an all-blank warm-up from a collapse, and what the calls of the loss showed."""

from __future__ import annotations

from lightning_diag.history import CTCFacts, EpochRecord
from lightning_diag.report import numbers
from lightning_diag.report.document import Block, Bullets, Column, Figure, Item, table
from lightning_diag.report.sections.causes import sentence
from lightning_diag.report.view import View
from lightning_diag.words import p as p_text

TOKENS = 20
"""Tokens named in a sentence."""

TOLD_BY = {
    "blank-in-targets": "LD402",
    "infeasible": "LD403",
    "probabilities": "LD404",
    "raw-scores": "LD404",
    "wrong-axis": "LD404",
    "axes-mixed": "LD401",
    "lengths-wrong": "LD405",
    "padding-counted": "LD409",
    "decoder-blank": "LD410",
}
"""The finding that says what a check of the loss call saw, with the advice."""

SIGNALS = (
    ("blank_share", "frames whose most likely output is the blank", True),
    ("blank_expected", "the same for one frame per token", True),
    ("emit_ratio", "emitted tokens per reference token", False),
    ("loss_ratio", "loss over that of the best output that ignores the input", False),
    ("sub", "wrong tokens per reference token", True),
    ("del", "missing tokens", True),
    ("ins", "surplus tokens", True),
    ("wer", "word error rate", True),
    ("cer", "character error rate", True),
    ("empty_share", "lines decoded to nothing", True),
    ("top_token_share", "share of the most frequent token among those emitted", True),
    ("distinct_tokens", "different tokens emitted", False),
    ("reference_tokens", "different tokens in the references", False),
)


def ctc(view: View) -> tuple[Block, ...]:
    """Signals at the first, best and last epoch, then the facts of the set-up."""
    facts = view.history.context.ctc
    blocks: list[Block] = [Figure(name="ctc", alt="blank share, emitted tokens, loss ratio and token error rate")]
    blocks = blocks if "ctc" in view.figures else []
    rows = _rows(view)
    if rows:
        note = f"Training: a sample, in the last epoch {view.training_lines}." if view.training_lines else ""
        blocks.append(table((Column(""), *_columns(view)), rows, note=note))
    items = tuple(Item(text=text) for text in _facts(view, facts) if text) if facts is not None else ()
    return tuple([*blocks, Bullets(items=items)] if items else blocks)


def _moments(view: View) -> list[EpochRecord]:
    """First, best and last record with CTC signals."""
    names = [key for key in view.history.signals() if key.startswith("ctc/")]
    records = [r for r in view.history.epochs if any(key in r.values for key in names)]
    wanted = [*records[:1], *([view.best] if view.best in records else []), *records[-1:]]
    return [r for at, r in enumerate(wanted) if r is not None and not any(r is w for w in wanted[:at])]


def _columns(view: View) -> tuple[Column, ...]:
    moments = [view.epoch_label(r) for r in _moments(view)]
    return tuple(Column(f"{stage}, epoch {at}", numeric=True) for stage in ("training", "validation") for at in moments)


def _rows(view: View) -> list[tuple[str, ...]]:
    moments = _moments(view)
    rows = []
    for key, text, percent in SIGNALS:
        put = numbers.percent if percent else lambda value: numbers.significant(value, 2)
        cells = [put(r.values.get(f"ctc/{stage}/{key}")) for stage in ("train", "val") for r in moments]
        if any(cells):
            rows.append((text, *cells))
    return rows


def _facts(view: View, facts: CTCFacts) -> list[str]:
    never = ", ".join(view.label(i) for i in facts.never_emitted[:TOKENS])
    more = f" and {len(facts.never_emitted) - TOKENS:,} more" if len(facts.never_emitted) > TOKENS else ""
    return [
        _blank(facts),
        f"The best output that ignores the input costs {numbers.significant(facts.trivial_loss)} nats per token."
        if facts.trivial_loss is not None else "",
        *(sentence(text) for word, text in facts.checks if not view.diagnosis.finding(TOLD_BY.get(word, ""))),
        _too_short(view, facts),
        f"Target tokens that equal the blank: {numbers.count(facts.blank_in_targets)}."
        if facts.blank_in_targets and facts.blank_in_targets.k and not view.diagnosis.finding("LD402") else "",
        f"Target tokens outside the output: {numbers.count(facts.out_of_range)}." if facts.out_of_range and facts.out_of_range.k else "",
        f"Never emitted on validation: {never}{more}." if never and not view.diagnosis.finding("LD411") else "",
        _confused(view, facts),
        _mapping(facts),
    ]  # fmt: skip


def _too_short(view: View, facts: CTCFacts) -> str:
    """How many lines have too few frames, where no finding says it."""
    if not facts.infeasible or not facts.infeasible.n or view.diagnosis.finding("LD403"):
        return ""
    return f"Lines with fewer frames than their tokens need: {numbers.count(facts.infeasible)}."


def _mapping(facts: CTCFacts) -> str:
    """What the mapping test said, where a map gained anything."""
    test = facts.mapping
    if test is None or test.chance is None:
        return ""
    return (
        f"Token error rate with the best other numbering of the tokens, learnt on other lines: {numbers.percent(test.after)} "
        f"instead of {numbers.percent(test.before)}; output that ignores its line gains as much with {p_text(test.p_value)}."
    )


def _blank(facts: CTCFacts) -> str:
    if facts.blank is None:
        return ""
    decoder = f", of the decoder {facts.decoder_blank}" if facts.decoder_blank is not None else ""
    classes = f" of {facts.classes:,} outputs" if facts.classes else ""
    inf = "" if facts.zero_infinity is None else f"; `zero_infinity={facts.zero_infinity}`"
    return f"Blank index of the loss {facts.blank}{classes}{decoder}{inf}."


def _confused(view: View, facts: CTCFacts) -> str:
    """The substitutions, where no table of confused tokens holds them."""
    stage = view.history.last_stage("val")
    if stage is not None and stage.confusions:
        return ""
    pairs = (f"{view.label(c.target)} → {view.label(c.predicted)} ({c.count:,}×)" for c in facts.confused_tokens[:8])
    text = ", ".join(pairs)
    return f"Most frequent substitutions: {text}." if text else ""
