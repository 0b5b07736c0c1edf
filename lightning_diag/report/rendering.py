"""The jinja2 environment of the reports: escaping at the place of writing, templates as package data."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from lightning_diag.report import escape

if TYPE_CHECKING:
    from jinja2 import Environment

_BLANK_LINES = re.compile(r"\n{3,}")
_FENCE = re.compile(r"`{3,}")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9`])")


@cache
def markdown_environment() -> Environment:
    """The environment of the Markdown templates; ``md``, ``cell``, ``strong``, ``fence`` and ``link`` escape."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lightning_diag.report"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701  (Markdown: the filters below escape; HTML has an environment of its own)
    )
    environment.filters.update(md=escape.markdown, cell=escape.cell, strong=strong, fence=fence, link=link)
    return environment


def strong(text: str, bold: bool = False) -> str:
    """A cell, bold where asked for and not empty."""
    shown = escape.cell(text)
    return f"**{shown}**" if bold and shown else shown


def fence(text: str, language: str = "") -> str:
    """Lines in a code block whose fence is longer than any run of backticks in them."""
    lines = [escape.visible(line) if line.strip() else "" for line in text.split("\n")]
    body = "\n".join(lines)
    mark = "`" * max(3, 1 + max((len(m) for m in _FENCE.findall(body)), default=0))
    return f"{mark}{language}\n{body}\n{mark}"


def link(path: str) -> str:
    """A relative path inside ``<...>`` of a link."""
    return escape.visible(path).replace("\\", "/").replace("<", "%3C").replace(">", "%3E")


def tidy(text: str) -> str:
    """At most one blank line in a row, none at the end."""
    return _BLANK_LINES.sub("\n\n", text).strip() + "\n"


def split_verdict(verdict: str) -> tuple[str, str]:
    """(first sentence, the rest): the first is printed bold."""
    first, *rest = _SENTENCE.split(verdict.strip(), maxsplit=1)
    return first, rest[0] if rest else ""
