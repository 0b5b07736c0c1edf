"""LD505: the checkpoint itself was never trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.pretraining import judged


@dataclass(frozen=True, kw_only=True)
class CheckpointUntrained(Rule):
    """The checkpoint holds a freshly initialised network."""

    code: ClassVar[str] = "LD505"
    name: ClassVar[str] = "checkpoint-untrained"
    needs: ClassVar[tuple[str, ...]] = ("pretrain.checkpoint",)

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        facts = judged(history)
        if facts.checkpoint_untrained is None:
            raise CannotTellError("the checkpoint has no norm layers, whose values tell whether it was trained")
        if not facts.checkpoint_untrained:
            return None
        text = "every norm layer of the checkpoint is at its initial value, and batch-norm counters are 0"
        return self.finding(
            severity="error",
            confidence=0.9,
            claim="likely",
            title="The checkpoint looks untrained",
            summary=f"{facts.checkpoint} looks freshly initialised: {text}.",
            evidence=(Evidence(signal="pretrain.checkpoint_untrained", text=text, observed=1.0, expected=0.0),),
            against=(
                Evidence(
                    signal="pretrain", text="a network trained with all its norm layers frozen would look the same"
                ),
            ),
            why="Loading it gives a random start under the name of a pretrained one.",
            actions=(
                "look where it was saved: before training, from a copy of the module, or by a rank that never trained",
                "save again from the trained module, and load that",
            ),
            next_test="evaluate the checkpoint on the task it was trained for: chance level means it is untrained",
            scope="weights",
            explains=("LD202", "LD204", "LD110"),
        )
