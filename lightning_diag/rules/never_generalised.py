"""LD202: training learned, validation never did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.reading import (
    best_count,
    classes,
    final_count,
    late,
    learned,
    pretrained,
    trivial_loss,
    trivial_rate,
)
from lightning_diag.words import number, of, p, percent


@dataclass(frozen=True, kw_only=True)
class NeverGeneralised(Rule):
    """Validation was never better than an answer that ignores the input, although training learned."""

    code: ClassVar[str] = "LD202"
    name: ClassVar[str] = "never-generalised"
    needs: ClassVar[tuple[str, ...]] = ("stage:val|val/loss", "train/loss|train/acc|probe/train_acc")

    learned: float = 0.5
    """Training has learned when its loss came below this share of the trivial loss: half of what there was to learn."""
    few: int = 30
    """Training samples per class below which memorising is a likely part: what the central limit theorem calls small."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        validated = learned(history, "val")
        if validated is None:
            raise CannotTellError("neither accuracy nor the number of classes is known to compare with chance")
        return None if validated or not self._training_learned(history) else self._found(history)

    def _training_learned(self, history: RunHistory) -> bool:
        loss, trivial = history.series("train/loss").finite, trivial_loss(history)
        if len(loss) and trivial and late(loss.values) < self.learned * trivial:
            return True
        return bool(learned(history, "probe") or learned(history, "train"))

    def _found(self, history: RunHistory) -> Finding:
        evidence = _evidence(history)
        return self.finding(
            severity="error",
            confidence=0.95,
            claim="established",
            title="Never generalised: validation is no better than chance",
            summary=f"The model never generalised: {evidence[0].text}, while {_training(history)}.",
            evidence=evidence,
            against=tuple(_unverified(history, self.few)),
            why="Regularising a model that never generalised does not help: something between the two splits is broken, "
            "or the features are not there.",
            actions=tuple(e.text.replace("not verified:", "settle first") for e in _unverified(history, self.few)),
            next_test="evaluate on the training set through the validation loader's code path: at training accuracy, the "
            "split or its labels are at fault; at chance, the evaluation is",
            explains=("LD201", "LD203", "LD207", "LD208", "LD602", "LD302", "LD601"),
        )


def _evidence(history: RunHistory) -> tuple[Evidence, ...]:
    out = []
    last, best, rate = final_count(history, "val"), best_count(history, "val"), trivial_rate(history)
    if last and best and rate:
        p_value = statistics.binomial(last, rate, "greater")
        text = f"validation {of(last)} is chance ({percent(rate)}, {p(p_value)}), {of(best[1])} at best"
        out.append(Evidence(signal="val/acc", text=text, observed=last.rate, expected=rate, p_value=p_value))
    loss, trivial = history.series("val/loss").finite, trivial_loss(history)
    if len(loss) and trivial:
        known = f" = ln {classes(history)}" if classes(history) and abs(trivial - _ln(history)) < 1e-9 else ""
        text = f"validation loss {number(loss.values[-1])} against {number(trivial)}{known} for an answer that ignores the input"
        out.append(Evidence(signal="val/loss", text=text, observed=loss.values[-1], expected=trivial))
    return tuple(out)


def _ln(history: RunHistory) -> float:
    import math

    return math.log(classes(history) or 1)


def _training(history: RunHistory) -> str:
    loss = history.series("train/loss").finite
    if len(loss):
        return f"the training loss fell to {number(loss.values[-1])}"
    count = final_count(history, "probe") or final_count(history, "train")
    return f"training reached {of(count)}" if count else "training improved"


def _unverified(history: RunHistory, few: int) -> list[Evidence]:
    """The causes to settle first; what a recorded signal has settled is left out."""
    context, out = history.context, []
    if pretrained(history) is None:
        text = "whether pretrained weights reached the model: compare them with PretrainLoadVerifier(checkpoint=...)"
        out.append(("pretrain", text))
    labels = "whether validation uses the same label map and pairing as training: print 20 validation samples with their class names"
    out.append(("data.val", labels))
    size, number_of_classes = context.data.train.size, classes(history)
    if size and number_of_classes and size / number_of_classes < few:
        each = round(size / number_of_classes)
        text = (
            f"whether {each} samples per class were merely memorised: train on half as many; unchanged means memorised"
        )
        out.append(("data.train.size", text))
    if context.data.shift_auc is None and context.data.shift_smd is None:
        out.append(
            ("data.shift", "whether both splits are preprocessed alike: compare mean and spread of one batch of each")
        )
    return [Evidence(signal=signal, text=f"not verified: {text}") for signal, text in out]
