"""LD208: the target is not reached, established."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag import statistics
from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import CannotTellError, Rule
from lightning_diag.rules.independence import UNKNOWN, as_samples
from lightning_diag.rules.reading import final_count
from lightning_diag.words import number, of, p, percent, points


@dataclass(frozen=True, kw_only=True)
class TargetMissed(Rule):
    """The final value is below the target, and not by chance."""

    code: ClassVar[str] = "LD208"
    name: ClassVar[str] = "target-missed"
    needs: ClassVar[tuple[str, ...]] = ("target",)

    alpha: float = statistics.CUSTOMARY
    """Level of the exact binomial test: one planned comparison, the customary level."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        target = history.context.target
        assert target is not None  # the engine checked ``needs``
        count = final_count(history, "val") if target.metric == "val/acc" else None
        if count is not None:
            tested = as_samples(history, count)
            if tested is None:
                raise CannotTellError(UNKNOWN)
            p_value = statistics.binomial(tested, target.value, "less")
            missed = count.rate < target.value and p_value < self.alpha
            text = f"validation {of(count)} at the end against {percent(target.value)} ({p(p_value)})"
            return self._found(text, count.rate, target.value, p_value) if missed else None
        series = history.series(target.metric).finite
        if not len(series):
            raise CannotTellError(f"{target.metric} was not recorded; recorded are {', '.join(history.signals()[:8])}")
        now = series.values[-1]
        missed = now < target.value if target.mode == "max" else now > target.value
        return (
            self._found(f"{target.metric} {number(now)} at the end against {number(target.value)}", now, target.value)
            if missed
            else None
        )

    def _found(self, text: str, now: float, value: float, p_value: float | None = None) -> Finding:
        return self.finding(
            severity="warning",
            confidence=0.95 if p_value is not None else 0.8,
            claim="established" if p_value is not None else "likely",
            title=f"Target missed by {points(value - now)}" if p_value is not None else "Target missed",
            summary=f"The target is missed: {text}.",
            evidence=(Evidence(signal="target", text=text, observed=now, expected=value, p_value=p_value),),
            why="The run does not do what it was made for.",
            actions=(
                "mend the causes that this report names, where it names any, and measure again",
                "check that the target can be reached: what do people or the best published model get on these samples?",
            ),
            next_test="evaluate a reference model (or a person) on the same validation samples",
        )
