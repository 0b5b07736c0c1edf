"""LD508: a module was loaded and takes no part in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.pretraining import IN, judged, where


@dataclass(frozen=True, kw_only=True)
class LoadedModuleUnused(Rule):
    """The weights are in a module that no forward uses."""

    code: ClassVar[str] = "LD508"
    name: ClassVar[str] = "loaded-module-unused"
    needs: ClassVar[tuple[str, ...]] = ("pretrain.checkpoint",)

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        facts = judged(history)
        if facts.used is None:
            raise CannotTellError("whether the module is used was not seen (compiled, or compared from files)")
        if facts.used or facts.verdict not in IN:
            return None
        text = f"no part of {where(facts)} took part in a forward, and none of its parameters got a gradient"
        return self.finding(
            severity="error",
            confidence=0.95,
            claim="established",
            title=f"{where(facts)} is loaded and not used",
            summary=f"{facts.checkpoint} was loaded into {where(facts)}, which training never uses: {text}.",
            evidence=(Evidence(signal="pretrain.used", text=text, observed=0.0, expected=1.0),),
            against=(
                Evidence(
                    signal="pretrain", text="parts that are only used after the recorded epochs would look the same"
                ),
            ),
            why="Training runs on another module, which starts at random.",
            actions=(
                "look which module `forward` calls: often a second encoder was built after loading, or a copy was loaded",
                "load into the module that is called",
            ),
            next_test="put a breakpoint into the forward of the loaded module",
            scope="weights",
            explains=("LD110", "LD109", "LD202", "LD204"),
        )
