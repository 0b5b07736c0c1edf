"""Schedules that throw the loss back on purpose, and those that do harm."""

from __future__ import annotations

import pytest

from lightning_diag.engine import diagnose
from lightning_diag.history import Baseline, Count
from lightning_diag.rules.climbs import climbs
from lightning_diag.rules.learning_rate_jump import LearningRateJump
from lightning_diag.rules.learning_rate_oscillation import LearningRateOscillation
from tests.build import history

CYCLE = [0.1, 0.07, 0.03, 0.001]


def oscillation(losses, lrs):
    return LearningRateOscillation().check(history({"val/loss": losses}, lrs=lrs))


def test_restarts_whose_cycles_each_win_are_no_oscillation() -> None:
    assert oscillation([2.3, 1.5, 1.0, 0.7, 1.2, 0.9, 0.6, 0.45, 0.8, 0.6, 0.4, 0.3], CYCLE * 3) is None


def test_restarts_whose_cycles_win_nothing_are() -> None:
    found = oscillation([2.3, 1.5, 1.0, 0.7, 1.8, 1.3, 0.9, 0.75, 1.7, 1.2, 0.9, 0.72], CYCLE * 3)
    assert "0 of the 2 cycles after the first reached a new best" in found.evidence[1].text


def test_a_last_cycle_cut_short_does_not_count() -> None:
    """Its high end is no sign of harm, and the cycles before it won."""
    assert oscillation([2.3, 1.5, 1.0, 0.7, 1.2, 0.9, 0.6, 0.45, 0.8], CYCLE * 2 + [0.1]) is None


def test_a_warm_up_over_several_epochs_is_one_climb() -> None:
    lrs = history(lrs=[1e-5, 1e-4, 1e-3, 1e-3, 1e-4, 1e-3]).series("lr")
    first, second = climbs(lrs, 3.0)
    assert (first.before, first.epoch, first.top, first.low, first.high) == (0, 1, 2, 1e-5, 1e-3)
    assert (second.before, second.epoch) == (4, 5)


WARM_UP = [1e-5, 1e-4, 1e-3, 1e-3, 1e-3, 1e-3]


def jump(losses, lrs=WARM_UP, **context):
    return LearningRateJump().check(history({"train/loss": losses}, lrs=lrs[: len(losses)], **context))


def test_a_bump_that_passes_is_no_jump_unless_the_run_was_resumed_there() -> None:
    passing = [1.8, 2.0, 2.7, 1.9, 1.2, 0.8]
    assert jump(passing) is None
    assert jump(passing, resumed_epoch=4) is None, "the resume was later"
    assert jump(passing, resumed_epoch=1).actions[0].startswith("resume with trainer.fit")


@pytest.mark.parametrize("losses", [[1.8, 2.0, 3.1, 3.0, 2.9, 2.8], [1.8, 2.0, 2.9]])
def test_a_loss_that_does_not_come_back_is_harm(losses) -> None:
    assert jump(losses) is not None


def test_the_rate_may_be_that_of_the_end_of_its_epoch() -> None:
    """The loss of the epoch of the rise was made with the old rate then: that it is low is no coming back."""
    assert jump([2.0, 1.0, 0.5, 0.45, 1.9, 1.5, 1.2], [1e-3] * 3 + [1e-1] * 4) is not None


def test_a_bump_in_the_last_epoch_so_far_may_still_pass() -> None:
    run = history({"train/loss": [1.8, 2.0, 2.7]}, lrs=WARM_UP[:3], stop={"status": "running"})
    diagnosis = diagnose(run, rules=[LearningRateJump()])
    assert "may come back" in diagnosis.not_checked[0].reason


def test_the_jump_is_said_once():
    found = jump([1.8, 2.0, 3.1, 3.0, 2.9, 2.8])
    assert found.summary.startswith(
        "The learning rate jumped during the run from 1e-5 to 0.001 (100 times) in epoch 1, "
    )
    assert found.summary.count("learning rate") == 1


STEEP = [2.3, 1.9, 1.5, 1.2, 0.95]
ONE_CYCLE = [0.004, 0.01, 0.007, 0.002, 4e-8]


@pytest.mark.parametrize(
    ("code", "stop"), [("LD205", {}), ("LD206", {"status": "stopped", "stopper": "EarlyStopping"})]
)
def test_to_train_longer_takes_a_new_schedule_where_the_old_one_is_over(code, stop) -> None:
    found = diagnose(history({"val/loss": STEEP}, classes=10, lrs=ONE_CYCLE, stop=stop)).finding(code)
    seen = " ".join(e.text for e in (*found.evidence, *found.against))
    assert "the learning rate came down to 4e-8 by then, < 0.01 % of its peak 0.01" in seen
    assert "a schedule planned for that length" in found.actions[0]
    assert found.next_test.startswith("from these weights, three epochs at 0.001, a tenth of the peak")


@pytest.mark.parametrize(
    ("lrs", "context"),
    [
        ([0.01] * 5, {}),
        ([0.01, 0.0001, 0.01, 0.004, 0.0001], {}),  # restarts: the rate rises again by itself
        (ONE_CYCLE, {"optim": {"scheduler": "CosineAnnealingWarmRestarts"}}),
        (None, {}),
    ],
)
def test_to_train_longer_takes_no_new_schedule_where_this_one_goes_on(lrs, context) -> None:
    found = diagnose(history({"val/loss": STEEP}, classes=10, lrs=lrs, **context)).finding("LD205")
    assert found.actions[0] == "train longer"
    assert "learning rate" not in found.summary


def test_the_peak_is_that_of_the_fit_and_not_of_the_one_it_was_resumed_from() -> None:
    run = history({"val/loss": STEEP}, classes=10, lrs=[0.1, 0.1, 0.001, 0.001, 0.001], resumed_epoch=2)
    assert diagnose(run).finding("LD205").actions[0] == "train longer"


def resumed(rate_after, first):
    """A resume that destroyed the model, with a schedule that moves within epochs."""
    return history(
        {"train/loss": [0.2, 0.19, 1.0, 0.9], "lr/first": [1e-3, None, first, None]},
        counts={"val": [(95, 100), (95, 100), (20, 100), (25, 100)]},
        lrs=[5e-4, 2e-4, rate_after, rate_after / 2],
        resumed_epoch=2,
        resumed_from="last.ckpt",
        baseline=Baseline(correct=Count(k=95, n=100), epoch=1, source="restored history"),
        optim={"scheduler": "OneCycleLR", "lr": 2e-4},
    )


def test_a_rate_that_falls_within_the_epoch_is_told_as_it_was_in_the_first_step():
    found = diagnose(resumed(1e-6, 0.02)).finding("LD503")
    texts = " ".join(fact.text for fact in found.evidence)
    assert "learning rate 0.02 in the first step, 1e-6 at the end of the epoch with OneCycleLR, 0.0002 before" in texts
    assert "no warm-up recorded" in texts
    actions = " ".join(found.actions)
    assert "the old learning rate (0.0002, not 0.02)" in actions
    assert "it came back as 0.0002 and was 0.02" in actions


def test_a_warm_up_that_came_back_with_the_checkpoint_is_called_neither_missing_nor_changed():
    found = diagnose(resumed(4e-4, 2e-4)).finding("LD503")
    texts = " ".join(fact.text for fact in found.evidence)
    assert "learning rate 0.0002 in the first step, 0.0004 at the end of the epoch" in texts
    assert "no warm-up" not in texts
    assert "came back as" not in " ".join(found.actions)
