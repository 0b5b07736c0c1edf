"""The causes of validation at chance that nothing recorded has settled, the best supported first."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from lightning_diag import statistics
from lightning_diag.findings import Evidence
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.first_look import first_sight, neighbours_agree, silent_because
from lightning_diag.rules.labels_random import LabelsRandom
from lightning_diag.rules.reading import ALPHA, pretrained, train_rate, trivial_rate
from lightning_diag.rules.sample_size import shown
from lightning_diag.words import listed, of


class Standing(IntEnum):
    """What the record says of a cause; it does not settle it."""

    SUPPORTED = 0
    OPEN = 1
    UNLIKELY = 2


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A cause with the look that settles it.

    Attributes:
        signal: the signal that would. text: ``whether ...: how to look``, as the object of *settle*.
    """

    signal: str
    text: str
    standing: Standing = Standing.OPEN


def unverified(history: RunHistory, few: int) -> list[Evidence]:
    """The causes to settle, in order; what a recorded signal has settled is left out, in its standing the usual comes first."""
    possible = (
        _pretraining(history),
        _training_labels(history),
        _validation_labels(history),
        _memorised(history, few),
        _preprocessing(history),
    )
    suspects = sorted((s for s in possible if s), key=lambda s: s.standing)
    return [Evidence(signal=s.signal, text=f"not verified: {s.text}") for s in suspects]


def _pretraining(history: RunHistory) -> Suspect | None:
    look = "compare them with PretrainLoadVerifier(checkpoint=...)"
    if pretrained(history) is not None:
        return None
    if history.context.model.looks_fresh:
        text = f"whether pretrained weights were meant to be there (none were named, and the weights began as an initialiser leaves them): {look}"
        return Suspect(signal="pretrain", text=text, standing=Standing.UNLIKELY)
    return Suspect(signal="pretrain", text=f"whether pretrained weights reached the model: {look}")


def _training_labels(history: RunHistory) -> Suspect | None:
    """Open to doubt unless new samples were answered better than by chance, by the model or by their neighbours."""
    if _labels_fit(history):
        return None
    signs, first, nearest = [], first_sight(history), history.context.data.train.nearest_same
    rule = LabelsRandom()
    if (
        first
        and _low(history, first[1])
        and not silent_because(history, per_class=0, moved=rule.moved, steps=rule.steps)
    ):
        signs.append(f"the first time each sample was seen, {of(first[1])} were right")
    if nearest and _low(history, nearest) and not history.context.data.train.redrawn:
        signs.append(f"the nearest other sample has the same label for {of(nearest)}")
    seen = f" ({listed(signs)}, no more than chance explains)" if signs else ""
    return Suspect(
        signal="data.train",
        text=f"whether training labels belong to their inputs{seen}: look at 20 training samples with their labels",
        standing=Standing.SUPPORTED if signs else Standing.OPEN,
    )


def _low(history: RunHistory, count: Count) -> bool:
    """Whether the samples are enough to say that new ones were not half as far above chance as training came."""
    rate = trivial_rate(history, "train")
    return rate is not None and statistics.wilson(count).high < (rate + train_rate(history)) / 2


def _labels_fit(history: RunHistory) -> bool:
    first = first_sight(history)
    return neighbours_agree(history, ALPHA) or (first is not None and first[2] < ALPHA)


def _validation_labels(history: RunHistory) -> Suspect:
    fit = _labels_fit(history)
    seen = " (those of training fit their inputs)" if fit else ""
    text = f"whether validation uses the same label map and pairing as training{seen}: print 20 validation samples with their class names"
    return Suspect(signal="data.val", text=text, standing=Standing.SUPPORTED if fit else Standing.OPEN)


def _memorised(history: RunHistory, few: int) -> Suspect | None:
    seen = shown(history)
    if seen is None or seen[0] >= few:
        return None
    each = f"{seen[0]:.0f} samples {seen[1]}"
    text = f"whether {each} were merely memorised: train on half as many; unchanged means memorised"
    return Suspect(signal="data.train.size", text=text)


def _preprocessing(history: RunHistory) -> Suspect | None:
    if history.context.data.shift_auc is not None or history.context.data.shift_smd is not None:
        return None
    text = "whether both splits are preprocessed alike: compare mean and spread of one batch of each"
    return Suspect(signal="data.shift", text=text)
