"""Decisions in words: each says what it was measured by, and none contradicts itself."""

from dataclasses import replace

import pytest

from lightning_diag.engine import diagnose
from lightning_diag.history import EpochRecord, Paired, RunHistory, StageRecord, StopFacts
from lightning_diag.report import render_markdown
from lightning_diag.report.figures.curves import _marks
from lightning_diag.report.sections.status import statuses
from lightning_diag.report.view import View
from lightning_diag.stopping import Evaluation, JointCriterion, StoppingCriterion, compared, replay
from lightning_diag.stopping.wording import FACTS, apart, stalled_or_improving
from tests.build import history

NOISE = ("below best 5, noise", -0.8)
WAIT = ("wait of rest", -0.9)


def test_probabilities_are_printed_apart():
    assert apart(0.17, 0.28) == ("17 %", "28 %")
    assert apart(0.2791, 0.2834) == ("27.9 %", "28.3 %")
    assert apart(0.28337, 0.28341) == ("28.337 %", "28.341 %")
    text = stalled_or_improving(True, 0.2831, 0.2834, 0.05, 3, [NOISE])
    assert "28.31 %, below the limit of 28.34 %; 3 evaluations since the best" in text


def test_a_stop_at_the_best_evaluation_says_although():
    text = stalled_or_improving(True, 0.17, 0.28, 0.05, 0, [WAIT, NOISE])
    assert text.endswith(
        "below the limit of 28 %, although the last evaluation was the best; what speaks most for stopping: how far the "
        "average of the last values lies from the best, in noise"
    )
    assert "wait" not in text
    going = stalled_or_improving(False, 0.4, 0.28, 0.05, 0, [])
    assert going.endswith("not below the limit of 28 %; the last evaluation was the best")


def test_no_fact_claims_that_the_last_value_lies_below_the_best():
    assert not [words for words in FACTS.values() if "last values lie below" in words]


@pytest.mark.parametrize(
    ("losses", "by"), [((0.2, 0.01), "the loss per sample"), ((None, None), "the answer to each sample")]
)
def test_a_proven_worsening_names_what_was_compared_and_is_said_once(losses, by):
    paired = Paired(
        reference_epoch=1, both=50, gained=1, lost=25, neither=0, loss_delta_mean=losses[0], loss_delta_sem=losses[1]
    )
    joint = JointCriterion({"val/acc": StoppingCriterion("max"), "val/loss": StoppingCriterion("min")})
    for i, (acc, loss) in enumerate([(0.5, 1.0), (0.7, 0.5), (0.6, 0.8), (0.55, 0.9), (0.5, 1.0)]):
        stages = {"val": StageRecord(n=76, paired=paired)} if i > 1 else {}
        record = EpochRecord(epoch=i, stages=stages)
        both = {
            name: compared(Evaluation(index=i, value=value, train_loss=1 / (i + 1)), record, criterion.best_index)
            for (name, criterion), value in zip(joint.criteria.items(), (acc, loss), strict=True)
        }
        decision = joint.update(both)
    assert decision.stop
    assert decision.reason.startswith(
        f"Validation accuracy and validation loss: {by} is worse than at the best evaluation (paired test, p"
    )
    assert decision.reason.count("p < 1e-6") + decision.reason.count("p = ") == 1
    assert "3 evaluations in a row" in decision.reason


def test_replay_says_what_was_compared():
    paired = Paired(reference_epoch=1, both=50, gained=1, lost=15, neither=0)
    rows = [
        EpochRecord(
            epoch=i,
            values={"val/loss": v, "train/loss": 1 / (i + 1)},
            stages={"val": StageRecord(n=66, paired=paired)} if i > 1 else {},
        )
        for i, v in enumerate([1.0, 0.5, 0.8, 0.9, 1.0])
    ]
    seen = replay(RunHistory(epochs=tuple(rows)))
    assert "the answer to each sample is worse than at the best evaluation (paired test" in seen.decisions[-1].reason


LOSSES = [2.0 * 0.9**i for i in range(20)]


@pytest.mark.parametrize(
    ("correct", "end"),
    [
        ([100 + 5 * i for i in range(20)], "train longer, this stop would have been too early"),
        ([100 + 30 * min(i, 3) for i in range(20)], "for validation accuracy stop here; train longer only where"),
    ],
)
def test_still_improving_and_the_stop_reach_one_conclusion(correct, end):
    run = history({"train/loss": LOSSES, "val/loss": LOSSES}, counts={"val": [(k, 300) for k in correct]}, classes=10)
    stop = StopFacts(status="finished", would_stop_epoch=12, would_stop_reason="stalled", saved_epochs=7)
    run = replace(run, context=replace(run.context, stop=stop))
    diagnosis = diagnose(run)
    assert diagnosis.finding("LD205") is not None
    text = render_markdown(run, diagnosis)
    assert "LD205 says train longer, because the validation loss was still falling at the end." in text
    assert end in text


def test_the_conclusion_names_accuracy_where_it_was_accuracy_that_rose():
    correct = [100 + 8 * i for i in range(20)]
    flat = [2.0, 1.5, *[1.0, 1.01] * 9]
    run = history({"val/loss": flat}, counts={"train": [(k, 400) for k in correct], "val": [(k, 400) for k in correct]})
    stop = StopFacts(status="finished", would_stop_epoch=12, would_stop_reason="stalled", saved_epochs=7)
    run = replace(run, context=replace(run.context, stop=stop))
    text = render_markdown(run, diagnose(run))
    assert "LD205 says train longer, because validation accuracy was still rising at the end." in text


def test_nothing_is_weighed_where_nothing_contradicts_the_stop():
    run = history({"train/loss": [1.0, 0.5, 0.4, 0.4, 0.4], "val/loss": [1.0, 0.5, 0.45, 0.46, 0.45]})
    stop = StopFacts(status="finished", would_stop_epoch=3, would_stop_reason="stalled", saved_epochs=1)
    run = replace(run, context=replace(run.context, stop=stop))
    text = render_markdown(run, diagnose(run))
    assert "That saves 1 epoch; it would have missed 0 % of the gain." in text
    assert "says train longer" not in text


def test_a_stop_by_the_criterion_that_looks_too_early_shows_both_sides_and_no_patience():
    run = history({"train/loss": LOSSES, "val/loss": LOSSES}, classes=10)
    stop = StopFacts(status="stopped", stopper="AdaptiveEarlyStop", probability=((18, 0.31), (19, 0.2)))
    found = diagnose(replace(run, context=replace(run.context, stop=stop))).finding("LD206")
    assert found is not None
    assert "probability of 20 %" in found.against[0].text
    assert not any("patience" in action for action in found.actions)
    other = StopFacts(status="stopped", stopper="EarlyStopping")
    found = diagnose(replace(run, context=replace(run.context, stop=other))).finding("LD206")
    assert found is not None
    assert found.against == ()
    assert "patience" in found.actions[0]


def stopped_late(epoch, event=None):
    stop = StopFacts(status="finished", would_stop_epoch=epoch, would_stop_reason="stalled", probability=((9, 0.1),))
    events = {event: "would_stop"} if event is not None else None
    return history({"val/loss": [1.0 - 0.01 * i for i in range(10)]}, stop=stop, events=events)


@pytest.mark.parametrize("event", [None, 9], ids=["replayed", "live"])
def test_a_stop_after_the_last_epoch_saves_nothing_and_says_so(event):
    run = stopped_late(9, event)
    text = render_markdown(run, diagnose(run))
    assert "Would have stopped" not in text
    assert (
        "**Would not have stopped earlier:** the criterion is met after epoch 9, the last one, where a stop saves nothing."
        in text
    )
    view = View(history=run, diagnosis=diagnose(run))
    assert not any("would stop" in words for words in statuses(view))
    assert "would stop" not in {mark for _, mark, _ in _marks(view)}
    earlier = stopped_late(8, None if event is None else 8)
    assert "Would have stopped after epoch 8" in render_markdown(earlier, diagnose(earlier))
    assert "would stop" in statuses(View(history=earlier, diagnosis=diagnose(earlier)))[8]
