"""LD607: labels that have nothing to do with the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.reading import counts, learned, trivial_rate
from lightning_diag.words import of, percent


@dataclass(frozen=True, kw_only=True)
class LabelsRandom(Rule):
    """Training labels carry no information about the inputs: they can only be memorised."""

    code: ClassVar[str] = "LD607"
    name: ClassVar[str] = "labels-random"
    needs: ClassVar[tuple[str, ...]] = ("stage:val", "stage:train|stage:probe|probe/train_acc")
    tasks: ClassVar[tuple[str, ...]] = ("multiclass", "binary", "dense", "multilabel")
    min_epochs: ClassVar[int] = 3

    alpha: float = 0.01
    """Level of the test that the running accuracy of the first epoch is above chance. In that epoch no sample was seen
    before, so that it measures generalisation within the training set."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        if learned(history, "val") is not False:
            return None
        rate, first = trivial_rate(history, "train"), counts(history, "train")
        if rate is None or not first:
            raise CannotTellError("training accuracy was not counted from the first epoch on")
        epoch, count = first[0]
        if history.context.resumed_epoch:
            raise CannotTellError("the run was resumed; the first look at each sample was not recorded")
        p_value = statistics.binomial(count, rate, "greater")
        memorised = learned(history, "train") or learned(history, "probe")
        if p_value < self.alpha or not memorised:
            return None
        last = first[-1][1]
        text = f"the first time each sample was seen, training got {of(count)}, which is chance ({percent(rate)}); repeated, it got to {of(last)}, and validation stays at chance"
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
            explains=("LD202", "LD203", "LD201", "LD204", "LD602", "LD606", "LD207", "LD302", "LD205", "LD208"),
        )
