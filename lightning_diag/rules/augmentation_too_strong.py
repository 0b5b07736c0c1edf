"""LD613: noise in training that hides what there is to learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.gaps import validation_ahead
from lightning_diag.rules.reading import counts, final_count, learned, trivial_rate
from lightning_diag.words import of


@dataclass(frozen=True, kw_only=True)
class AugmentationTooStrong(Rule):
    """Augmentation or regularising noise makes training samples harder than validation ones by far."""

    code: ClassVar[str] = "LD613"
    name: ClassVar[str] = "augmentation-too-strong"
    needs: ClassVar[tuple[str, ...]] = ("stage:val", "stage:probe|stage:train|probe/train_acc")
    tasks: ClassVar[tuple[str, ...]] = ("multiclass", "binary", "dense")

    margin: float = 0.05
    """Points by which validation must be established to be ahead of training in eval mode."""
    share: float = 0.3
    """Share of the evaluations in which it must be."""
    wider: float = 1.3
    """Spread of training inputs over that of validation inputs that shows added noise."""
    noise: float = 0.15
    """Points that dropout may cost on the training samples; 0.5 in all hidden layers cost 2 at the end."""
    well: float = 0.95
    """Training accuracy in eval mode from which the noise does no harm. Where validation has as few of the errors of an answer
    that ignores the input, it is only worth knowing: strong augmentation makes training hard on purpose."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        found = self._augmented(history) or self._noise(history)
        if found is None or learned(history, "val") is False:
            return None
        return self.finding(
            severity="info" if self._does_little_harm(history) else "warning",
            confidence=0.85,
            claim="likely",
            title="Augmentation or regularising noise is too strong",
            summary=f"Training samples are harder than they need to be: {found.text}.",
            evidence=(found,),
            against=(Evidence(signal="data", text="not excluded: wrong labels in training, which look the same"),),
            why="The model spends its capacity on noise that it will not meet.",
            actions=(
                "weaken the augmentation step by step",
                "less dropout",
                "look at 20 augmented samples: a person should recognise them",
            ),
            next_test="three epochs without augmentation and dropout: higher validation accuracy settles it",
            scope="data",
            explains=(
                "LD204",
                "LD205",
                "LD604",
                "LD102",
                "LD301",
                "LD302",
                "LD303",
                "LD203",
            ),
            excludes=("LD606",),
        )

    def _does_little_harm(self, history: RunHistory) -> bool:
        """Whether validation makes few of the errors of an answer that ignores the input: there is little to win back."""
        val, trivial = final_count(history, "val"), trivial_rate(history) or 0.0
        return val is not None and 1 - val.rate <= (1 - self.well) * (1 - trivial)

    def _augmented(self, history: RunHistory) -> Evidence | None:
        """Inputs vary from one look to the next, and training stays behind validation on them."""
        data = history.context.data
        wider = bool(
            data.train.input_std and data.val.input_std and data.train.input_std > self.wider * data.val.input_std
        )
        ahead = validation_ahead(history, self.margin)
        looked = len(counts(history, "val"))
        if not (data.train.augmented or wider) or len(ahead) < max(2, self.share * looked):
            return None
        epoch, val, train = ahead[-1].epoch, ahead[-1].val, ahead[-1].weighed or ahead[-1].train
        text = f"epoch {epoch}: training {ahead[-1].training} with augmentation, validation {of(val)} without; ahead in {len(ahead)} of {looked} evaluations"
        return Evidence(signal="probe/train_acc", text=text, epoch=epoch, observed=train.rate, expected=val.rate)

    def _noise(self, history: RunHistory) -> Evidence | None:
        """The same samples are answered far better in eval mode, and still not well."""
        running, probe = final_count(history, "train"), final_count(history, "probe")
        if running is None or probe is None or not history.context.model.dropout:
            return None
        if statistics.difference(probe, running).low < self.noise or statistics.wilson(probe).high > self.well:
            return None
        text = f"training samples are {of(running)} right with dropout and {of(probe)} without"
        return Evidence(signal="train/acc", text=text, observed=running.rate, expected=probe.rate)
