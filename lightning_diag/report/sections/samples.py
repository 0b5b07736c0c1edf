"""Some predictions beside their references: the surest mistakes; for CTC the decodes aligned token by token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lightning_diag.history import Sample
from lightning_diag.report import numbers
from lightning_diag.report.document import Block, Column, Paragraph, Verbatim, table
from lightning_diag.report.escape import shorten, visible
from lightning_diag.report.view import View, with_interval

SAMPLES = 12
"""Predictions of a classifier that are listed."""
LINES = 6
"""Decoded lines that are listed; each takes three lines of text."""
TOKENS = 24
"""Tokens of a line that are shown."""
TOKEN_WIDTH = 14
ROLES = {"surest mistake": "Wrong predictions, the surest first"}
"""What a role says of a whole table."""


class Errors(NamedTuple):
    """Edit operations that turn a reference into a hypothesis."""

    substituted: int
    deleted: int
    inserted: int

    @property
    def total(self) -> int:
        """Number of errors."""
        return sum(self)


Pair = tuple[int | None, int | None]


def samples(view: View) -> tuple[Block, ...]:
    """A table for classes, aligned lines for sequences."""
    found = view.history.context.samples
    if not found:
        return ()
    if view.history.context.task == "ctc" or any(
        len(s.reference) > 1 or (s.confidence is None and s.loss is None) for s in found
    ):
        return tuple(_sequences(view, found))
    return (_predictions(view, found),)


def _predictions(view: View, found: tuple[Sample, ...]) -> Block:
    roles = {s.role for s in found[:SAMPLES]}
    told = len(roles) > 1  # one role for all stands below the table, not in every row
    rows = [
        (str(s.index), _labels(view, s.reference), _labels(view, s.prediction), numbers.percent(s.confidence),
         numbers.significant(s.loss), s.role if told else "")
        for s in found[:SAMPLES]
    ]  # fmt: skip
    columns = (
        Column("sample", numeric=True), Column("reference"), Column("prediction"), Column("probability", numeric=True),
        Column("loss", numeric=True), Column("why shown"),
    )  # fmt: skip
    notes = [f"{ROLES[role]}." for role in roles if not told and role in ROLES]
    notes += [f"{SAMPLES} of {len(found):,} recorded."] if len(found) > SAMPLES else []
    return table(columns, rows, note=" ".join(notes))


def _labels(view: View, indices: tuple[int, ...]) -> str:
    return view.label(indices[0]) if len(indices) == 1 else ", ".join(view.label(i) for i in indices[:4]) or "(none)"


def _sequences(view: View, found: tuple[Sample, ...]) -> Iterator[Block]:
    stage = view.history.last_stage("val")
    exact = with_interval(stage.correct) if stage is not None and view.history.context.task == "ctc" else ""
    if exact:
        yield Paragraph(text=f"Lines decoded without an error: {exact}.")
    yield Verbatim(text="\n\n".join(_aligned(view, sample) for sample in found[:LINES]))
    if len(found) > LINES:
        yield Paragraph(text=f"{LINES} of {len(found):,} recorded.")


def _aligned(view: View, sample: Sample) -> str:
    pairs, errors = align(sample.reference, sample.prediction)
    columns = [_column(view, pair) for pair in pairs[:TOKENS]]
    more = f" … {len(pairs) - TOKENS} more" if len(pairs) > TOKENS else ""
    lines = (" ".join(cell).rstrip() for cell in zip(*columns, strict=True)) if columns else ("", "", "")
    heads = ("reference   ", "hypothesis  ", "errors      ")
    body = "\n".join(
        f"{head}{line}{more if at < 2 else ''}".rstrip()
        for at, (head, line) in enumerate(zip(heads, lines, strict=True))
    )
    role = f" · {visible(sample.role)}" if sample.role else ""
    loss = f" · loss {numbers.significant(sample.loss)}" if sample.loss is not None else ""
    return f"sample {sample.index}{role}{loss} · {_tally(errors, len(sample.reference))}\n{body}"


def _tally(errors: Errors, tokens: int) -> str:
    if not errors.total:
        return f"all {tokens} tokens right"
    kinds = ((errors.substituted, "wrong"), (errors.deleted, "missing"), (errors.inserted, "too many"))
    return f"{errors.total} error{'s' if errors.total > 1 else ''} on {tokens} token{'s' if tokens != 1 else ''} ({', '.join(f'{n} {kind}' for n, kind in kinds if n)})"


def _column(view: View, pair: Pair) -> tuple[str, str, str]:
    """The two tokens and the error mark, padded to one width; ``*`` stands where a token is missing."""
    reference, hypothesis = (_token(view, index) for index in pair)
    mark = "" if pair[0] == pair[1] else "I" if pair[0] is None else "D" if pair[1] is None else "S"
    width = max(len(reference), len(hypothesis), 1)
    return reference.ljust(width), hypothesis.ljust(width), mark.ljust(width)


def _token(view: View, index: int | None) -> str:
    if index is None:
        return "*"
    names = view.history.context.class_names
    text = names[index] if 0 <= index < len(names) else str(index)
    return shorten(visible(text).replace(" ", "␣") or "␣", TOKEN_WIDTH)


def align(reference: tuple[int, ...], hypothesis: tuple[int, ...]) -> tuple[list[Pair], Errors]:
    """Reference and hypothesis beside each other with as few errors as possible (Levenshtein).

    Returns:
        Pairs of tokens, None where one side has none, and the number of errors of each kind.
    """
    from rapidfuzz.distance import Levenshtein

    pairs: list[Pair] = []
    wrong = missing = extra = 0
    for step in Levenshtein.opcodes(reference, hypothesis):
        left: list[int | None] = list(reference[step.src_start : step.src_end])
        right: list[int | None] = list(hypothesis[step.dest_start : step.dest_end])
        wrong += len(left) if step.tag == "replace" else 0
        missing += len(left) if step.tag == "delete" else 0
        extra += len(right) if step.tag == "insert" else 0
        size = max(len(left), len(right))
        pairs += zip(left + [None] * (size - len(left)), right + [None] * (size - len(right)), strict=True)
    return pairs, Errors(wrong, missing, extra)
