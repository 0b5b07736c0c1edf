"""Whatever was recorded, a report is written, and the same each time."""

from __future__ import annotations

import json

from hypothesis import given, settings

from lightning_diag.engine import diagnose
from lightning_diag.report import draw_figures, read_json, render_html, render_json, render_markdown
from tests.strategies import histories


@settings(max_examples=40)
@given(histories)
def test_every_history_has_a_report(history):
    diagnosis = diagnose(history)
    text = render_markdown(history, diagnosis)
    assert text == render_markdown(history, diagnosis)
    assert text.count("\n# ") == 0
    text.encode()
    page = render_html(history, diagnosis, {})
    assert page.count("<script") == 1
    found = read_json(render_json(history, diagnosis))
    assert [f.id for f in found.findings] == [f.code for f in diagnosis.findings]
    json.loads(render_json(history, diagnosis))


@settings(max_examples=12)
@given(histories)
def test_every_history_can_be_drawn(history):
    for content in draw_figures(history, diagnose(history)).values():
        assert content.startswith(b"<?xml")
