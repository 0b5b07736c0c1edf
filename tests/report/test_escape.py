"""Names cannot break out of a cell, a sentence, a link or the page; read back with a real Markdown parser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_diag.findings import Diagnosis
from lightning_diag.report import escape, render_html, render_json, render_markdown
from tests.report import runs

parser = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"linkify": False})
ALLOWED = {
    "heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline", "bullet_list_open", "bullet_list_close",
    "ordered_list_open", "ordered_list_close", "list_item_open", "list_item_close", "table_open", "table_close", "thead_open",
    "thead_close", "tbody_open", "tbody_close", "tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close", "fence",
}  # fmt: skip
names = st.one_of(
    st.text(max_size=60), st.sampled_from(runs.HOSTILE), st.text(alphabet="|`*_~<>[]()!$\\#&;\n ab1.-", max_size=40)
)


def _plain(tokens):
    return "".join(
        t.content
        for token in tokens
        for t in (token.children or [])
        if t.type in {"text", "code_inline", "text_special"}
    )


@given(names)
def test_a_name_in_a_cell_is_that_name_and_one_cell(text):
    shown = escape.name(text)
    tokens = parser.parse(f"| a | b |\n|---|---|\n| {escape.cell(shown)} | x |\n")
    assert [t.type for t in tokens].count("td_open") == 2
    assert _plain(tokens[-9:]) in {f"{shown}x", f"{' '.join(shown.split())}x"}
    assert not {c.type for t in tokens for c in t.children or []} - {"text", "text_special"}


@given(names)
def test_a_name_in_a_sentence_opens_nothing(text):
    line = escape.markdown(f"class {text} and {text}")
    tokens = parser.parse(line)
    assert "\n" not in line
    kinds = {c.type for t in tokens for c in t.children or []}
    assert kinds <= {"text", "text_special", "code_inline", "hardbreak"}


@given(st.text(max_size=300))
def test_shown_text_has_no_character_that_acts(text):
    shown = escape.visible(text)
    assert shown.isprintable() or set(shown) & set("\u200c\u200d") or any(c.isspace() for c in shown)
    shown.encode("utf-8")


def test_a_hostile_run_gives_a_report_of_the_known_parts_only():
    text = render_markdown(runs.hostile(), runs.hostile_diagnosis(), figures={"curves": "a/b <c>.svg"})
    tokens = parser.parse(text)
    assert {t.type for t in tokens} <= ALLOWED
    inline = {c.type for t in tokens for c in t.children or []}
    assert inline <= {"text", "text_special", "strong_open", "strong_close", "code_inline", "image"}
    assert sum(c.type == "image" for t in tokens for c in t.children or []) == 1
    assert not {"\x1b", "\u202e", "\u200b", "\ud800"} & set(text)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(row.endswith("|") for row in rows)


def test_a_hostile_run_gives_valid_json_and_html():
    render_json(runs.hostile(), runs.hostile_diagnosis()).encode()
    page = render_html(runs.hostile(), runs.hostile_diagnosis(), {})
    assert page.count("<script") == 1
    assert "<b>bold" not in page
    page.encode()


def test_a_name_of_a_million_characters_is_bounded():
    history = runs.hostile()
    diagnosis = Diagnosis(verdict="x" * 1_000_000)
    assert len(render_markdown(history, diagnosis)) < 60_000
    assert len(escape.name("y" * 1_000_000)) == escape.NAME_WIDTH


def test_names_keep_their_start_and_end():
    assert escape.shorten("n01440764 tench, Tinca tinca, a freshwater fish", 20) == "n01440764 te…er fish"
    assert escape.quoted("a`b") == "`a'b`"


def test_equal_names_are_told_apart_by_their_number():
    from lightning_diag.history import RunContext, RunHistory
    from lightning_diag.report.view import View

    view = View(
        history=RunHistory(context=RunContext(class_names=("sign", "sign", "other"))), diagnosis=Diagnosis(verdict="")
    )
    assert [view.label(i) for i in range(4)] == ["sign (0)", "sign (1)", "other", "class 3"]
