"""LD202: training learned, validation never did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.at_chance import chance_evidence, sign_of_learning, what_training_did
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.chance import near_chance
from lightning_diag.rules.consequences import VALIDATION_BEHIND
from lightning_diag.rules.reading import late, learned, trivial_loss
from lightning_diag.rules.unverified import unverified


@dataclass(frozen=True, kw_only=True)
class NeverGeneralised(Rule):
    """Validation was never better than an answer that ignores the input, although training learned."""

    code: ClassVar[str] = "LD202"
    name: ClassVar[str] = "never-generalised"
    needs: ClassVar[tuple[str, ...]] = ("stage:val|val/loss", "train/loss|train/acc|probe/train_acc")
    tasks: ClassVar[tuple[str, ...]] = ("multiclass", "binary", "dense", "multilabel", "ctc")

    learned: float = 0.5
    """Training has learned when its loss came below this share of the trivial loss: half of what there was to learn."""
    few: int = 30
    """Training samples per class below which memorising is a likely part: what the central limit theorem calls small."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        validated = learned(history, "val")
        if validated is None:
            raise CannotTellError("neither accuracy nor the number of classes is known to compare with chance")
        if validated or not self._training_learned(history):
            return None
        if not near_chance(history, self.learned):
            raise CannotTellError("validation holds too few samples to tell chance from what training reached")
        return self._found(history)

    def _training_learned(self, history: RunHistory) -> bool:
        loss, trivial = history.series("train/loss").finite, trivial_loss(history)
        if len(loss) and trivial and late(loss.values) < self.learned * trivial:
            return True
        return bool(learned(history, "probe") or learned(history, "train"))

    def _found(self, history: RunHistory) -> Finding:
        evidence, sign = chance_evidence(history), sign_of_learning(history)
        causes = unverified(history, self.few)
        return self.finding(
            severity="error",
            confidence=0.85 if sign else 0.95,
            claim="likely" if sign else "established",
            title=f"{HARDLY if sign else NEVER}: validation is {'near' if sign else 'no better than'} chance",
            summary=f"The model {(HARDLY if sign else NEVER).lower()}: {evidence[0].text}, while {what_training_did(history)}.",
            evidence=evidence,
            against=(*((sign,) if sign else ()), *causes),
            why="Regularising a model that never generalised does not help: something between the two splits is broken, "
            "or the features are not there.",
            actions=tuple(e.text.replace("not verified:", "settle") for e in causes),
            next_test="evaluate on the training set through the validation loader's code path: at training accuracy, the "
            "split or its labels are at fault; at chance, the evaluation is",
            explains=(*VALIDATION_BEHIND, "LD208"),
            outweighs=("LD602", "LD601"),
        )


NEVER, HARDLY = "Never generalised", "Hardly generalised, if at all"
