"""Several series watched together: a run stops when all of them have stalled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lightning_diag.errors import ConfigError
from lightning_diag.history import StopSettings
from lightning_diag.stopping.criterion import StoppingCriterion
from lightning_diag.stopping.exits import Exits
from lightning_diag.stopping.schedule import LearningRatePlan
from lightning_diag.stopping.values import Decision, Evaluation
from lightning_diag.words import capital, title

ALONE = frozenset({"non-finite", "target", "collapse"})
"""Causes that stop a run whatever the other series say; the loss alone may worsen while the metric still improves."""


@dataclass
class JointCriterion:
    """Stop when every series has stalled, or one of them gives a reason to leave at once.

    Attributes:
        criteria: one criterion per series, the leading one first: its numbers are those of the joint decision.
        latest: the last decision of each series alone.

    Raises:
        ConfigError: no criterion was given.
    """

    criteria: Mapping[str, StoppingCriterion]
    latest: Mapping[str, Decision] = field(default_factory=dict, init=False)

    @classmethod
    def of(cls, asked: StopSettings) -> JointCriterion:
        """One criterion per series of ``asked``.

        Raises:
            ConfigError: there is no series, or a setting is out of range.
        """
        known = bool(asked.rates) or asked.on_plateau
        plan = LearningRatePlan(points=asked.rates, on_plateau=asked.on_plateau, floor=asked.floor) if known else None
        leading = Exits(
            target=asked.target, stop_at_target=asked.stop_at_target
        )  # a target is one of the leading series
        return cls(
            {
                name: StoppingCriterion(
                    mode,
                    max_missed_gain=asked.max_missed_gain,
                    min_gain=asked.min_gain,
                    min_evaluations=asked.min_evaluations,
                    planned=asked.planned,
                    plan=plan,
                    exits=Exits() if i else leading,
                )
                for i, (name, mode) in enumerate(asked.series)
            }
        )

    def __post_init__(self) -> None:
        if not self.criteria:
            raise ConfigError("JointCriterion(criteria={}): expected at least one series")

    def reset(self) -> None:
        """Forget the run."""
        for criterion in self.criteria.values():
            criterion.reset()
        self.latest = {}

    def update(self, evaluations: Mapping[str, Evaluation]) -> Decision:
        """Take the next evaluation of each series.

        Raises:
            KeyError: a series is missing.
        """
        decisions = {name: criterion.update(evaluations[name]) for name, criterion in self.criteria.items()}
        self.latest = decisions
        lead = next(iter(decisions.values()))
        for name, decision in decisions.items():
            if decision.stop and decision.cause in ALONE:
                return replace(lead, stop=True, cause=decision.cause, reason=f"{title(name)}: {decision.reason}")
        going = [(name, decision) for name, decision in decisions.items() if not decision.stop]
        if not going:
            return replace(lead, stop=True, reason=_all_reasons(decisions))
        name, decision = going[0]
        return replace(lead, stop=False, cause=decision.cause, reason=f"{title(name)}: {decision.reason}")

    def state_dict(self) -> dict[str, Any]:
        """The state of each criterion by name."""
        return {name: criterion.state_dict() for name, criterion in self.criteria.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`; a series that the state does not know starts afresh."""
        for name, criterion in self.criteria.items():
            if name in state:
                criterion.load_state_dict(state[name])


def _all_reasons(decisions: Mapping[str, Decision]) -> str:
    """A sentence per series; series that stop for the same reason share theirs."""
    names: dict[str, list[str]] = {}
    for name, decision in decisions.items():
        names.setdefault(decision.reason, []).append(title(name))
    return ". ".join(f"{capital(' and '.join(same))}: {reason}" for reason, same in names.items())
