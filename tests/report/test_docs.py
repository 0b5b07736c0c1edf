"""The page that explains a report names what a report says."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from lightning_diag.engine import diagnose
from lightning_diag.findings import SEVERITIES
from lightning_diag.report import render_markdown
from lightning_diag.report.sections import SECTIONS
from lightning_diag.report.sections.status import ENDINGS, EVENTS
from lightning_diag.rules import RULES
from tests.seeds import seed1

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reading.md").read_text(encoding="utf-8")


def test_the_first_page_quotes_a_verdict_that_a_report_prints():
    run = seed1()
    verdict = render_markdown(run, diagnose(run)).split("\n\n")[1]
    lines = (DOCS / "index.md").read_text(encoding="utf-8").splitlines()
    assert " ".join(line[2:] for line in lines if line.startswith("> ")) == verdict


def test_every_status_word_is_explained():
    words = {
        "baseline",
        "drop",
        "recovering",
        "improving",
        "best",
        "best of this fit",
        "level",
        "overfitting",
        "diverged",
    }
    table = PAGE.split("| word |")[1].split("\n\n")[0]
    named = words | set(ENDINGS.values()) | set(EVENTS.values())
    assert not [word for word in named if word not in table]


def test_the_main_sections_and_severities_are_explained():
    titles = {key: title.split(",")[0] for key, title, _ in SECTIONS}
    for key in (
        "causes",
        "not_established",
        "epochs",
        "classes",
        "confusions",
        "samples",
        "plan",
        "clear",
        "not_checked",
        "configuration",
    ):
        assert titles[key] in PAGE, key
    assert all(f"`{severity}`" in PAGE for severity in SEVERITIES)


@pytest.mark.parametrize("report", sorted(DOCS.glob("gallery/*/diagnosis.md")), ids=lambda path: path.parent.name)
def test_a_report_of_the_gallery_counts_the_rules_of_now(report):
    """When it fails: ``python -m benchmarks.gallery`` writes the reports again."""
    text = report.read_text(encoding="utf-8")
    named = re.search(r"\| task \| (\w+)", text)
    task = named.group(1).lower() if named else None
    applicable = [rule.code for rule in RULES if fields(rule) and (not rule.tasks or task in {None, *rule.tasks})]
    line = text[text.index("**Thresholds**") :] if "**Thresholds**" in text else text
    shown = re.findall(r"(LD\d{3}):", line)
    assert len(shown) + int(re.search(r"(\d+) rules are in diagnosis", line).group(1)) == len(applicable)
