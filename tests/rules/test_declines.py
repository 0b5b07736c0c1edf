"""A rule that declines to look says *not checked*, never *clear*; one that had no sign to look at is clear."""

from __future__ import annotations

import pytest

from lightning_diag.engine import diagnose
from lightning_diag.history import Count
from lightning_diag.rules import RULES
from tests.build import history

AHEAD = {"probe": [(220, 400), (240, 400), (250, 400)], "val": [(300, 397), (340, 397), (350, 397)]}
RUNNING = {"train": AHEAD["probe"], "val": AHEAD["val"]}
NEGATIVE = {"train/loss": [1.0, 0.2, -0.5, -1.0, -1.2, -1.5], "val/loss": [1.0, 0.3, -0.9, -0.7, -0.3, 0.9]}
SIGN = {"train/loss": [2.3, 9.0, 20.0], "loss/first": [-2.3]}
SHIFTED = {"input_mean": 4.9, "input_std": 6.0}
DECLINED = {
    "sign of a loss of unknown kind": ("LD116", "not known", history(SIGN)),
    "sign, without a course": ("LD116", "no course", history({"train/loss": [2.3], "loss/first": [-2.3]}, task="binary")),
    "rise of a log-likelihood": ("LD201", "not positive", history(NEGATIVE, task="regression")),
    "label noise, augmented": ("LD606", "augmented", history(counts=AHEAD, classes=10, train={"augmented": True})),
    "label noise, dropout and no probe": (
        "LD606", "eval mode", history(counts=RUNNING, classes=10, model={"dropout": True}),
    ),
    "leak of few values": (
        "LD603", "few distinct values",
        history({"val/loss": [1.0]}, data={"overlap": Count(k=9, n=30), "low_cardinality": True}),
    ),
    "leak of everything": ("LD603", "LD605", history({"val/loss": [1.0]}, data={"overlap": Count(k=30, n=30)})),
    "leak of nothing": ("LD603", "fingerprinted", history({"val/loss": [1.0]}, data={"overlap": Count(k=0, n=0)})),
    "same set, few values": (
        "LD605", "few distinct values",
        history({"val/loss": [1.0]}, data={"overlap": Count(k=30, n=30), "low_cardinality": True}),
    ),
    "same set, few samples": ("LD605", "at least 5", history({"val/loss": [1.0]}, data={"overlap": Count(k=4, n=4)})),
    "batches of one class anyway": (
        "LD612", "too much", history({"batch/purity": [0.96]}, train={"label_purity": 0.96, "purity_expected": 0.95}),
    ),
    "shift, augmented": (
        "LD604", "augmented",
        history(counts=AHEAD, train={"input_mean": 0.3, "input_std": 0.38, "augmented": True}, val=SHIFTED, classes=10),
    ),
    "slight shift, augmented": (
        "LD604", "augmented",
        history(
            counts=AHEAD, classes=10, data={"shift_auc": 0.66, "shift_pvalue": 0.002},
            train={"input_mean": 0.3, "input_std": 0.38, "augmented": True}, val={"input_mean": 0.3, "input_std": 0.37},
        ),
    ),
}  # fmt: skip


def answer(code, run):
    rule = next(rule for rule in RULES if rule.code == code)
    diagnosis = diagnose(run, rules=[rule()])
    assert not diagnosis.crashed
    return diagnosis


@pytest.mark.parametrize(("code", "reason", "run"), DECLINED.values(), ids=DECLINED)
def test_what_was_not_looked_at_is_not_clear(code, reason, run) -> None:
    diagnosis = answer(code, run)
    assert not diagnosis.clear
    assert [n.code for n in diagnosis.not_checked] == [code]
    assert reason in diagnosis.not_checked[0].reason


@pytest.mark.parametrize(
    ("code", "run"),
    [
        ("LD116", history({"train/loss": [2.3, 1.0], "loss/first": [2.4]})),
        ("LD201", history({"train/loss": [1.0, 0.2, -0.5], "val/loss": [1.0, 0.3, -0.4]}, task="regression")),
        ("LD603", history({"val/loss": [1.0]}, data={"overlap": Count(k=0, n=30), "low_cardinality": True})),
        ("LD605", history({"val/loss": [1.0]}, data={"overlap": Count(k=3, n=30), "low_cardinality": True})),
        ("LD606", history(counts={"probe": [(380, 400)] * 3, "val": [(370, 400)] * 3}, train={"augmented": True})),
    ],
)
def test_a_sign_that_is_absent_is_clear(code, run) -> None:
    assert [c.code for c in answer(code, run).clear] == [code]


def test_a_loss_that_may_be_negative_is_asked_for_no_sign() -> None:
    diagnosis = answer("LD116", history(SIGN, task="regression"))
    assert not diagnosis.findings
    assert not diagnosis.clear
    assert [outcome.reason for outcome in diagnosis.not_checked] == ["made for class labels, and a regression has none"]


def test_a_handful_of_samples_that_are_all_copies_leak() -> None:
    """Too few for *the same set*, and enough for a leak: 4 of 4 where 1 % is tolerated."""
    assert answer("LD603", history({"val/loss": [1.0]}, data={"overlap": Count(k=4, n=4)})).findings


def test_a_loss_of_unknown_kind_is_only_known_to_be_finite() -> None:
    clear = answer("LD101", history({"train/loss": [2.3, 1.9, 400.0]})).clear
    assert "nothing tells whether it exploded" in clear[0].text
