"""Decisions in words."""

from __future__ import annotations


def stalled_or_improving(stalled: bool, probability: float, threshold: float, min_gain: float, wait: int) -> str:
    """One sentence for a decision that rests on the probability."""
    chance = f"the best still improves by more than {min_gain:.0%} of the gain with probability {percent(probability)}"
    side = "below" if stalled else "not below"
    since = "the last evaluation was the best" if wait == 0 else f"{wait} evaluations since the best"
    return f"{chance}, {side} the limit of {percent(threshold)}; {since}"


def percent(p: float) -> str:
    """A probability as a percentage, with one decimal below ten percent; 0 % and 100 % only when exact."""
    if p in {0.0, 1.0}:
        return f"{p:.0%}".replace("%", " %")
    shown = f"{100 * p:.1f}" if p < 0.0995 else f"{100 * p:.0f}"
    return {"0.0": "< 0.1", "100": "> 99"}.get(shown, shown) + " %"
