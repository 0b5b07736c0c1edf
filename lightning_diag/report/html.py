"""One self-contained page of the same report: no network, figures inside, sortable tables, fit for print."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from lightning_diag.findings import Diagnosis
from lightning_diag.history import RunHistory
from lightning_diag.report import escape
from lightning_diag.report.rendering import split_verdict
from lightning_diag.report.sections import build
from lightning_diag.report.view import View

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_PNG = b"\x89PNG"
_PROLOGUE = re.compile(r"\A.*?(?=<svg)", re.DOTALL)
_IDS = re.compile(r'(\bid="|href="#|url\(#)')


def render_html(history: RunHistory, diagnosis: Diagnosis, figures: Mapping[str, bytes]) -> str:
    """The report as one HTML page.

    Args:
        history: the run.
        diagnosis: its judgement.
        figures: as :func:`~lightning_diag.report.draw_figures` gives them, SVG or PNG.

    Returns:
        The page. Its content security policy allows its own style and its one script, by hash, and nothing else: no
        request leaves the page, and nothing inside a name or a figure can run.
    """
    pictures = {name: _picture(name, content) for name, content in figures.items()}
    report = build(View(history=history, diagnosis=diagnosis, figures=dict.fromkeys(figures, "")))
    first, rest = split_verdict(report.verdict)
    css, script = _asset("style.css"), _asset("sort.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _environment().get_template("diagnosis.html.jinja").render(
        report=report, first=first, rest=rest, pictures=pictures, css=css, script=script, script_hash=f"sha256-{digest}"
    )  # fmt: skip


@cache
def _environment() -> Environment:
    """Everything is escaped by jinja2; the filters only mark code spans and make invisible characters visible."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lightning_diag.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )  # fmt: skip
    environment.filters.update(prose=_prose, plain=escape.visible, lines=_lines)
    return environment


def _prose(text: str) -> Markup:
    from markupsafe import Markup

    inside = Markup("").join(
        Markup("<code>{}</code>").format(part) if code else part for code, part in escape.prose_parts(text)
    )
    return Markup("<bdi>{}</bdi>").format(inside) if isinstance(text, escape.Name) else inside


def _lines(text: str) -> str:
    return "\n".join(escape.visible(line) if line.strip() else "" for line in text.split("\n"))


@cache
def _asset(name: str) -> Markup:
    """A file of this package that goes into the page as it is."""
    from importlib.resources import files

    from markupsafe import Markup

    return Markup(files("lightning_diag.report").joinpath("templates").joinpath(name).read_text(encoding="utf-8"))  # noqa: S704  (our own file)


def _picture(name: str, content: bytes) -> Markup:
    """An SVG as an element, its identifiers made unique on the page; a PNG as a data address."""
    from markupsafe import Markup

    if content.startswith(_PNG):
        return Markup('<img alt="" src="data:image/png;base64,{}">').format(base64.b64encode(content).decode())
    svg = _PROLOGUE.sub("", content.decode())
    return Markup(_IDS.sub(lambda match: f"{match[1]}{name}-", svg))  # noqa: S704  (drawn by us; scripts are barred by policy)
