"""The questions that many rules ask."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lightning_diag.history import PretrainFacts, SplitFacts
from lightning_diag.rules import RULES, gaps, reading
from tests.build import history


def test_trivial_answers_use_the_class_frequencies() -> None:
    run = history({"train/loss": [1.0]}, train={"class_counts": (90, 10)}, val={"class_counts": (80, 20)}, classes=2)
    assert reading.trivial_rate(run, "val") == 0.8
    assert reading.trivial_loss(run) == pytest.approx(-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)))
    unknown = history({"train/loss": [1.0]}, classes=4)
    assert reading.trivial_loss(unknown) == pytest.approx(math.log(4))
    assert reading.trivial_rate(unknown) == 0.25
    assert reading.trivial_loss(history({"train/loss": [1.0]})) is None


def test_trivial_loss_of_one_class_against_the_rest() -> None:
    model = {"loss_name": "binary_cross_entropy_with_logits"}
    run = history(
        {"train/loss": [1.0]}, train={"class_counts": (60, 20, 20)}, classes=3, task="multiclass", model=model
    )
    expected = -sum(p * math.log(p) + (1 - p) * math.log(1 - p) for p in (0.6, 0.2, 0.2)) / 3
    assert reading.trivial_loss(run) == pytest.approx(expected)


def test_learned_is_corrected_for_the_number_of_looks() -> None:
    once = history(counts={"val": [(19, 100)]}, classes=10)
    often = history(counts={"val": [(19, 100)] + [(10, 100)] * 60}, classes=10)
    assert reading.learned(once) is True
    assert reading.learned(often) is False
    assert reading.learned(history({"val/loss": [1.0]})) is None
    assert reading.learned(history({"val/loss": [2.3, 1.2]}, classes=10)) is True


def test_stuck_reads_ctc_by_its_trivial_loss() -> None:
    assert reading.stuck(history({"ctc/train/loss_ratio": [2.0, 1.0, 0.99]}, task="ctc")) is True
    assert reading.stuck(history({"ctc/train/loss_ratio": [2.0, 0.5, 0.2]}, task="ctc")) is False
    assert reading.stuck(history({"ctc/val/ter": [1.0, 1.0, 0.4]}, task="ctc")) is True
    assert reading.stuck(history({"train/loss": [1.0]})) is None


def test_one_odd_evaluation_does_not_decide() -> None:
    assert reading.late([5.0, 1.0, 1.1, 9.0]) == 1.1
    assert reading.late([2.0]) == 2.0


def test_validation_ahead_needs_eval_mode_or_a_plain_module() -> None:
    columns = {"train": [(300, 1000), (350, 1000), (360, 1000)], "val": [(280, 397), (300, 397), (310, 397)]}
    plain = history(counts=columns, classes=10, model={"dropout": False, "batch_norm": False})
    assert len(gaps.validation_ahead(plain, 0.05)) == 2, "the running accuracy of the following epoch is compared"
    dropout = history(counts=columns, classes=10, model={"dropout": True, "batch_norm": False})
    assert gaps.validation_ahead(dropout, 0.05) == []
    probe = history(counts={"probe": [(120, 400)] * 3, "val": columns["val"]}, classes=10, model={"dropout": True})
    assert len(gaps.validation_ahead(probe, 0.05)) == 3


def test_a_verdict_that_tells_nothing_is_no_verdict() -> None:
    assert reading.pretrained(history({"val/loss": [1.0]}, pretrain=PretrainFacts(verdict="cannot tell"))) is None
    assert reading.pretrained(history({"val/loss": [1.0]}, pretrain=PretrainFacts(verdict="loaded"))) is not None


def test_every_code_stands_for_one_word_of_the_benchmark() -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "fault_ids.json"
    words = json.loads(path.read_text(encoding="utf-8"))
    assert all(len(word) == 1 for word in words.values())
    assert {rule.code for rule in RULES} <= set(words)


def test_the_trivial_answer_to_training_is_that_to_what_was_drawn() -> None:
    """Under a balanced sampler nobody is right on 95 % of the draws by naming one class."""
    facts = {"class_counts": (1900, 100), "drawn_counts": (1010, 990), "sampler": "WeightedRandomSampler"}
    run = history({"train/loss": [0.7, 0.69]}, train=facts, val={"class_counts": (475, 25)}, classes=2)
    assert reading.trivial_rate(run, "train") == pytest.approx(0.505)
    assert reading.trivial_rate(run, "val") == pytest.approx(0.95)
    assert reading.loss_scale(run) == pytest.approx(math.log(2), abs=1e-3)


def test_what_a_sampler_draws_twice_is_no_copy() -> None:
    drawn = {"hashed": 2000, "distinct": 1264}
    assert SplitFacts(**drawn).copies == pytest.approx(0.368)
    assert SplitFacts(**drawn, sampler="RandomSampler", replacement=True).copies is None
    assert SplitFacts(**drawn, sampler="WeightedRandomSampler").copies is None, "a record that does not say"
    assert SplitFacts(**drawn, sampler="WeightedRandomSampler", replacement=False).copies == pytest.approx(0.368)
    assert SplitFacts().copies is None
