"""The figure of the distance from a checkpoint."""

from xml.etree import ElementTree as ET

import pytest

from lightning_diag.findings import Diagnosis
from lightning_diag.history import PretrainFacts
from lightning_diag.report import draw_figures, render_markdown
from tests.build import history

pytest.importorskip("matplotlib")


def run(**series):
    values = {"val/loss": [1.0, 0.9, 0.8], **{name: list(column) for name, column in series.items()}}
    return history(values, pretrain=PretrainFacts(verdict="loaded", checkpoint="stage1.pt", equal=1.0))


def test_the_whole_and_the_blocks_that_moved_most_are_drawn():
    blocks = {f"pretrain/encoder.b{i}/relative_l2": (0.1, 0.1 * i, 0.2 * i) for i in range(8)}
    found = draw_figures(run(**{"pretrain/relative_l2": (0.1, 0.3, 0.5), **blocks}), Diagnosis(verdict=""))
    texts = {element.text for element in ET.fromstring(found["drift"]).iter() if element.tag.endswith("}text")}
    assert {"all", "encoder.b7", "encoder.b3"} <= texts
    assert "encoder.b2" not in texts


def test_one_epoch_has_no_course():
    assert "drift" not in draw_figures(run(**{"pretrain/relative_l2": (0.1,)}), Diagnosis(verdict=""))


def test_the_report_shows_it_where_it_was_drawn():
    seen = run(**{"pretrain/relative_l2": (0.1, 0.3, 0.5)})
    assert "drift.svg" in render_markdown(seen, Diagnosis(verdict="fine"), figures={"drift": "diagnosis/drift.svg"})


def test_the_cosine_has_a_panel_of_its_own():
    values = {
        "pretrain/relative_l2": (0.1, 0.3, 0.5),
        "pretrain/cosine": (1.0, 0.95, 0.9),
        "pretrain/enc/cosine": (1.0, 0.9, 0.8),
    }
    found = draw_figures(run(**values, **{"pretrain/enc/relative_l2": (0.1, 0.2, 0.3)}), Diagnosis(verdict=""))
    texts = [element.text for element in ET.fromstring(found["drift"]).iter() if element.tag.endswith("}text")]
    assert texts.count("enc") == texts.count("all") == 2
    assert "cosine with the checkpoint (1: unchanged, 0: unrelated)" in texts
