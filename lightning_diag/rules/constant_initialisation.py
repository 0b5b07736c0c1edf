"""LD114: weight matrices started as a constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import NOTHING_LEARNED
from lightning_diag.rules.reading import learned, pretrained
from lightning_diag.words import percent


@dataclass(frozen=True, kw_only=True)
class ConstantInitialisation(Rule):
    """Weight matrices started with one value everywhere, so that the units of a layer stay copies of each other."""

    code: ClassVar[str] = "LD114"
    name: ClassVar[str] = "constant-initialisation"
    needs: ClassVar[tuple[str, ...]] = ("model.constant_init",)

    share: float = 0.5
    """Share of matrices above which it is said in any case. Below, one zero-initialised head or residual branch is good
    practice, and it is said only when training never got better than trivial."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        share = history.context.model.constant_init or 0.0
        if share <= 0 or pretrained(history) is not None or (share < self.share and not self._did_harm(history)):
            return None
        text = f"{percent(share)} of the weight matrices were constant before the first step"
        return self.finding(
            severity="error",
            confidence=0.95 if share >= self.share else 0.7,
            claim="established",
            title=f"{percent(share)} of the weight matrices started constant",
            summary=f"The units of a layer are copies of each other: {text}.",
            evidence=(Evidence(signal="model.constant_init", text=text, observed=share, expected=0.0),),
            why="Equal units get equal gradients: a layer of any width computes one feature.",
            actions=(
                "keep the default initialisation of torch.nn",
                "nn.init.kaiming_normal_ (ReLU) or xavier_uniform_ (tanh) for own parameters",
                "zeros only for biases and for the last layer of a residual branch",
            ),
            next_test="compare two rows of a hidden weight matrix after one epoch: equal rows mean that symmetry was never broken",
            scope="weights",
            explains=(*NOTHING_LEARNED, "LD102", "LD103", "LD107", "LD113"),  # any update is large beside weights of 0
        )

    def _did_harm(self, history: RunHistory) -> bool:
        return learned(history, "train") is False
