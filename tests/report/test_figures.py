"""Figures: which there are, that they are valid, the same each time, and leave matplotlib as it was."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from lightning_diag.findings import Diagnosis
from lightning_diag.history import EpochRecord, RunHistory
from lightning_diag.report import draw_figures, figures
from lightning_diag.report.figures.curves import _line
from lightning_diag.report.figures.style import DARK, apart
from lightning_diag.report.view import View
from tests.report import runs

CASES = {
    "resumed": {"curves", "recall", "confusion", "stopping"},
    "sequences": {"curves", "ctc", "pretrained"},
    "healthy": {"curves", "recall", "confusion"},
}


@pytest.fixture(scope="module")
def drawn():
    return {name: draw_figures(getattr(runs, name)(), Diagnosis(verdict="")) for name in (*CASES, "hostile")}


@pytest.mark.parametrize("name", CASES)
def test_only_figures_with_content_are_drawn(name, drawn):
    assert set(drawn[name]) == CASES[name]


def test_every_svg_is_well_formed_has_a_dark_variant_and_no_script(drawn):
    for found in drawn.values():
        for svg in found.values():
            tags = {element.tag.rsplit("}", 1)[-1] for element in ET.fromstring(svg).iter()}
            assert "style" in tags
            assert not tags & {"script", "foreignObject", "a"}
            assert b"prefers-color-scheme:dark" in svg


def test_names_of_a_run_are_text_in_a_figure(drawn):
    root = ET.fromstring(drawn["hostile"]["confusion"])
    texts = {e.text for e in root.iter() if e.tag.endswith("}text")}
    assert "<b>bold</b>" in texts
    assert "$x^2$ and $y$" in texts


def test_the_same_run_gives_the_same_bytes_whatever_style_the_user_has_set(drawn):
    import matplotlib as mpl

    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "svg.fonttype": "path"}):
        again = draw_figures(runs.healthy(), Diagnosis(verdict=""))
        assert mpl.rcParams["font.size"] == 30
    assert again == drawn["healthy"]


def test_every_colour_of_a_figure_has_a_dark_one(drawn):
    import re

    used = {
        c
        for found in drawn.values()
        for svg in found.values()
        for c in re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", svg.decode())
    }
    assert used <= set(DARK) | {"#fefefe", "#000000"}


def test_texts_can_be_read_on_their_paper():
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(a, b):
        high, low = sorted((luminance(a), luminance(b)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    paper = figures.style.PAPER
    for light, dark in DARK.items():
        if light != paper:
            assert contrast(light, paper) >= 3.3, light
            assert contrast(dark, DARK[paper]) >= 4.5, dark


def test_png_on_request():
    found = draw_figures(runs.sequences(), Diagnosis(verdict=""), format="png")
    assert found["pretrained"].startswith(b"\x89PNG")


def test_without_epochs_or_without_matplotlib_there_are_none(monkeypatch):
    assert draw_figures(RunHistory(), Diagnosis(verdict="")) == {}
    assert (
        draw_figures(RunHistory(epochs=(EpochRecord(epoch=0, values={"val/loss": 1.0}),)), Diagnosis(verdict="")) == {}
    )
    monkeypatch.setattr(figures, "find_spec", lambda name: None)
    assert draw_figures(runs.healthy(), Diagnosis(verdict="")) == {}


def test_values_that_are_not_finite_are_marked_not_drawn():
    values = [
        {"train/loss": 1.0, "val/loss": 2.0},
        {"train/loss": float("nan"), "val/loss": float("inf")},
        {"train/loss": 0.5},
    ]
    history = RunHistory(epochs=tuple(EpochRecord(epoch=i, values=v) for i, v in enumerate(values)))
    assert b"not finite" in draw_figures(history, Diagnosis(verdict=""))["curves"]


@pytest.mark.parametrize("epochs", [8, 300], ids=["few", "many"])
def test_a_line_ends_where_a_value_is_not_finite_and_goes_on_behind_it(epochs):
    """Every finite value is drawn, and nothing between two of them that were not measured one after the other."""
    from matplotlib.figure import Figure

    nan = float("nan")
    broken = {2, 4, 5}  # epoch 3 stands alone
    losses = [nan if i in broken else 1.0 / (i + 1) for i in range(epochs)]
    run = RunHistory(epochs=tuple(EpochRecord(epoch=i, values={"val/loss": v}) for i, v in enumerate(losses)))
    axes = Figure().subplots()
    view = View(history=run, diagnosis=Diagnosis(verdict=""))
    _line(axes, view.stretches("val/loss"), "black")
    lines = [(line.get_xdata(), line.get_marker()) for line in axes.lines]
    assert [len(x) for x, _ in lines][:2] == [2, 1]
    assert lines[1][1] == "o", "a point alone needs a mark to be seen"
    assert min(lines[2][0]) >= 6
    assert sum(len(stretch) for stretch in view.stretches("val/loss")) == len(view.points("val/loss")) == epochs - 3


def test_a_hundred_classes_have_a_row_each_and_a_thousand_do_not_fill_the_disk():
    found = draw_figures(runs.many_classes(epochs=12), Diagnosis(verdict=""))
    assert found["recall"].count(b"sign_") == 100
    assert max(map(len, draw_figures(runs.large(epochs=300), Diagnosis(verdict="")).values())) < 200_000


def test_pyplot_is_never_imported():
    code = (
        "import sys; from tests.report import runs; from lightning_diag.findings import Diagnosis;"
        "from lightning_diag.report import draw_figures; assert 'matplotlib' not in sys.modules;"
        "assert draw_figures(runs.sequences(), Diagnosis(verdict='')); assert 'matplotlib.pyplot' not in sys.modules;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_labels_are_moved_apart():
    assert apart([0, 0, 50], 10) == [-5, 5, 50]
    assert apart([0, 30], 10) == [0, 30]
    assert apart([0, 2], 10, floor=5) == [5, 15]


def test_several_evaluations_of_one_epoch_have_places_of_their_own():
    from lightning_diag.report.view import View

    view = View(history=runs.several_evaluations(), diagnosis=Diagnosis(verdict=""))
    assert view.points("val/acc").x[:5] == (-0.75, -0.5, -0.25, 0.0, 0.25)
    assert view.points("train/loss").x == (0.0, 1.0, 2.0)
    assert set(draw_figures(view.history, view.diagnosis)) == {"curves"}


def test_a_figure_that_fails_costs_that_figure_and_one_warning(monkeypatch):
    def fail(view):
        raise ZeroDivisionError("of the test")

    monkeypatch.setitem(figures.FIGURES, "curves", fail)
    with pytest.warns(RuntimeWarning, match=r"'curves' could not be drawn \(ZeroDivisionError: of the test\)"):
        assert set(draw_figures(runs.sequences(), Diagnosis(verdict=""))) == {"ctc", "pretrained"}
