"""Signs that updates are too large, each with its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist, median

from lightning_diag import statistics
from lightning_diag.findings import Evidence
from lightning_diag.history import RunHistory
from lightning_diag.rules.reading import late, loss_scale, since_above, steps_per_epoch, stuck
from lightning_diag.words import number, percent


def spike(history: RunHistory, limit: float) -> Evidence | None:
    """A step of the first two epochs, or of a warm-up, whose loss is ``limit`` times that of the untrained model."""
    first, peaks = history.series("loss/first").finite, history.series("loss/step_max").finite
    if not len(first) or not len(peaks):
        return None
    usual = max(first.values[0], loss_scale(history) or 0.0)
    last = max(peaks.epochs[:2][-1], _warmed_up(history))
    epoch, peak = max(((e, v) for e, v in peaks if e <= last), key=lambda pair: pair[1])
    if usual <= 0 or peak < limit * usual:
        return None
    text = f"a step of epoch {epoch} had a loss of {number(peak)}, {number(peak / usual)} times that of the untrained model"
    return Evidence(signal="loss/step_max", text=text, epoch=epoch, observed=peak, expected=usual)


def _warmed_up(history: RunHistory) -> int:
    """The epoch after the learning rate first came to its top, where it climbed there by more than twice; else 0."""
    lrs = history.series("lr").finite
    top = lrs.best("max")
    return top[0] + 1 if top is not None and top[1] > TWICE * lrs.values[0] else 0


def replaced(history: RunHistory, limit: float) -> Evidence | None:
    """An epoch whose updates are ``limit`` of the weights, while the weights do not shrink and are not tiny after it."""
    ratio, norm = history.series("update/ratio").finite, history.series("param/norm").finite
    if not len(ratio) or max(ratio.values) < limit or (len(norm) > 1 and norm.values[-1] < norm.values[0]):
        return None
    # an update of more than twice the weights that it leaves took more away than is left (triangle inequality): decay
    epoch, value = max(((e, v) for e, v in ratio if v <= TWICE), key=lambda pair: pair[1], default=(0, 0.0))
    if value < limit or _tiny(history, dict(norm).get(epoch)):
        return None
    text = f"the updates of epoch {epoch} were {percent(value)} of the weights themselves"
    return Evidence(signal="update/ratio", text=text, epoch=epoch, observed=value, expected=limit)


TWICE = 2.0
"""Update over the weights after it, above which these were larger before; rise of the rate that makes a warm-up."""
TINY = 0.01
"""Size of a typical weight below which any step is large beside it. The default initialisation of a layer of 3,000 inputs gives
0.01; steps that are too large leave more."""


def _tiny(history: RunHistory, norm: float | None) -> bool:
    """Whether the weights began so small that replacing them took no large step."""
    size = history.context.model.trainable
    return bool(size and norm is not None and norm / math.sqrt(size) < TINY)


def restless(history: RunHistory, limit: float, level: float) -> Evidence | None:
    """A training loss whose noise is ``limit`` of itself, far from zero (``level``)."""
    values = history.series("train/loss").finite.values
    half = values[len(values) // 2 :]
    if len(half) < 5 or late(half) <= 0 or statistics.noise(half) < limit * late(half) or _only_falls(half):
        return None
    if late(half) < level * (loss_scale(history) or math.inf):
        return None
    if statistics.noise(half) < BEYOND * _noise_of_steps(history):
        return None
    text = f"the training loss jumps by {percent(statistics.noise(half) / late(half))} of itself from epoch to epoch"
    return Evidence(signal="train/loss", text=text, observed=statistics.noise(half) / late(half), expected=limit)


BEYOND = 2.0
"""Noise from epoch to epoch over what the spread of the steps alone gives an epoch's mean. Few small batches, or dropout, make
an epoch restless without any fault of the learning rate: 1.3 and 1.6 in two healthy runs of six steps an epoch."""


def _noise_of_steps(history: RunHistory) -> float:
    """Standard error of an epoch's mean loss in the second half, from the range of its steps; 0 where not recorded.

    A range of n normal deviates is 2 z((n - 0.375) / (n + 0.25)) standard deviations wide (Blom 1958).
    """
    steps = steps_per_epoch(history) or 0
    least, most = history.series("loss/step_min").finite.values, history.series("loss/step_max").finite.values
    widths = [high - low for low, high in zip(least, most, strict=False)][len(most) // 2 :]
    if steps < 2 or not widths:
        return 0.0
    width = 2 * NormalDist().inv_cdf((steps - 0.375) / (steps + 0.25))
    return median(widths) / width / math.sqrt(steps)


def stays_high(history: RunHistory, noise: float, level: float, worse: float) -> Evidence | None:
    """What it cost: training got nowhere, ended ``worse`` times the untrained loss, or stays restless far above zero."""
    values = history.series("train/loss").finite.values
    if stuck(history):
        return Evidence(
            signal="train/loss",
            text="training got no further than an answer that ignores the input",
            observed=values[-1] if values else None,
        )
    half = values[len(values) // 2 :]
    scale = loss_scale(history)
    untrained = max([*history.series("loss/first").finite.values[:1], scale or 0.0])
    ends = min(
        values[1:][-3:], default=0.0
    )  # the lowest: a schedule that ends makes the loss fall, whatever its height
    if untrained > 0 and ends >= worse * untrained:
        text = f"the training loss ends at {number(values[-1])}, that of the untrained model was {number(untrained)}"
        return Evidence(signal="train/loss", text=text, observed=values[-1], expected=untrained)
    if len(half) < 3 or not scale or late(half) < level * scale or statistics.noise(half) < noise * late(half):
        return None
    if _only_falls(half):
        return None
    text = f"the training loss stays at {number(late(half))}, moving by {number(statistics.noise(half))} per epoch"
    return Evidence(signal="train/loss", text=text, observed=late(half), expected=level * scale)


def killed_units(history: RunHistory, share: float, epoch: int, level: float) -> Evidence | None:
    """What large first steps cost for good: units that died with them, while the training loss is far from zero.

    A unit that never fires gets no gradient, so that a loss which settles afterwards is no sign that all is well.
    """
    dead = history.series("relu/dead_share").finite
    since = since_above(dead, share)
    loss, scale = history.series("train/loss").finite.values, loss_scale(history)
    if since is None or since > epoch + 1 or not scale or late(loss) < level * scale:
        return None
    text = (
        f"{percent(late(dead.values))} of the units of one ReLU layer are dead since epoch {since} and do not come back"
    )
    return Evidence(signal="relu/dead_share", text=text, epoch=since, observed=late(dead.values), expected=share)


def undone(history: RunHistory, share: float) -> Evidence | None:
    """A training loss that ends above ``share`` of what there was to learn, the lowest of its last three epochs."""
    loss, scale = history.series("train/loss").finite.values, loss_scale(history)
    ends = min(loss[-3:], default=0.0)
    if len(loss) < 3 or not scale or ends < share * scale:
        return None
    text = f"the training loss got down to {number(ends)} in the end, and {percent(ends / scale)} of what there was to learn is left"
    return Evidence(signal="train/loss", text=text, observed=ends, expected=share * scale)


def _only_falls(values: Sequence[float]) -> bool:
    """A series that never rises is not restless, however bent: a CTC loss falls in a wide arc when it leaves the blanks."""
    return all(b <= a for a, b in pairwise(values))
