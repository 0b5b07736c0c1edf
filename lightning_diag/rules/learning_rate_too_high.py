"""LD102: updates so large that training cannot settle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.rules.instability import killed_units, replaced, restless, spike, stays_high, undone
from lightning_diag.words import number


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
    dead: float = 0.9
    """Dead share of a ReLU layer that counts as harm beside two other signs, as in LD113: the first steps killed the units,
    whatever the loss did afterwards."""
    worse: float = 2.0
    """Training loss at the end over that of the untrained model that is harm beside another sign, even while it falls. Single
    steps of an untrained model vary by less than half of its loss, the mean of an epoch by less still."""
    half: float = 0.5
    """Share of what there was to learn that is left at the end, which counts as harm beside two other signs, even while the
    loss falls: large steps that leave more than half undone did not pay."""
    level: float = 0.1
    """Training loss, as a share of what there was to learn, below which the run is good in spite of all signs."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        possible = (
            spike(history, self.spike),
            replaced(history, self.replaced),
            restless(history, self.restless, self.level),
        )
        signs = [sign for sign in possible if sign]
        harm = stays_high(history, self.noise, self.level, self.worse)
        if len(signs) > 1 and harm is None:
            last = max(sign.epoch or 0 for sign in signs)
            harm = killed_units(history, self.dead, last, self.level) or undone(history, self.half)
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
                *NOTHING_LEARNED,
                "LD101",
                "LD104",
                "LD106",
                "LD107",
                "LD113",
                "LD201",
                "LD203",
                "LD207",
                "LD401",
                "LD406",
                "LD606",
            ),
            excludes=("LD103",),
        )
