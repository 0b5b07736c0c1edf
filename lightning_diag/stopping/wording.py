"""Decisions in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_diag.words import percent

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
    "stalled within 1 %": "for how long the best has moved by less than 1 % of the gain",
    "stalled within 5 %": "for how long the best has moved by less than 5 % of the gain",
    "stalled within 1 % of rest": "for how long the best has moved by less than 1 % of the gain, against what is left",
    "stalled within 5 % of rest": "for how long the best has moved by less than 5 % of the gain, against what is left",
    "by doubling": "what the rest brings if it goes on as over the last doubling",
    "by decay": "what the rest brings if gains go on shrinking as they did",
    "below best 5, noise": "how far the average of the last values lies from the best, in noise",
    "below best 5, gain": "how far the average of the last values lies from the best, in gain",
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
    shown, limit = apart(probability, threshold)
    side = "below" if probability < threshold else "not below"
    chance = (
        f"the best still improves by more than {100 * min_gain:g} % of the gain with probability {shown}, {side} the limit "
        f"of {limit}"
    )
    if wait == 0:
        weights = [part for part in weights if part[0] != "wait of rest"]  # there is no wait to speak of
        since = "although the last evaluation was the best" if stalled else "the last evaluation was the best"
        return f"{chance}{', ' if stalled else '; '}{since}{_most(stalled, weights)}"
    since = f"{wait} evaluation{'' if wait == 1 else 's'} since the best"
    return f"{chance}; {since}{_most(stalled, weights)}"


def _most(stalled: bool, weights: Sequence[tuple[str, float]]) -> str:
    """The fact that speaks loudest for the decision, if one of ``weights`` does."""
    for name, weight in weights:
        if (weight < 0) == stalled and weight:
            return f"; what speaks most {'for stopping' if stalled else 'for going on'}: {FACTS[name]}"
    return ""


def apart(p: float, limit: float) -> tuple[str, str]:
    """Two probabilities as percentages, with as many decimals as it takes to tell them apart (four at most)."""
    shown = percent(p), percent(limit)
    for digits in range(1, 5):
        if shown[0] != shown[1] or p == limit:
            break
        shown = f"{100 * p:.{digits}f} %", f"{100 * limit:.{digits}f} %"
    return shown
