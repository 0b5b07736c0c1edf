"""LD102: updates so large that training cannot settle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.reading import late, loss_scale, stuck
from lightning_diag.words import number, percent


@dataclass(frozen=True, kw_only=True)
class LearningRateTooHigh(Rule):
    """Updates are so large that the loss jumps and does not settle."""

    code: ClassVar[str] = "LD102"
    name: ClassVar[str] = "learning-rate-too-high"
    needs: ClassVar[tuple[str, ...]] = ("train/loss",)

    spike: float = 3.0
    """Loss of a step within the first two epochs over that of the untrained model. Steps vary with the batch, by less than
    half in healthy runs of 16 samples per batch; a network with random weights of the usual scale does not reach 3."""
    replaced: float = 0.7
    """Update of one epoch over the weights: above, most of the initial weights is gone after one epoch. Healthy first
    epochs were measured at 0.01 to 0.4, learning rates 30 to 100 times too high at 0.9 to 1."""
    restless: float = 0.25
    """Noise of the training loss over its level in the second half of the run: an epoch averages over many steps, so that
    healthy runs stay below 0.1."""
    noise: float = 0.1
    """Noise over level that counts as harm beside another sign."""
    level: float = 0.1
    """Training loss, as a share of what there was to learn, below which the run is good in spite of all signs."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        signs = [sign for sign in (self._spike(history), self._replaced(history), self._restless(history)) if sign]
        harm = _harm(history, self.noise, self.level)
        if not signs or harm is None:
            return None
        lr = history.context.optim.lr
        now = f" (learning rate {number(lr)})" if lr else ""
        return self.finding(
            severity="error",
            confidence=min(
                0.95,
                0.6 + 0.2 * (len(signs) - 1) + (0.15 if len(signs) == 1 and signs[0].signal != "train/loss" else 0.0),
            ),
            claim="likely",
            title=f"Learning rate too high{now}",
            summary=f"The learning rate is too high{now}: {signs[0].text}; {harm.text}.",
            evidence=(*signs, harm),
            against=(
                Evidence(
                    signal="data", text="not excluded: single samples with extreme values, which make the same jumps"
                ),
            ),
            why="Updates overshoot; what one step learns the next one undoes, and units can die on the way.",
            actions=(
                "a learning rate 3 to 10 times lower",
                "warm-up over the first few hundred steps",
                "gradient_clip_val=1.0",
            ),
            next_test="one epoch at a tenth of the learning rate: a lower training loss after it settles the question",
            explains=(
                "LD104",
                "LD106",
                "LD113",
                "LD115",
                "LD202",
                "LD203",
                "LD204",
                "LD205",
                "LD207",
                "LD201",
                "LD301",
                "LD302",
                "LD107",
                "LD208",
                "LD401",
                "LD406",
                "LD606",
            ),
            excludes=("LD103",),
        )

    def _spike(self, history: RunHistory) -> Evidence | None:
        first, peaks = history.series("loss/first").finite, history.series("loss/step_max").finite
        if not len(first) or not len(peaks):
            return None
        usual = max(first.values[0], loss_scale(history) or 0.0)
        epoch, peak = max(list(peaks)[:2], key=lambda pair: pair[1])
        if usual <= 0 or peak < self.spike * usual:
            return None
        text = f"a step of epoch {epoch} had a loss of {number(peak)}, {number(peak / usual)} times that of the untrained model"
        return Evidence(signal="loss/step_max", text=text, epoch=epoch, observed=peak, expected=usual)

    def _replaced(self, history: RunHistory) -> Evidence | None:
        ratio, norm = history.series("update/ratio").finite, history.series("param/norm").finite
        if not len(ratio) or max(ratio.values) < self.replaced or (len(norm) > 1 and norm.values[-1] < norm.values[0]):
            return None
        epoch, value = max(ratio, key=lambda pair: pair[1])
        text = f"the updates of epoch {epoch} were {percent(value)} of the weights themselves"
        return Evidence(signal="update/ratio", text=text, epoch=epoch, observed=value, expected=self.replaced)

    def _restless(self, history: RunHistory) -> Evidence | None:
        values = history.series("train/loss").finite.values
        half = values[len(values) // 2 :]
        if len(half) < 5 or late(half) <= 0 or statistics.noise(half) < self.restless * late(half):
            return None
        if late(half) < self.level * (loss_scale(history) or math.inf):
            return None
        text = (
            f"the training loss jumps by {percent(statistics.noise(half) / late(half))} of itself from epoch to epoch"
        )
        return Evidence(
            signal="train/loss", text=text, observed=statistics.noise(half) / late(half), expected=self.restless
        )


def _harm(history: RunHistory, noise: float, level: float) -> Evidence | None:
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
    text = f"the training loss stays at {number(late(half))}, moving by {number(statistics.noise(half))} per epoch"
    return Evidence(signal="train/loss", text=text, observed=late(half), expected=level * scale)
