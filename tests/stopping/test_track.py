import json

import numpy as np
import pytest

from lightning_diag.stopping.track import RECENT, TRACE, Trace, Track


def filled(values):
    track = Track()
    for value in values:
        track.add(value)
    return track


def test_running_facts():
    track = filled([1.0, 3.0, 2.0, 4.0, 4.0])
    assert (track.count, track.best, track.best_count, track.records, track.wait, track.gain) == (5, 4.0, 4, 3, 1, 3.0)
    assert [track.best_ago(k) for k in (0, 1, 2, 4, 9)] == [4.0, 4.0, 3.0, 1.0, 1.0]


def test_noise_ignores_a_trend():
    rng = np.random.default_rng(0)
    noise = [filled(0.5 * np.arange(16) + 0.1 * rng.standard_normal(16)).noise() for _ in range(300)]
    assert np.mean(noise) == pytest.approx(0.1, rel=0.15)
    assert filled([1.0, 2.0]).noise() == 0.0


def test_slope_equals_least_squares():
    values = np.random.default_rng(1).standard_normal(40)
    assert filled(values).slope(12) == pytest.approx(np.polyfit(range(12), values[-12:], 1)[0])
    assert filled(values[:2]).slope(12) == 0.0


def test_first_at_finds_where_a_level_was_reached():
    track = filled([0.0, 1.0, 1.0, 3.0, 3.0])
    assert [track.bests.first_at(level) for level in (-1.0, 0.5, 1.0, 2.0)] == [1, 2, 2, 4]


def test_trace_is_bounded_and_looks_back_only():
    trace = Trace()
    for count in range(1, 1001):
        trace.append(count, float(count))
        assert len(trace.points) < TRACE
    for count in (1, 2, 17, 333, 1000):
        assert 0 <= count - trace.at(count) < trace.stride
    assert trace.at(0.3) == 1.0


def test_state_round_trip():
    track = filled(np.random.default_rng(2).standard_normal(200))
    again = Track.from_state(json.loads(json.dumps(track.state())))
    for t in (track, again):
        for value in (5.0, 1.0, 6.0):
            t.add(value)
    assert again.state() == track.state()
    assert len(again.recent) == RECENT
