"""LD406: one or two tokens for everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.ctc_common import PLATEAU, SETTLED_STEPS, Look, above, below, codes, held, recent_fall
from lightning_diag.words import number


@dataclass(frozen=True, kw_only=True)
class CTCSingleToken(Rule):
    """The model emits, but only one or two different tokens."""

    code: ClassVar[str] = "LD406"
    name: ClassVar[str] = "ctc-single-token-collapse"
    needs: ClassVar[tuple[str, ...]] = ("ctc/val/distinct_tokens|ctc/train/distinct_tokens",)
    tasks: ClassVar[tuple[str, ...]] = ("ctc",)

    most: int = 2
    """Different tokens emitted; runs with a far too high rate kept 0 or 1, healthy ones all of theirs."""
    wanted: int = 5
    """Different tokens in the references from which on two are too few."""
    steps: int = SETTLED_STEPS
    """Steps before which a network has hardly begun to emit."""
    falling: float = 0.04
    """Fall of the loss over 50 steps that speaks for a model that is just leaving the all-blank phase."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        last = held(history, self._collapsed)
        if last is None:
            return None
        tokens, wanted = int(last.either("distinct_tokens") or 0), int(last.either("reference_tokens") or 0)
        return self.finding(
            severity="error",
            confidence=0.8,
            claim="likely",
            title=f"{tokens} of {wanted} tokens emitted",
            summary=f"After {last.step:,} steps the model emits {tokens} different token{'' if tokens == 1 else 's'} for "
            f"references that hold {wanted}.",
            evidence=(
                *last.shown("distinct_tokens", "{} different tokens emitted", float(wanted)),
                *last.shown("emit_ratio", "{} tokens emitted per reference token", 1.0),
                *last.shown("ter", "token error rate {}"),
            ),
            against=_against(last),
            why="Such an output does not depend on the input; it rarely recovers by itself.",
            actions=("learning rate 10 to 100 times lower, with warm-up", "clip the gradient norm at 1 to 5"),
            next_test="the same run with a hundredth of the rate for 200 steps",
            scope="ctc",
            epoch=last.epoch,
            explains=codes(115, 204, 301, 302, 411),
        )

    def _collapsed(self, look: Look, before: Look | None) -> bool:
        tokens, wanted = look.either("distinct_tokens"), look.either("reference_tokens")
        emits = look.either("emit_ratio")
        return (
            look.step >= self.steps
            and emits is not None
            and not below(emits, PLATEAU)
            and below(tokens, self.most + 1)
            and above(wanted, self.wanted - 1)
            and not above(recent_fall(look, before), self.falling)
        )


def _against(last: Look) -> tuple[Evidence, ...]:
    """A loss below the trivial one says that something is used of the input."""
    ratio = last.train("loss_ratio")
    if ratio is None or ratio >= 1:
        return ()
    text = f"the training loss is {number(ratio)} of the trivial loss, so a little of the input is used"
    return (Evidence(signal="ctc/train/loss_ratio", text=text, observed=ratio),)
