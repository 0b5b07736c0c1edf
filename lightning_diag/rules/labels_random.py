"""LD607: labels that have nothing to do with the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.chance import chance
from lightning_diag.rules.consequences import VALIDATION_BEHIND
from lightning_diag.rules.first_look import first_sight, neighbours_agree, silent_because
from lightning_diag.rules.reading import (
    above_trivial,
    could_be_good,
    counts,
    learned,
    train_rate,
    trivial_rate,
)
from lightning_diag.words import of


@dataclass(frozen=True, kw_only=True)
class LabelsRandom(Rule):
    """Training labels carry no information about the inputs: they can only be memorised."""

    code: ClassVar[str] = "LD607"
    name: ClassVar[str] = "labels-random"
    needs: ClassVar[tuple[str, ...]] = ("stage:val", "stage:train|stage:probe|probe/train_acc")
    tasks: ClassVar[tuple[str, ...]] = ("multiclass", "binary")  # positions of one image are not new samples
    min_epochs: ClassVar[int] = 3

    alpha: float = 0.01
    """Level of the test that the running accuracy of the first epoch is above chance. In that epoch no sample was seen
    before, so that it measures generalisation within the training set."""

    above: float = 0.05
    """p-value below which validation was above chance, corrected for the number of evaluations: then the labels tell something."""

    per_class: float = 64.0
    """New samples per class below which a first epoch at chance says little: with fewer, not even a medium difference of two
    class means (0.5 standard deviations) is established four times out of five (Cohen 1988)."""
    way: float = 0.25
    """Part of the way from chance to the last training accuracy that the first epoch must exclude. The running accuracy of an
    epoch that ends half way up is about a quarter of the way up."""
    moved: float = 0.01
    """Update of the weights over their norm in that epoch, from which it could have learned: healthy first epochs move them
    by 1 to 40 %."""
    steps: int = 100
    """Optimiser steps in that epoch that do instead, where the updates were not measured."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        if learned(history, "val") is not False or could_be_good(history, "val", train_rate(history)):
            return None
        above = above_trivial(history, "val")
        if above is not None and above < self.above:  # random labels are at chance in every evaluation
            return None
        first, rate = first_sight(history), trivial_rate(history, "train")
        if first is None or rate is None:
            raise CannotTellError("training accuracy was not counted from the first epoch on, when each sample was new")
        epoch, count, p_value = first
        memorised = learned(history, "train") or learned(history, "probe")
        last = counts(history, "train")[-1][1]
        rose = last.rate > count.rate and self._differ(count, last)
        if p_value < self.alpha or not memorised or not rose or neighbours_agree(history, self.alpha):
            return None
        silent = silent_because(history, per_class=self.per_class, moved=self.moved, steps=self.steps)
        if silent:
            raise CannotTellError(silent)
        if statistics.wilson(count).high > rate + self.way * (last.rate - rate):
            raise CannotTellError("the first epoch does not rule out that something was learned in it")
        text = (
            f"the first time each sample was seen, training got {of(count)}, which is chance ({chance(history, 'train')}); "
            f"repeated, it got to {of(last)}, and validation stays at chance"
        )
        return self.finding(
            severity="error",
            confidence=0.85,
            claim="likely",
            title="Training labels do not belong to their inputs",
            summary=f"The labels look random: {text}.",
            evidence=(
                Evidence(
                    signal="train/acc", text=text, epoch=epoch, observed=count.rate, expected=rate, p_value=p_value
                ),
            ),
            against=(Evidence(signal="lr", text="not excluded: a first epoch that was too slow to learn anything"),),
            why="There is nothing to generalise; every epoch memorises noise.",
            actions=(
                "check how inputs and labels are joined: file order, sorting, shuffling x and y separately",
                "look at 20 training samples with their labels",
            ),
            next_test="train on 80 % of the training set and evaluate on the rest: chance there confirms it, since no second data source is involved",
            scope="data",
            explains=(*VALIDATION_BEHIND, "LD202", "LD204", "LD205", "LD208", "LD606"),
            outweighs=("LD602",),
        )

    def _differ(self, first: Count, last: Count) -> bool:
        """Whether repetition made a difference: without memorising there is nothing random to be learned by heart."""
        return statistics.fisher(first, last) < self.alpha
