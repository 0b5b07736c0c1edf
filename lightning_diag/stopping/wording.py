"""Decisions in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

FACTS: Mapping[str, str] = {
    "evaluations": "the number of evaluations so far",
    "planned": "the planned length",
    "progress": "how much of the planned run is done",
    "wait of rest": "the wait since the best against what is left",
    "noise of gain": "the noise of one evaluation against the gain",
    "gained since half": "the gain made in the second half of the run so far",
    "gained since two thirds": "the gain made in the last third of the run so far",
    "gained in 5": "the gain of the last 5 evaluations",
    "gained in 10": "the gain of the last 10 evaluations",
    "gained in 20": "the gain of the last 20 evaluations",
    "pace": "whether the gains come faster or slower than before",
    "stalled within 1 %": "how long the best has been within 1 % of the gain",
    "stalled within 5 %": "how long the best has been within 5 % of the gain",
    "stalled within 1 % of rest": "how long the best has been within 1 % of the gain, against what is left",
    "stalled within 5 % of rest": "how long the best has been within 5 % of the gain, against what is left",
    "by doubling": "what the rest brings if it goes on as over the last doubling",
    "by decay": "what the rest brings if gains go on shrinking as they did",
    "below best 5, noise": "how far the last values lie below the best, in noise",
    "below best 5, gain": "how far the last values lie below the best, in gain",
    "trend 5-15, noise": "the trend of the last values, in noise",
    "trend 2-15, gain": "the trend of the last values, in gain",
    "extrapolated from 12": "the straight line through the last 12 values",
    "extrapolated from 30": "the straight line through the last 30 values",
    "training progress": "whether training still moves",
    "training fall": "how far the training loss fell since half of the run",
    "training lately": "the recent fall of the training loss",
    "training level": "how far the training loss has come down in all",
    "freshest": "whether another validation series has just improved",
}
"""Each fact of the criterion in words."""


def stalled_or_improving(
    stalled: bool,
    probability: float,
    threshold: float,
    min_gain: float,
    wait: int,
    weights: Sequence[tuple[str, float]],
) -> str:
    """One sentence for a decision that rests on the probability."""
    share = f"{100 * min_gain:g} %"
    chance = f"the best still improves by more than {share} of the gain with probability {percent(probability)}"
    side = "below" if stalled else "not below"
    since = (
        "the last evaluation was the best"
        if wait == 0
        else f"{wait} evaluation{'' if wait == 1 else 's'} since the best"
    )
    return f"{chance}, {side} the limit of {percent(threshold)}; {since}{_most(stalled, weights)}"


def _most(stalled: bool, weights: Sequence[tuple[str, float]]) -> str:
    """The fact that speaks loudest for the decision, if one of ``weights`` does."""
    for name, weight in weights:
        if (weight < 0) == stalled and weight:
            return f"; what speaks most {'for stopping' if stalled else 'for going on'}: {FACTS[name]}"
    return ""


def percent(p: float) -> str:
    """A probability as a percentage, with one decimal below ten percent; 0 % and 100 % only when exact."""
    if p in {0.0, 1.0}:
        return f"{100 * p:.0f} %"
    shown = f"{100 * p:.1f}" if p < 0.0995 else f"{100 * p:.0f}"
    return {"0.0": "< 0.1", "100": "> 99"}.get(shown, shown) + " %"
