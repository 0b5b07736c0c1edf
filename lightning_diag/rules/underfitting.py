"""LD204: training and validation level off together, far from what training could reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.no_end import NO_END, unended
from lightning_diag.rules.reading import after, final_count, late, learned, loss_scale, seen, stuck
from lightning_diag.words import of, percent


@dataclass(frozen=True, kw_only=True)
class Underfitting(Rule):
    """The model learned something, then both stages level off with many training samples still wrong."""

    code: ClassVar[str] = "LD204"
    name: ClassVar[str] = "underfitting"
    needs: ClassVar[tuple[str, ...]] = ("train/loss", "stage:train|stage:probe|probe/train_acc")
    min_epochs: ClassVar[int] = 6
    # not several labels per sample, of which few samples are right in all
    tasks: ClassVar[tuple[str, ...]] = ("multiclass", "binary", "dense", "ctc")

    error: float = 0.15
    """Lower end of the interval of the training error: models with capacity to spare fit their training set, and tasks
    whose labels contradict each other in more than one sample of seven are rare (and then this finding is worth reading)."""
    level: float = 0.05
    """The training loss fell by less than this share of what there was to learn over the last third: a run of twice the
    length, at a slowing pace, would gain little more than that."""
    gap: float = 0.05
    """A gap to validation established above this means that training fits more than it generalises; validation established
    ahead by this means noise in training (dropout, augmentation, wrong labels). Neither is too small a model."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        if unended(history):
            raise CannotTellError(NO_END)
        both = [count for stage in ("train", "probe") if (count := final_count(history, stage))]
        train, val = self._training(history), final_count(history, "val")
        if train is None or learned(history, "train") is False or stuck(history):
            return None
        if 1 - statistics.wilson(train).high < self.error or not self._level(history) or self._few_errors(history):
            return None
        if val and any(not -self.gap <= self._apart(count, val) <= self.gap for count in both):
            return None
        return self._found(history, train, val)

    def _few_errors(self, history: RunHistory) -> bool:
        """For CTC, where whole lines are counted: few wrong tokens spoil many long lines.

        A loss that left as little of the trivial one says that what the loss teaches was fitted; what it does not teach
        (lines without a path) is no lack of capacity.
        """
        both = (history.series(f"ctc/train/{name}").finite for name in ("ter", "loss_ratio"))
        return any(len(left) and late(left.values) < self.error for left in both)

    def _training(self, history: RunHistory) -> Count | None:
        """Training accuracy: the running one, which rests on all samples, unless eval mode is established to be better."""
        running, probe = final_count(history, "train"), final_count(history, "probe")
        if running is None or probe is None:
            return running or probe
        return probe if statistics.difference(probe, running).low > 0 else running

    def _apart(self, train: Count, val: Count) -> float:
        """The end of the interval of the gap that is nearer to 0; 0 when the gap is not established."""
        interval = statistics.difference(train, val)
        return 0.0 if 0.0 in interval else min(interval.low, interval.high, key=abs)

    def _level(self, history: RunHistory) -> bool:
        loss = history.series("train/loss").finite
        third = after(loss, loss.epochs[-max(3, len(loss) // 3)]).values if len(loss) >= self.min_epochs else ()
        scale = loss_scale(history)
        return bool(third) and bool(scale) and abs(third[0] - third[-1]) < self.level * (scale or 0.0)

    def _found(self, history: RunHistory, train: Count, val: Count | None) -> Finding:
        beside = f", validation {of(val)}" if val else ""
        lines = " lines without an error" if history.context.task == "ctc" else ""
        text = f"training levelled off at {of(train)}{lines}{beside}"
        size, samples = history.context.model.trainable, history.context.data.train.size
        room = bool(size and samples and size >= samples)
        nearest = history.context.data.train.nearest_same
        ahead = nearest is not None and statistics.difference(nearest, train).low > 0
        hard = nearest is not None and not ahead
        return self.finding(
            severity="info" if room or hard else "warning",
            confidence=0.7,
            claim="likely",
            title=f"Underfitting: training stays at {percent(train.rate)}",
            summary=f"The model underfits: {text}; a longer run would hardly change it.",
            evidence=(
                Evidence(signal="train/acc", text=text, observed=train.rate, expected=1 - self.error),
                seen(history, "train/loss", "training loss"),
                *(_nearest(nearest, "") if ahead else ()),
                *(
                    (Evidence(signal="model.trainable", text=f"{size:,} trainable parameters", observed=size),)
                    if size
                    else ()
                ),
            ),
            against=(
                Evidence(signal="train/loss", text="labels that contradict each other would level off in the same way"),
                *(_nearest(nearest, "no better: ") if hard else ()),
                *(
                    (
                        Evidence(
                            signal="model.trainable", text="as many parameters as samples could learn them by heart"
                        ),
                    )
                    if room
                    else ()
                ),
            ),
            why="What the model cannot fit on its own training data it cannot do on new data.",
            actions=(
                "a larger model, or better input features",
                *((UNREGISTERED.format(size=size),) if size and not room else ()),
                "less regularisation (dropout, weight decay, augmentation)",
            ),
            next_test="double the width: if training accuracy does not move, look at 50 training samples that are wrong, "
            "their labels may be",
            explains=() if room or hard else ("LD302", "LD303"),
            excludes=("LD201", "LD205", "LD203"),
        )


UNREGISTERED = "count the layers: {size:,} trainable parameters are registered, and layers in a plain list are not (nn.ModuleList is)"
"""A smaller network than was meant learns as far as its registered layers go."""


def _nearest(count: Count | None, prefix: str) -> tuple[Evidence, ...]:
    """What answering with the nearest other training sample gets, which lacks no capacity."""
    if count is None:
        return ()
    text = f"{prefix}answering with the nearest other training sample gets {of(count)}"
    return (Evidence(signal="data.train.nearest_same", text=text, observed=count.rate),)
