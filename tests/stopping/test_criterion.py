import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_diag.errors import ConfigError
from lightning_diag.stopping import Evaluation, Exits, LearningRatePlan, StoppingCriterion


def falling(count, noise=0.002, seed=0, floor=0.3):
    rng = np.random.default_rng(seed)
    return [floor + math.exp(-i / 6) + noise * float(rng.standard_normal()) for i in range(count)]


def run(criterion, values, **series):
    extra = [{name: s[i] for name, s in series.items()} for i in range(len(values))]
    return [
        criterion.update(Evaluation(index=i + 1, value=v, **e))
        for i, (v, e) in enumerate(zip(values, extra, strict=True))
    ]


def first_stop(decisions):
    return next((d.index for d in decisions if d.stop), None)


def test_goes_on_while_the_loss_falls_and_stops_when_it_has_stalled():
    stop = first_stop(run(StoppingCriterion("min", planned=100), falling(100)))
    assert 15 <= stop <= 60


def test_an_accuracy_is_the_mirror_image_of_an_error():
    values = falling(60)
    low = run(StoppingCriterion("min", planned=60), values)
    high = run(StoppingCriterion("max", planned=60), [1 - v for v in values])
    # The only facts that may differ are those that name the direction and the level.
    assert abs(first_stop(low) - first_stop(high)) <= 15


def test_decisions_do_not_depend_on_the_unit():
    values = falling(60)
    plain = run(StoppingCriterion("min", planned=60), values)
    thousand = run(StoppingCriterion("min", planned=60), [1000 * v for v in values])
    assert [d.stop for d in plain] == [d.stop for d in thousand]
    assert plain[-1].expected_gain == pytest.approx(thousand[-1].expected_gain / 1000)


def test_safer_settings_stop_later():
    values = falling(100, noise=0.02)
    stops = [first_stop(run(StoppingCriterion("min", s, planned=100), values)) for s in ("early", "default", "safe")]
    assert stops == sorted(stops)


def test_probability_and_interval_are_sane_and_shrink():
    decisions = run(StoppingCriterion("min", planned=100), falling(100))
    assert [d.probability for d in decisions[:2]] == [None, None]
    for d in decisions[2:]:
        assert 0 <= d.probability <= 1
        assert 0 <= d.interval[0] <= d.interval[1]
    assert decisions[80].probability < 0.1 < decisions[4].probability


def test_no_loss_is_promised_below_zero_and_no_share_above_one():
    low = run(StoppingCriterion("min", planned=100), [1.0, 0.5, 0.3])[-1]
    assert low.interval[1] <= 0.3
    high = run(StoppingCriterion("max", planned=100), [0.1, 0.5, 0.8])[-1]
    assert high.interval[1] <= 0.2 + 1e-12
    free = run(StoppingCriterion("max", planned=100), [10.0, 50.0, 80.0])[-1]
    assert free.interval[1] > 0.2


def test_a_decision_is_not_latched():
    criterion = StoppingCriterion("max", planned=100)
    flat = run(criterion, [0.1, *[0.5] * 40])
    assert flat[-1].stop
    again = [criterion.update(Evaluation(index=42 + i, value=0.5 + 0.05 * i)) for i in range(8)]
    assert not again[-1].stop


def test_no_stop_before_the_least_length():
    decisions = run(StoppingCriterion("min", planned=100, min_index=70), falling(100))
    assert first_stop(decisions) == 70
    assert decisions[60].cause == "too early"
    assert first_stop(run(StoppingCriterion("min", planned=100, min_evaluations=65), falling(100))) == 65


def test_works_without_a_planned_end_and_with_six_points():
    assert first_stop(run(StoppingCriterion("min"), falling(100))) is not None
    six = run(StoppingCriterion("min", planned=6), [1.0, 0.5, 0.4, 0.38, 0.5, 0.6])
    assert six[2].probability is not None


def test_irregular_spacing_counts_what_is_left_by_the_mean_spacing():
    criterion = StoppingCriterion("min", planned=1000)
    for index in (100, 150, 300):
        criterion.update(Evaluation(index=index, value=1 / index))
    assert criterion.evaluations_left() == pytest.approx(7.0)


def test_indices_must_ascend():
    criterion = StoppingCriterion()
    criterion.update(Evaluation(index=3, value=1.0))
    with pytest.raises(ValueError, match="ascending"):
        criterion.update(Evaluation(index=3, value=1.0))


@pytest.mark.parametrize(
    "setting", [{"mode": "up"}, {"max_missed_gain": "soon"}, {"max_missed_gain": 0}, {"min_gain": 2}]
)
def test_wrong_settings_are_refused(setting):
    with pytest.raises(ConfigError, match="expected"):
        StoppingCriterion(**setting)


def test_state_goes_through_json_and_carries_no_setting():
    values = falling(50, noise=0.05)
    whole = run(StoppingCriterion("min", planned=50), values, train_loss=values, lr=[0.1] * 25 + [0.01] * 25)
    first = StoppingCriterion("min", planned=50)
    run(first, values[:20], train_loss=values, lr=[0.1] * 20)
    second = StoppingCriterion("min", planned=50)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for i in range(20, 50):
        lr = 0.1 if i < 25 else 0.01
        assert second.update(Evaluation(index=i + 1, value=values[i], train_loss=values[i], lr=lr)) == whole[i]
    strict = StoppingCriterion("min", "safe", planned=80)
    strict.load_state_dict(first.state_dict())
    assert (strict.missed_limit, strict.planned) == (0.025, 80)


def test_memory_is_bounded():
    criterion = StoppingCriterion("min", planned=5000)
    sizes = []
    for i in range(5000):
        criterion.record(Evaluation(index=i, value=1 / (i + 1), train_loss=1.0, lr=0.1))
        sizes.append(
            sum(len(v) for t in criterion.state_dict()["tracks"].values() for v in t.values() if isinstance(v, list))
        )
    assert max(sizes) <= 4 * (2 * 30 + 2 * 64 + 3 + 2)


def test_holds():
    flat = [1.0] * 4 + [0.5] * 60
    free = first_stop(run(StoppingCriterion("min", planned=100), flat))
    plan = LearningRatePlan(points=tuple((i + 1, 0.1 if i < 50 else 0.01) for i in range(100)))
    held = run(StoppingCriterion("min", planned=100, plan=plan), flat, lr=[0.1] * 50 + [0.01] * 14)
    assert free < 45
    assert first_stop(held) == 53  # the cut at 51, then three evaluations to see what it does
    assert held[40].cause == "held"
    assert "0.01 at 51" in held[40].reason
    blank = run(StoppingCriterion("min", planned=100), flat, hold=["only blanks so far"] * 64)
    assert first_stop(blank) is None


def test_non_finite_values():
    criterion = StoppingCriterion("min", planned=50)
    decisions = run(criterion, [1.0, 0.8, 0.7, math.nan, 0.6, math.inf, math.nan])
    assert first_stop(decisions) == 7
    assert decisions[-1].cause == "non-finite"
    assert decisions[-1].best == 0.6
    both = run(StoppingCriterion(), [1.0, math.nan], train_loss=[1.0, math.nan])
    assert both[-1].stop
    assert run(StoppingCriterion(), [math.nan])[0].best is None


def test_target_is_reported_only_when_asked_for():
    values = [0.1, 0.5, 0.9, 0.7, 0.9, 0.91, 0.92]
    asked = Exits(target=0.85, stop_at_target=True)
    decisions = run(StoppingCriterion("max", planned=100, exits=asked), values)
    assert first_stop(decisions) == 6
    assert decisions[5].cause == "target"
    silent = run(StoppingCriterion("max", planned=100, exits=Exits(target=0.85)), values)
    assert all(d.cause != "target" for d in silent)


def test_collapse_and_proven_worsening():
    values = [0.1 + 0.05 * i for i in range(12)] + [0.1] * 12
    training = [1 - v for v in values]
    assert run(StoppingCriterion("max", planned=1000), values, train_loss=training)[-1].cause == "collapse"
    alone = run(StoppingCriterion("max", planned=1000), values, train_loss=[1 / (i + 1) for i in range(24)])
    assert all(d.cause != "collapse" for d in alone)
    n = 12
    worse = run(
        StoppingCriterion("min", planned=1000),
        [1.0, 0.5, *[0.6 + 0.01 * i for i in range(n)]],
        train_loss=[1 / (i + 1) for i in range(n + 2)],
        worse=[None, None] + [1e-6] * n,
    )
    assert worse[4].cause == "worse"
    rising = run(
        StoppingCriterion("min", planned=1000),
        [1.0, 0.5, 0.6, 0.7, 0.8],
        train_loss=[1.0, 0.5, 0.6, 0.7, 0.8],
        worse=[None, None, 1e-6, 1e-6, 1e-6],
    )
    assert all(d.cause != "worse" for d in rising)


def test_unpaired_worsening_needs_training_to_go_on_improving():
    values = [1.0 + 0.02 * i for i in range(20)]
    falls = run(StoppingCriterion("min", planned=100), values, train_loss=[1 / (i + 1) for i in range(20)])
    assert (falls[12].stop, falls[12].cause) == (True, "worse")
    assert "5 times its noise, 6 evaluations in a row" in falls[12].reason
    assert first_stop(falls) == 13
    held = run(
        StoppingCriterion("min", planned=100), values, train_loss=[1 / (i + 1) for i in range(20)], hold=["wait"] * 20
    )
    assert not any(d.stop for d in held)
    rises = run(StoppingCriterion("min", planned=100), values, train_loss=values)
    assert all(d.cause != "worse" for d in rises)


@settings(max_examples=60)
@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=40),
    st.sampled_from(["min", "max"]),
    st.booleans(),
)
def test_no_series_raises(values, mode, planned):
    criterion = StoppingCriterion(mode, planned=len(values) if planned else None)
    for i, value in enumerate(values):
        decision = criterion.update(
            Evaluation(index=i, value=value, train_loss=value, val_loss=value, others={"val/acc": value}, lr=value)
        )
        assert decision.probability is None or 0 <= decision.probability <= 1
