"""What holds for every rule, and for every page that explains one."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings

import lightning_diag.history as values
from lightning_diag.engine import diagnose
from lightning_diag.findings import Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules import RULES, Rule
from tests.build import NAMESPACE
from tests.healthy import HEALTHY
from tests.strategies import judged

PAGES = Path(__file__).parent.parent / "docs" / "rules"
SPACE = {**vars(values), **NAMESPACE}


def blocks(code: str, heading: str) -> list[str]:
    """The Python blocks of one section of a rule's page."""
    text = (PAGES / f"{code}.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"```python\n(.*?)```", section.group(1), re.DOTALL) if section else []


EXAMPLES = [
    (rule, heading, i, source)
    for rule in RULES
    if (PAGES / f"{rule.code}.md").exists()
    for heading in ("Fires", "Stays quiet")
    for i, source in enumerate(blocks(rule.code, heading))
]


@pytest.mark.parametrize(
    ("rule", "heading", "source"),
    [(r, h, s) for r, h, _, s in EXAMPLES],
    ids=[f"{r.code}-{h}-{i}" for r, h, i, _ in EXAMPLES],
)
def test_page_is_true(rule: type[Rule], heading: str, source: str) -> None:
    diagnosis = diagnose(eval(source, dict(SPACE)), rules=[rule()])
    assert not diagnosis.crashed
    assert not diagnosis.not_checked, "a page must show a history that the rule can judge"
    assert bool(diagnosis.findings) is (heading == "Fires")


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.code)
def test_rule_has_a_page_with_both_blocks_and_every_threshold(rule: type[Rule]) -> None:
    text = (PAGES / f"{rule.code}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {rule.code} {rule.name}\n")
    assert blocks(rule.code, "Fires")
    assert blocks(rule.code, "Stays quiet")
    assert [f.name for f in fields(rule) if f"`{f.name}` = {f.default}" not in text] == []


def test_codes_and_names_are_unique_and_in_order() -> None:
    codes = [rule.code for rule in RULES]
    assert codes == sorted(set(codes))
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(re.fullmatch(r"LD\d{3}", code) for code in codes)


def test_every_rule_file_is_registered() -> None:
    registered = {rule.__module__ for rule in RULES}
    folder = Path(__file__).parent.parent / "lightning_diag" / "rules"
    defines = {
        f"lightning_diag.rules.{f.stem}" for f in folder.glob("*.py") if "(Rule):" in f.read_text(encoding="utf-8")
    }
    assert defines == registered


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.code)
def test_empty_history_is_not_checked(rule: type[Rule]) -> None:
    diagnosis = diagnose(RunHistory(), rules=[rule()])
    assert [n.code for n in diagnosis.not_checked] == [rule.code]
    assert diagnosis.not_checked[0].reason


def test_findings_are_complete() -> None:
    found = [
        f
        for rule, heading, _, s in EXAMPLES
        if heading == "Fires"
        for f in diagnose(eval(s, dict(SPACE)), rules=[rule()]).findings
    ]
    for finding in found:
        _assert_complete(finding)


def _assert_complete(finding: Finding) -> None:
    where = f"{finding.code}: {finding.summary}"
    assert finding.title, where
    assert finding.summary.endswith((".", "?")), where
    assert finding.why, where
    assert finding.actions, where
    assert finding.next_test, where
    assert any(e.observed is not None for e in finding.evidence), where
    assert all(e.signal and e.text for e in (*finding.evidence, *finding.against)), where
    assert not re.search(r"\bnan\b|None|inf\b", " ".join([finding.summary, *(e.text for e in finding.evidence)])), where


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_is_quiet_and_says_so(name: str) -> None:
    before = repr(HEALTHY[name])
    diagnosis = diagnose(HEALTHY[name])
    assert [f for f in diagnosis.findings if f.severity != "info"] == []
    assert diagnosis.verdict.startswith("Nothing is wrong")
    assert not diagnosis.crashed
    assert repr(HEALTHY[name]) == before


@pytest.mark.parametrize("name", HEALTHY)
def test_each_rule_gives_one_answer_which_is_none_of_ctc_elsewhere(name: str) -> None:
    run = HEALTHY[name]
    for rule in RULES:
        diagnosis = diagnose(run, rules=[rule()])
        answers = [*diagnosis.findings, *diagnosis.clear, *diagnosis.not_checked, *diagnosis.crashed]
        excluded = bool(rule.tasks) and run.context.task is not None and run.context.task not in rule.tasks
        silent = excluded and (rule.tasks == ("ctc",) or run.context.task == "ctc")
        assert [answer.code for answer in answers] == ([] if silent else [rule.code])
        assert not excluded or len(answers) == len(diagnosis.not_checked)


@settings(max_examples=150)
@given(judged)
def test_random_histories_never_crash_a_rule(run: RunHistory) -> None:
    diagnosis = diagnose(run)
    assert diagnosis.crashed == ()
    assert diagnosis.verdict


def test_a_rule_without_a_check_cannot_be_made() -> None:
    class Empty(Rule):
        code, name = "LD000", "empty"

    with pytest.raises(TypeError, match="check"):
        Empty()
