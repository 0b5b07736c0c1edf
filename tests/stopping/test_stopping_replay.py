import math
from dataclasses import replace

import pytest

from lightning_diag.errors import ConfigError
from lightning_diag.history import EpochRecord, OptimFacts, Paired, RunContext, RunHistory, StageRecord, StopSettings
from lightning_diag.stopping import Evaluation, JointCriterion, StoppingCriterion, missed_gain, replay, worsening_p


def history(values, epochs=None, **context):
    epochs = epochs or range(len(values))
    rows = [
        EpochRecord(epoch=e, step=10 * i, values={"val/loss": v, "train/loss": v, "lr": 0.1})
        for i, (e, v) in enumerate(zip(epochs, values, strict=True))
    ]
    return RunHistory(context=RunContext(**context), epochs=tuple(rows))


FALLING = [0.3 + math.exp(-i / 6) for i in range(80)]


def test_replay_says_where_it_would_have_stopped_and_what_that_costs():
    seen = replay(history(FALLING, optim=OptimFacts(planned_epochs=80)))
    assert seen.series == (("val/loss", "min"),)
    assert len(seen.decisions) == 80
    assert seen.saved == 79 - seen.stop.index
    assert 0 <= seen.missed < 0.1


def test_replay_equals_the_live_criterion():
    live = StoppingCriterion("min", planned=79)
    decisions = [live.update(Evaluation(index=i, value=v, train_loss=v, lr=0.1)) for i, v in enumerate(FALLING)]
    assert replay(history(FALLING, optim=OptimFacts(planned_epochs=80))).each == {"val/loss": tuple(decisions)}


def test_replay_of_a_run_that_never_stalls_and_of_nothing():
    assert replay(history([1.0, 0.5, 0.25, 0.12])).stop is None
    assert replay(RunHistory()) is None


def both(accs, losses, **context):
    rows = [
        EpochRecord(epoch=e, values={"val/acc": a, "val/loss": b, "train/loss": b})
        for e, (a, b) in enumerate(zip(accs, losses, strict=True))
    ]
    return RunHistory(context=RunContext(optim=OptimFacts(planned_epochs=len(rows)), **context), epochs=tuple(rows))


STALLED = [min(0.3 + 0.1 * i, 0.7) for i in range(80)]


def test_replay_watches_metric_and_loss_like_the_callback_and_what_the_record_says():
    seen = replay(both(STALLED, FALLING))
    assert seen.series == (("val/acc", "max"), ("val/loss", "min"))
    alone = replay(
        both(STALLED, FALLING, stopping=StopSettings(series=(("val/acc", "max"),), planned=79, by_step=False))
    )
    assert alone.series == (("val/acc", "max"),)
    assert alone.stop_epoch < seen.stop_epoch  # the loss still falls
    earlier = replay(both(STALLED, FALLING, stopping=StopSettings(max_missed_gain=0.1, planned=79, by_step=False)))
    assert earlier.stop_epoch < seen.stop_epoch


def test_replay_waits_for_the_schedule_of_the_record_and_for_the_caller():
    known = StopSettings(planned=79, by_step=False, rates=((0, 0.1), (58, 0.1), (59, 0.01), (79, 0.01)))
    assert replay(both(STALLED, FALLING)).stop_epoch < 59 <= replay(both(STALLED, FALLING, stopping=known)).stop_epoch
    held = replay(both(STALLED, FALLING), lambda values: "not yet" if values["val/acc"] else None)
    assert held.stop is None
    assert held.decisions[-1].reason.endswith("not yet")


def test_a_resumed_run_is_not_stopped_before_it_resumed():
    first = replay(both(STALLED, FALLING)).stop_epoch
    assert replay(both(STALLED, FALLING, resumed_epoch=first + 10)).stop_epoch == first + 10


def test_a_target_is_one_of_the_leading_series():
    """A loss below 0.82 is no accuracy above it."""
    asked = StopSettings(target=0.82, stop_at_target=True, planned=79, by_step=False)
    low = [0.6 - 0.004 * i for i in range(80)]
    rising = [0.2 + 0.01 * i for i in range(80)]
    seen = replay(both(rising, low, stopping=asked))
    assert seen.stop.cause == "target"
    assert rising[seen.stop_epoch] >= 0.82


def test_several_evaluations_per_epoch_are_placed_by_step():
    seen = replay(history(FALLING, epochs=[i // 4 for i in range(80)]))
    assert seen.decisions[3].index == 30


def test_missed_gain():
    assert missed_gain([0.0, 0.5, 0.4, 1.0], 3, "max") == pytest.approx(0.5)
    assert missed_gain([1.0, math.nan, 0.5, 0.0], 2, "min") == pytest.approx(1.0)
    assert missed_gain([1.0, 2.0], 1, "min") is None
    assert missed_gain([math.nan], 1, "min") is None


def test_worsening_p():
    counts = Paired(reference_epoch=1, both=50, gained=1, lost=12, neither=3)
    assert worsening_p(counts) == pytest.approx(0.0017, abs=1e-4)
    assert worsening_p(replace(counts, gained=12, lost=1)) > 0.99
    assert worsening_p(replace(counts, gained=0, lost=0)) is None
    assert worsening_p(replace(counts, loss_delta_mean=0.2, loss_delta_sem=0.1)) == pytest.approx(0.0228, abs=1e-3)


def test_paired_samples_reach_the_fast_exit():
    stage = StageRecord(n=66, paired=Paired(reference_epoch=1, both=50, gained=1, lost=15, neither=0))
    base = history([1.0, 0.5, 0.8, 0.9, 1.0]).epochs
    rows = [
        replace(r, values={**r.values, "train/loss": 1 / (i + 1)}, stages={"val": stage} if i > 1 else {})
        for i, r in enumerate(base)
    ]
    assert replay(RunHistory(epochs=tuple(rows))).decisions[-1].cause == "worse"


def joint():
    return JointCriterion({"loss": StoppingCriterion("min", planned=60), "acc": StoppingCriterion("max", planned=60)})


def feed(criterion, losses, accs):
    return [
        criterion.update({"loss": Evaluation(index=i, value=a), "acc": Evaluation(index=i, value=b)})
        for i, (a, b) in enumerate(zip(losses, accs, strict=True))
    ]


def test_joint_stops_only_when_all_have_stalled():
    flat = [1.0] * 3 + [0.5] * 50
    rising = [0.1 + 0.01 * i for i in range(53)]
    assert not any(d.stop for d in feed(joint(), flat, rising)[:40])
    assert any(d.stop for d in feed(joint(), flat, [1 - v for v in flat]))


def test_joint_leaves_at_once_for_a_broken_series_and_keeps_its_state():
    criterion = joint()
    decisions = feed(criterion, [1.0, 0.9, math.nan, math.nan], [0.1, 0.2, 0.3, 0.4])
    assert decisions[-1].cause == "non-finite"
    again = joint()
    again.load_state_dict(criterion.state_dict())
    assert again.state_dict().keys() == {"loss", "acc"}
    again.reset()
    with pytest.raises(ConfigError, match="at least one"):
        JointCriterion({})
