"""Dense tasks: a million pixels of four images are four images."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_diag.comparison import Run, compare
from lightning_diag.engine import diagnose
from lightning_diag.history import Baseline, Count, RunHistory, Target
from lightning_diag.report import render_markdown
from lightning_diag.rules import falls
from lightning_diag.rules.independence import as_samples, differ
from lightning_diag.rules.training_set_too_small import TrainingSetTooSmall
from tests.build import history

PIXELS = 512 * 512
COURSE = [0.80, 0.90, 0.93, 0.928, 0.926, 0.925]


def run(images: int | None, rates=COURSE, train=None, n=4 * PIXELS, **context) -> RunHistory:
    """A segmentation run whose validation counted ``n`` pixels of ``images`` images."""
    counts = {"val": [(round(rate * n), n) for rate in rates]}
    counts |= {"train": [(round(rate * 10 * n), 10 * n) for rate in train]} if train else {}
    losses = {"val/loss": [1 - rate for rate in rates], "train/loss": [1.1 - rate for rate in rates]}
    facts = {"train": {"size": 40}, "val": {"size": images}}
    return history(losses, counts=counts, **{"task": "dense", "classes": 2, **facts, **context})


@pytest.mark.parametrize("task", ["dense", "binary"])
def test_half_a_point_of_four_images_is_not_established(task) -> None:
    """Also where the loss asks yes or no at each pixel: then there are more answers than samples."""
    dense = run(4, task=task)
    diagnosis = diagnose(dense)
    found = falls.fall(dense)
    assert found is not None
    assert found.p_value == 1.0
    text = render_markdown(dense, diagnosis)
    assert "p < 1e-6" not in text
    assert "51–100 %" in text
    assert "93.0–93.0" not in text
    assert diagnosis.finding("LD601").severity == "warning"
    assert not [f.code for f in diagnosis.findings if f.claim == "established"]
    assert "**drop**" not in text


def test_without_the_number_of_images_nothing_is_tested() -> None:
    text = render_markdown(dense := run(None), diagnose(dense))
    assert "No interval: the positions of one sample depend on each other" in text
    assert falls.fall(dense).p_value == 1.0
    assert "LD601" in [n.code for n in diagnose(dense).not_checked]


def test_a_fall_of_many_images_is_established() -> None:
    found = falls.fall(run(400, [0.5, 0.93, 0.6]))
    assert found is not None
    assert found.p_value < 1e-6
    assert "each of the 400 samples taken as one answer" in found.chance


@pytest.mark.parametrize("seed", range(3))
def test_the_test_is_too_careful_rather_than_too_bold(seed) -> None:
    """Images of one model differ as a beta distribution says; two sets of images of one model are equally good."""
    g, false = np.random.default_rng(seed), 0
    dense = run(30)
    for _ in range(200):
        first, second = (g.beta(0.9, 0.3, 30).mean() for _ in range(2))
        pair = [Count(k=round(rate * 30 * PIXELS), n=30 * PIXELS) for rate in (first, second)]
        false += differ(dense, *pair) < 0.05
    assert false <= 10


def test_a_gap_is_likely_at_most() -> None:
    gap = diagnose(run(40, [0.7, 0.75, 0.75], train=[0.8, 0.95, 0.99])).finding("LD203")
    assert gap is not None
    assert gap.claim == "likely"
    assert "(24–24)" not in gap.summary
    assert any("depend on each other" in fact.text for fact in gap.against)


def test_classes_of_pixels_are_judged_by_effect() -> None:
    rows = {"val": [(9000, 9600, 8900), (1000, 400, 300)]}
    rare = diagnose(
        history(rows=rows, task="dense", classes=2, train={"class_counts": (90_000, 10_000)}, val={"size": 20})
    )
    found = rare.finding("LD303")
    assert (found.severity, found.claim) == ("error", "likely")
    assert "p " not in found.summary
    lost = diagnose(history(rows={"val": [(9000, 9500, 8900), (500, 500, 300), (500, 0, 0)]}, task="dense", classes=3))
    assert lost.finding("LD302").claim == "likely"
    assert all(fact.p_value is None for fact in lost.finding("LD302").evidence)


def test_a_target_and_a_resume_are_judged_by_images() -> None:
    few = diagnose(run(8, target=Target(value=0.95)))
    assert few.finding("LD208") is None
    assert not [claim for claim in few.not_established if "target" in claim.claim]
    assert diagnose(run(400, [0.5, 0.6, 0.6], target=Target(value=0.95))).finding("LD208") is not None
    start = Baseline(source="given", correct=Count(k=round(0.93 * PIXELS), n=PIXELS))
    assert diagnose(run(4, [0.9, 0.91], baseline=start, resumed_epoch=0)).finding("LD503") is None
    assert diagnose(run(100, [0.4, 0.5], baseline=start, resumed_epoch=0)).finding("LD503") is not None


def test_other_tasks_count_as_they_did() -> None:
    count = Count(k=21, n=29)
    assert as_samples(history({"val/loss": [1.0]}, task="multiclass"), count) == count
    assert as_samples(run(4), Count(k=93, n=100)) == Count(k=4, n=4)
    assert as_samples(run(None), count) is None


def test_runs_over_pixels_are_compared_without_a_test() -> None:
    names = [Run(name=name, history=h, diagnosis=diagnose(h)) for name, h in (("a", run(4)), ("b", run(4, [0.8, 0.9])))]
    assert [(d.claim, d.p_value) for d in compare(names).differences] == [("not established", None)]


def test_recalls_of_pixels_have_no_interval() -> None:
    rows = {"val": [(9000, 9600, 8900), (1000, 400, 300)]}
    pixels, single = (history(rows=rows, task="binary", classes=2, val={"size": size}) for size in (20, 10_000))
    assert "300/1,000 = 30.0 % [" in render_markdown(single, diagnose(single))
    assert "300/1,000 = 30.0 % [" not in render_markdown(pixels, diagnose(pixels))


@pytest.mark.parametrize(
    ("size", "positions", "words", "found"),
    [(20, 65_536, 4, True), (6000, 1000, 50_000, False), (6000, 100, 50_000, True)],
)
def test_a_sample_with_many_positions_shows_many_classes(size, positions, words, found) -> None:
    """Twenty images show each class twenty times at most; six thousand texts of 1,000 tokens each word 120 times."""
    made = history(
        {"val/loss": [1.0]},
        counts={"train": [(size * positions // 2, size * positions)]},
        task="dense",
        classes=words,
        train={"size": size},
    )
    assert (diagnose(made, rules=[TrainingSetTooSmall()]).finding("LD602") is not None) is found


@pytest.mark.parametrize(("task", "unit"), [("dense", "positions"), ("multiclass", "samples")])
def test_classes_of_a_dense_task_are_counted_in_positions(task, unit) -> None:
    rows = {"val": [(1000, 1000, 900), (1000, 1000, 900)]}
    facts = {"task": task, "classes": 2, "val": {"size": 20 if task == "dense" else 2000}}
    for sizes, said in (((971, 1209), f"971 to 1,209 {unit} per class, 1.2 : 1"), ((5, 5), f"5 {unit} in each class")):
        clear = diagnose(history(rows=rows, train={"class_counts": sizes}, **facts)).clear
        assert [c.text for c in clear if c.code == "LD303"] == [said]
    found = diagnose(history(rows=rows, train={"class_counts": (100, 1000)}, **facts)).finding("LD303")
    assert found is not None
    assert f"100 to 1,000 training {unit} (10 : 1)" in found.summary
