"""What a rule is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from lightning_diag.findings import Finding
from lightning_diag.history import RunHistory

NOT_IN_LOGS = (
    "a log holds no model, no gradients, no inputs and no predictions: attach a callback of this library for these"
)
"""Why a rule that needs any of them cannot look at the log of another tool."""


class CannotTellError(Exception):
    """Raised by :meth:`Rule.check` when what it needs was measured but does not decide; becomes *not checked*.

    The message is the reason, a clause that a user understands ("2 evaluations, at least 4 are needed for a trend").
    """


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """One sickness that can be read from a :class:`RunHistory`.

    Subclasses are frozen dataclasses. Thresholds are named, documented fields with defaults whose reason is written
    down; users override them by rule code. :meth:`check` is pure: no clock, no I/O, no torch, no randomness without a
    fixed seed.

    Attributes:
        code: ``LDxxx``, never reused; name: kebab-case name of the sickness.
        needs: what must have been measured, else the engine answers *not checked*: a signal (``val/loss``), a stage
            with counts (``stage:val``), per-class rows (``classes:val``), or a fact of the context by dotted path
            (``data.overlap``, ``pretrain``). ``"a|b"`` means either.
        min_epochs: evaluations of the first needed signal that must exist.
        tasks: tasks it applies to (empty: all); on others it is *not checked* (silently where that is CTC, or the rule is for CTC alone).
    """

    code: ClassVar[str]
    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    min_epochs: ClassVar[int] = 1
    tasks: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def check(self, history: RunHistory) -> Finding | None:
        """The finding, or None when the history is clear of it."""

    def finding(self, **fields_of_finding: Any) -> Finding:
        """A finding under this rule's code and name."""
        return Finding(code=self.code, name=self.name, **fields_of_finding)

    def thresholds(self) -> dict[str, Any]:
        """The values of the threshold fields."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def clear_text(self, history: RunHistory) -> str:  # noqa: ARG002  (part of the interface)
        """What to print in *checked and clear*; the name in words by default."""
        return ""
