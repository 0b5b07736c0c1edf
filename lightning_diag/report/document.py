"""A report before it is written: sections of paragraphs, lists and tables, as frozen values.

The Markdown and the HTML page are two templates over one :class:`Report`, so that they cannot say different things.
Texts are prose or :class:`~lightning_diag.report.escape.Name`; nothing here is escaped yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_diag.findings import Claim, Severity


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """One paragraph of prose; ``lead`` is printed bold before it."""

    text: str
    lead: str = ""
    kind: str = "paragraph"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One entry of a list; ``lead`` is printed bold before it."""

    text: str
    lead: str = ""


@dataclass(frozen=True, kw_only=True)
class Bullets:
    """A list; ``ordered`` numbers it."""

    items: tuple[Item, ...]
    ordered: bool = False
    kind: str = "bullets"


@dataclass(frozen=True)
class Column:
    """A column; numbers are aligned to the right."""

    title: str
    numeric: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """The cells of one line; ``strong`` prints its last non-empty cell bold."""

    cells: tuple[str, ...]
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A bounded table; ``note`` says below it what was left out and why."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    kind: str = "table"


@dataclass(frozen=True, kw_only=True)
class Verbatim:
    """Lines shown in a fixed-width font: aligned decodes, a line of code that mends something."""

    text: str
    language: str = ""
    kind: str = "verbatim"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure by name; the renderer knows where it lies."""

    name: str
    alt: str
    kind: str = "figure"


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One finding as the report prints it.

    Attributes:
        rank: place among the causes; 0 for findings that are not ranked.
        seen: what was observed, empty where the verdict says it; speaks_for, against: further facts on either side, none
            said before.
        symptoms: findings that this one explains.
    """

    rank: int
    code: str
    name: str
    title: str
    severity: Severity
    claim: Claim
    confidence: float
    seen: str
    speaks_for: str = ""
    against: str = ""
    why: str = ""
    actions: tuple[str, ...] = ()
    next_test: str = ""
    symptoms: tuple[Item, ...] = ()
    kind: str = "cause"


Block = Paragraph | Bullets | Table | Verbatim | Figure | Cause


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands below it; a section without blocks is left out of the report."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The whole report; ``verdict`` is its first line after the heading."""

    title: str
    verdict: str
    sections: tuple[Section, ...]

    def section(self, key: str) -> Section | None:
        """The section ``key``, where it has content."""
        return next((s for s in self.sections if s.key == key), None)


def table(
    columns: tuple[Column, ...], rows: Sequence[tuple[str, ...]], note: str = "", strong: tuple[int, ...] = ()
) -> Table:
    """A table without the columns that no row fills (a column without a title, such as a status, is kept if filled)."""
    kept = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    lines = tuple(Row(cells=tuple(row[i] for i in kept), strong=at in strong) for at, row in enumerate(rows))
    return Table(columns=tuple(columns[i] for i in kept), rows=lines, note=note)
