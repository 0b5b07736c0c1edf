"""Signs that updates are too large, each with its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from lightning_diag import statistics
from lightning_diag.findings import Evidence
from lightning_diag.history import RunHistory
from lightning_diag.rules.reading import late, loss_scale, stuck
from lightning_diag.words import number, percent


def spike(history: RunHistory, limit: float) -> Evidence | None:
    """A step of the first two epochs whose loss is ``limit`` times that of the untrained model."""
    first, peaks = history.series("loss/first").finite, history.series("loss/step_max").finite
    if not len(first) or not len(peaks):
        return None
    usual = max(first.values[0], loss_scale(history) or 0.0)
    epoch, peak = max(list(peaks)[:2], key=lambda pair: pair[1])
    if usual <= 0 or peak < limit * usual:
        return None
    text = f"a step of epoch {epoch} had a loss of {number(peak)}, {number(peak / usual)} times that of the untrained model"
    return Evidence(signal="loss/step_max", text=text, epoch=epoch, observed=peak, expected=usual)


def replaced(history: RunHistory, limit: float) -> Evidence | None:
    """An epoch whose updates are ``limit`` of the weights, while the weights do not shrink."""
    ratio, norm = history.series("update/ratio").finite, history.series("param/norm").finite
    if not len(ratio) or max(ratio.values) < limit or (len(norm) > 1 and norm.values[-1] < norm.values[0]):
        return None
    epoch, value = max(ratio, key=lambda pair: pair[1])
    text = f"the updates of epoch {epoch} were {percent(value)} of the weights themselves"
    return Evidence(signal="update/ratio", text=text, epoch=epoch, observed=value, expected=limit)


def restless(history: RunHistory, limit: float, level: float) -> Evidence | None:
    """A training loss whose noise is ``limit`` of itself, far from zero (``level``)."""
    values = history.series("train/loss").finite.values
    half = values[len(values) // 2 :]
    if len(half) < 5 or late(half) <= 0 or statistics.noise(half) < limit * late(half) or _only_falls(half):
        return None
    if late(half) < level * (loss_scale(history) or math.inf):
        return None
    text = f"the training loss jumps by {percent(statistics.noise(half) / late(half))} of itself from epoch to epoch"
    return Evidence(signal="train/loss", text=text, observed=statistics.noise(half) / late(half), expected=limit)


def stays_high(history: RunHistory, noise: float, level: float) -> Evidence | None:
    """What it cost: training got nowhere, or stays restless far above zero."""
    values = history.series("train/loss").finite.values
    if stuck(history):
        return Evidence(
            signal="train/loss",
            text="training got no further than an answer that ignores the input",
            observed=values[-1] if values else None,
        )
    half = values[len(values) // 2 :]
    scale = loss_scale(history)
    if len(half) < 3 or not scale or late(half) < level * scale or statistics.noise(half) < noise * late(half):
        return None
    if _only_falls(half):
        return None
    text = f"the training loss stays at {number(late(half))}, moving by {number(statistics.noise(half))} per epoch"
    return Evidence(signal="train/loss", text=text, observed=late(half), expected=level * scale)


def _only_falls(values: Sequence[float]) -> bool:
    """A series that never rises is not restless, however bent: a CTC loss falls in a wide arc when it leaves the blanks."""
    return all(b <= a for a, b in pairwise(values))
