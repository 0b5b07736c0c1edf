"""Counts of answers that depend on each other: the positions of one image, or of one sequence.

A test that takes them for independent finds any difference significant. How alike the positions of one sample are is not
recorded, but the mean over samples can vary no more than if each sample were *one* answer: rates between 0 and 1 have a variance
of at most ``rate (1 - rate)``. Intervals and tests at that number are too careful rather than too bold.
"""

from __future__ import annotations

from lightning_diag import statistics
from lightning_diag.findings import Claim, Evidence
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.reading import counts

UNKNOWN = "the positions of one sample depend on each other, and how many samples they are of is not known"
"""Why no test is made of a dense task whose data set has no length."""


def independent(history: RunHistory) -> bool:
    """Whether every counted answer is one sample; yes or no at each pixel makes more answers than there are samples."""
    last, size = counts(history, "val"), history.context.data.val.size
    more = bool(last and size and last[-1][1].n > size)
    return history.context.task != "dense" and not more


def samples(history: RunHistory) -> int | None:
    """Samples of one validation; None where they were not counted."""
    last = counts(history, "val")
    return last[-1][1].n if last and independent(history) else history.context.data.val.size


def as_samples(history: RunHistory, count: Count | None) -> Count | None:
    """A count of validation as intervals and tests may take it; None where the samples behind it are not known."""
    if count is None or independent(history):
        return count
    n = samples(history)
    return Count(k=round(count.rate * n), n=n) if n and count.n else None


def differ(history: RunHistory, first: Count, second: Count) -> float:
    """p-value that two evaluations of validation are equally good (Fisher's exact test); 1 where nothing can be tested."""
    pair = as_samples(history, first), as_samples(history, second)
    return statistics.fisher(pair[0], pair[1]) if pair[0] and pair[1] else 1.0


def claim(history: RunHistory) -> Claim:
    """*Established* where a test of independent answers carries it; a size of effect over positions is *likely*."""
    return "established" if independent(history) else "likely"


def positions(history: RunHistory) -> tuple[Evidence, ...]:
    """What speaks against a finding that rests on the size of an effect over positions."""
    if independent(history):
        return ()
    n = samples(history)
    of = f" of {n:,} samples" if n else ""
    text = f"not tested: the positions{of} depend on each other, so that their number does not say how sure this is"
    return (Evidence(signal="val/acc", text=text),)
