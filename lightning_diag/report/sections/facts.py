"""The data of both splits, and what became of the pretrained weights."""

from __future__ import annotations

from lightning_diag.history import DataFacts, PretrainFacts, SplitFacts
from lightning_diag.report import numbers
from lightning_diag.report.document import Block, Bullets, Column, Figure, Item, Paragraph, Verbatim, table
from lightning_diag.report.escape import name, quoted
from lightning_diag.report.sections.causes import sentence
from lightning_diag.report.view import View, with_interval
from lightning_diag.rules.split_shift import SplitShift
from lightning_diag.rules.splits import compared
from lightning_diag.words import p as p_text

BLOCKS = 20
"""Blocks of a checkpoint that are listed; of more, those with the smallest equal share."""


def data(view: View) -> tuple[Block, ...]:
    """Both splits side by side, and how they relate."""
    facts = view.history.context.data
    left, right = _split(facts.train, view), _split(facts.val, view)
    rows = [(key, left.get(key, ""), right.get(key, "")) for key in left if left.get(key) or right.get(key)]
    columns = (Column(""), Column("training", numeric=True), Column("validation", numeric=True))
    blocks: list[Block] = [table(columns, rows)] if rows else []
    items = tuple(Item(text=text) for text in _relations(view) if text)
    return tuple([*blocks, Bullets(items=items)] if items else blocks)


def _split(split: SplitFacts, view: View) -> dict[str, str]:
    return {
        "samples": numbers.integer(split.size),
        "batches × batch size": f"{split.batches:,} × {split.batch_size:,}"
        if split.batches and split.batch_size
        else "",
        "order": _order(split),
        "smallest and largest class": _extremes(split.class_counts, view),
        "drawn in the first epoch": _extremes(split.drawn_counts, view)
        if split.drawn_counts != split.class_counts
        else "",
        "share of a batch's most common class": _purity(split),
        "values per sample": numbers.integer(split.features),
        "augmented": ""
        if split.augmented is None
        else "yes: a sample differs from fetch to fetch"
        if split.augmented
        else "no",
        "input mean ± std": _pair(split.input_mean, split.input_std, " ± "),
        "input range": _pair(split.input_min, split.input_max, " to "),
        "std of single features": _pair(split.feature_std_min, split.feature_std_max, " to "),
        "features that do not vary": numbers.percent(split.constant_features) if split.constant_features else "",
        "samples with NaN or infinite inputs": _of_sampled(split),
        "distinct among fingerprinted": _distinct(split),
    }


def _order(split: SplitFacts) -> str:
    shuffled = "" if split.shuffled is None else "shuffled" if split.shuffled else "fixed order"
    parts = (
        shuffled,
        name(split.sampler) if split.sampler else "",
        "drawn with replacement" if split.replacement else "",
        "last batch dropped" if split.drop_last else "",
    )
    return ", ".join(part for part in parts if part)


def _extremes(counts: tuple[int, ...], view: View) -> str:
    """``44 (pillow) to 81 (my_mouth_is_dry), 1.8 : 1``."""
    present = [(n, i) for i, n in enumerate(counts) if n]
    if len(present) < 2:
        return ""
    (low, at_low), (high, at_high) = min(present), max(present, key=lambda pair: (pair[0], -pair[1]))
    blank = view.history.context.ctc.blank if view.history.context.ctc else None
    empty = sum(not n and i != blank for i, n in enumerate(counts))
    without = f"; {empty:,} {'class' if empty == 1 else 'classes'} without a sample" if empty else ""
    if low == high:
        return f"{low:,} each{without}"
    return f"{low:,} ({view.label(at_low)}) to {high:,} ({view.label(at_high)}), {numbers.significant(high / low, 2)} : 1{without}"


def _purity(split: SplitFacts) -> str:
    if split.label_purity is None:
        return ""
    expected = (
        f" (shuffled: about {numbers.percent(split.purity_expected)})" if split.purity_expected is not None else ""
    )
    return f"{numbers.percent(split.label_purity)}{expected}"


def _pair(first: float | None, second: float | None, between: str) -> str:
    if first is None or second is None:
        return ""
    return f"{numbers.significant(first)}{between}{numbers.significant(second)}"


def _of_sampled(split: SplitFacts) -> str:
    if split.nonfinite_inputs is None or not split.sampled:
        return ""
    return f"{split.nonfinite_inputs:,} of {_sampled(split.sampled, split.size)}"


def _distinct(split: SplitFacts) -> str:
    if split.distinct is None or not split.hashed:
        return ""
    return f"{split.distinct:,} of {_sampled(split.hashed, split.size)}"


def _sampled(looked_at: int, size: int | None) -> str:
    """How many samples were looked at, and of how many where that is a part."""
    return f"{looked_at:,}{f', a part of the {size:,}' if size and looked_at < size else ''}"


def _relations(view: View) -> list[str]:
    facts, model = view.history.context.data, view.history.context.model
    trainable, size = model.trainable, facts.train.size
    per_sample = (
        f"{numbers.significant(trainable / size, 2)} trainable parameters per training sample."
        if trainable and size and not view.diagnosis.finding("LD602")  # which says it
        else ""
    )
    near = f"Validation samples that nearly equal a training sample: {with_interval(facts.near_overlap)}."
    return [
        per_sample,
        _overlap(view),
        near
        if facts.near_overlap and facts.near_overlap.n and facts.near_overlap != facts.overlap
        else "",  # copies are near, too
        _repeats(facts),
        _shift(view),
        _padding(view),
    ]


def _overlap(view: View) -> str:
    facts = view.history.context.data
    if facts.overlap is None or not facts.overlap.n:
        return ""
    chance = f", {numbers.percent(facts.overlap_expected)} by chance" if facts.overlap_expected else ""
    why = (
        " (few distinct inputs: some equal ones are expected by chance)" if facts.low_cardinality and not chance else ""
    )
    part = compared(view.history.context) if view.diagnosis.finding("LD603") is None else ""  # else the finding says it
    return f"Validation samples that are also in training: {with_interval(facts.overlap)}{chance}{why}.{part and f' {part}.'}"


def _repeats(facts: DataFacts) -> str:
    """Copies within validation, which count as samples of their own everywhere."""
    val = facts.val
    if val.distinct is None or not val.hashed or val.distinct >= val.hashed or facts.low_cardinality:
        return ""
    return (
        f"Within validation {val.hashed - val.distinct:,} of {val.hashed:,} samples repeat another one. Intervals and tests "
        "count them as independent, so that they are too narrow and too sure."
    )


def _shift(view: View) -> str:
    facts = view.history.context.data
    parts = [
        f"feature means differ by {numbers.significant(facts.shift_smd, 2)} standard deviations on average"
        if facts.shift_smd is not None
        else "",
        f"a classifier tells the splits apart with an AUC of {numbers.significant(facts.shift_auc, 2)} (0.5 or less: it cannot)"
        if facts.shift_auc is not None
        else "",
        _tested(view, facts.shift_pvalue) if facts.shift_pvalue is not None else "",
    ]
    text = ", ".join(part for part in parts if part)
    return f"Training against validation inputs: {text}." if text else ""


def _tested(view: View, p_value: float) -> str:
    """The two-sample test with the level that it is judged at, which is stricter than what p-values are often held against."""
    level = view.diagnosis.thresholds.get(SplitShift.code, {}).get("alpha", SplitShift().alpha)
    return f"two-sample test {p_text(p_value)} (the splits are called different below {level:g})"


def _padding(view: View) -> str:
    stage = view.history.last_stage("val")
    if stage is None:
        return ""
    repeated = "sample was" if stage.padded == 1 else "samples were"
    padded = f"{stage.padded:,} validation {repeated} repeated to make the ranks even." if stage.padded else ""
    partial = "" if stage.complete else "The last validation did not cover the whole loader."
    return " ".join(part for part in (padded, partial) if part)


def pretrained(view: View) -> tuple[Block, ...]:
    """The verdict with its reason, block by block, and the line that would load what was not loaded."""
    facts = view.history.context.pretrain
    if facts is None or (facts.verdict == "cannot tell" and not facts.checkpoint):
        return ()
    what = f"{quoted(facts.checkpoint, 100)} → {quoted(facts.module)}" if facts.checkpoint and facts.module else ""
    lead = f"{facts.verdict[:1].upper()}{facts.verdict[1:]}"
    blocks: list[Block] = [
        Paragraph(lead=f"{lead}.", text=" ".join(t for t in (sentence(what), sentence(facts.reason)) if t))
    ]
    drawn = "pretrained" in view.figures
    if drawn:
        blocks.append(Figure(name="pretrained", alt="share of each block that equals the checkpoint"))
    if "drift" in view.figures:
        blocks.append(
            Figure(name="drift", alt="relative distance from the checkpoint and cosine with it, by epoch and block")
        )
    items = tuple(Item(text=text) for text in _shares(facts) if text)
    blocks += [Bullets(items=items)] if items else []
    blocks += [_blocks(facts)] if facts.blocks and not drawn else []
    advised = (
        any(facts.fix in action for finding in view.diagnosis.findings for action in finding.actions)
        if facts.fix
        else False
    )
    if facts.fix and not advised:
        blocks += [
            Paragraph(text="This line loads it (tried on this checkpoint and module):"),
            Verbatim(text=facts.fix, language="python"),
        ]
    return tuple(blocks)


def _shares(facts: PretrainFacts) -> list[str]:
    whole = f" of {numbers.magnitude(facts.parameters)} parameters compared" if facts.parameters else ""
    numbers_of = [
        f"{numbers.percent(facts.equal)} equal the checkpoint" if facts.equal is not None else "",
        f"{numbers.percent(facts.aligned)} could be aligned by name" if facts.aligned is not None else "",
        f"cosine of the aligned weights {numbers.significant(facts.cosine)}" if facts.cosine is not None else "",
        f"relative distance {numbers.significant(facts.relative_l2)}" if facts.relative_l2 is not None else "",
    ]
    shares = "" if "%" in facts.reason else ", ".join(part for part in numbers_of if part)
    return [
        f"{shares}{whole}." if shares else "",
        "The checkpoint itself looks freshly initialised." if facts.checkpoint_untrained else "",
        "The module took part in no forward and got no gradient." if facts.used is False else "",
        f"{numbers.percent(facts.frozen)} of its parameters are frozen."
        if facts.frozen and "frozen" not in facts.reason
        else "",
        f"{numbers.percent(facts.not_in_optimizer)} of its trainable parameters are in no optimiser."
        if facts.not_in_optimizer
        else "",
        "Its running statistics differ from the checkpoint." if facts.statistics_equal is False else "",
        f"Not in the checkpoint, as meant: {_names(facts.new_parts)}." if facts.new_parts else "",
        f"Found in the checkpoint under {quoted(facts.checkpoint_key)}." if facts.checkpoint_key else "",
        f"Shapes differ: {_names(facts.head_mismatch)}." if facts.head_mismatch else "",
    ]


def _names(found: tuple[str, ...]) -> str:
    shown = ", ".join(name(n, 60) for n in found[:6])
    return f"{shown} and {len(found) - 6} more" if len(found) > 6 else shown


def _blocks(facts: PretrainFacts) -> Block:
    rows = sorted(facts.blocks, key=lambda b: b.equal)[:BLOCKS] if len(facts.blocks) > BLOCKS else facts.blocks
    lines = [(name(b.block, 60), numbers.magnitude(b.parameters), numbers.percent(b.equal)) for b in rows]
    note = f"{BLOCKS} of {len(facts.blocks):,} blocks: the least equal." if len(facts.blocks) > BLOCKS else ""
    return table(
        (Column("block"), Column("parameters", numeric=True), Column("equal to the checkpoint", numeric=True)),
        lines,
        note,
    )
