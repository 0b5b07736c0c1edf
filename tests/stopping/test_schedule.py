import math

import pytest

from lightning_diag.stopping import LearningRatePlan


def plan(rates, **settings):
    return LearningRatePlan(points=tuple(enumerate(rates)), **settings)


def holds(rates):
    schedule = plan(rates)
    return [schedule.hold(i) is not None for i in range(len(rates))]


def cosine(count, peak=0.1):
    return [peak / 2 * (1 + math.cos(math.pi * i / count)) for i in range(count)]


def test_nothing_to_wait_for_under_a_constant_rate():
    assert not any(holds([0.1] * 20))


def test_waits_for_every_cut():
    assert holds([0.1] * 10 + [0.01] * 10 + [0.001] * 10) == [True] * 20 + [False] * 10


def test_says_what_is_ahead():
    assert "from 0.1 to 0.01 at 10" in plan([0.1] * 10 + [0.01] * 10).hold(3)


def test_warm_up_is_waited_out_and_smooth_annealing_is_not():
    assert holds([0.01 * i for i in range(1, 11)] + cosine(40)) == [True] * 4 + [False] * 46


def test_warm_restarts_are_left_at_the_low_end_of_a_cycle():
    held = holds(cosine(10) + cosine(20) + cosine(40))
    assert [held[i] for i in (3, 9, 12, 29)] == [True, False, True, False]
    assert not held[69]


def test_one_cycle():
    rising = [0.004 + 0.096 * i / 15 for i in range(15)]
    held = holds(rising + cosine(35))
    assert held[0]
    assert not any(held[20:])


def test_plateau_scheduler_until_its_floor():
    schedule = plan([0.1], on_plateau=True, floor=0.001, plateau_range=1000)
    assert schedule.hold(5, 0.1)
    assert schedule.hold(50, 0.01)
    assert schedule.hold(60, 0.001) is None
    assert plan([0.1], on_plateau=True).hold(60, 0.01) is None
    assert plan([0.1], on_plateau=True).hold(60) is None


def test_an_empty_plan_says_nothing_and_a_wrong_one_is_refused():
    assert LearningRatePlan().hold(3) is None
    with pytest.raises(ValueError, match="ascending"):
        LearningRatePlan(points=((3, 0.1), (2, 0.1)))
