"""LD501: the pretrained weights are not in the module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import PretrainFacts, RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import WITHOUT_PRETRAINING
from lightning_diag.rules.pretraining import judged, load_action, share_evidence, where
from lightning_diag.words import number, percent


@dataclass(frozen=True, kw_only=True)
class WeightsNotLoaded(Rule):
    """The checkpoint that should be in the module is not."""

    code: ClassVar[str] = "LD501"
    name: ClassVar[str] = "weights-not-loaded"
    needs: ClassVar[tuple[str, ...]] = ("pretrain.checkpoint|model.looks_fresh",)

    related: float = 0.9
    """Cosine above which the module may hold another state of the same run (an average, a later epoch) or the same
    seed: then the claim is *likely*. Strangers stay below 0.02."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        facts = judged(history)
        if facts.verdict != "not loaded":
            return None
        how = "load with the line above" if facts.fix else "mend the load"
        near, stopped = facts.cosine is not None and facts.cosine > self.related, _stopped(history)
        return self.finding(
            severity="error",
            confidence=0.8 if near else 0.99,
            claim="likely" if near else "established",
            title=f"Pretrained weights are not in {where(facts)}",
            summary=f"{percent(facts.equal or 0.0)} of the weights of {where(facts)} equal {facts.checkpoint}: it was not loaded.",
            evidence=(share_evidence(facts),),
            against=_against(facts) if near else (),
            why=_why(history, stopped=stopped),
            actions=(
                load_action(facts),
                "check what loading returns: `missing_keys` should hold nothing but the new head, `unexpected_keys` nothing",
                *(
                    []
                    if stopped
                    else ["train again from the start: what this run learned says nothing about the pretrained model"]
                ),
            ),
            next_test=f"{how} and run one step: PretrainLoadVerifier must then answer “loaded”",
            scope="weights",
            explains=(*WITHOUT_PRETRAINING, "LD110"),
            excludes=("LD502", "LD504", "LD508"),
        )


VERIFIER = "PretrainLoadVerifier"
"""The callback that ends a run for this."""
START = {
    True: "weights that look as an initialiser leaves them",
    False: "weights that do not look as an initialiser leaves them and are not those of the checkpoint",
    None: "weights that are not those of the checkpoint",
}
"""What is known of the start, by ``ModelFacts.looks_fresh``."""


def _why(history: RunHistory, *, stopped: bool) -> str:
    """What the run trained from, as far as it is known, or would have where the verifier ended it."""
    start = START[history.context.model.looks_fresh]
    if stopped:
        return f"The run was stopped for it; it would have trained from {start}, with settings meant for fine-tuning."
    return f"The run trains from {start}, while its settings are meant for fine-tuning."


def _stopped(history: RunHistory) -> bool:
    """Whether the verifier ended the run, by its error or by a stop after the first step."""
    stop = history.context.stop
    return (stop.error or "").startswith("WeightsNotLoadedError") or stop.stopper == VERIFIER


def _against(facts: PretrainFacts) -> tuple[Evidence, ...]:
    text = f"the two point the same way (cosine {number(facts.cosine or 0.0)}): the same seed, or another state of the same run"
    return (Evidence(signal="pretrain.cosine", text=text, observed=facts.cosine, expected=0.0),)
