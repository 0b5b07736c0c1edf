"""What a stage remembers of its loss calls: how the steps of each combination of calls are read."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightning_diag.capture.calls import LossCall
from lightning_diag.capture.choice import Choice, Signature, signature_of
from lightning_diag.capture.choosing import Context, choose
from lightning_diag.capture.plans import Evidence, Plan

MAX_SIGNATURES = 64
"""Combinations of loss calls that are remembered."""

FULL_EVERY = 16
"""Every so many steps all losses are listened for, so that one that starts later is noticed."""


@dataclass(slots=True)
class Shared:
    """What the stages learn from each other.

    Attributes:
        route: the calibrated path, with the form of its pairs.
        reversed_sites: losses that are called with the target first.
        masked_sites: unreduced losses of which a mask hides entries.
    """

    route: Plan | None = None
    reversed_sites: frozenset[str] = frozenset()
    masked_sites: frozenset[str] = frozenset()


@dataclass(slots=True)
class Choices:
    """The choices of one stage.

    Attributes:
        shared: what other stages know.
        known: by signature.
        losses: names of the losses of all known steps, None while those of the next one are not known.
        heads: names of the calls that were not chosen.
        masked: whether which predictions count is hidden by a mask.
    """

    shared: Shared
    known: dict[Signature, Choice] = field(default_factory=dict)
    losses: frozenset[str] | None = None
    heads: tuple[str, ...] = ()
    masked: bool = False

    def find(self, calls: list[LossCall], evidence: Evidence, *, close: bool) -> Choice:
        """How to read a step with these calls.

        Raises:
            Rejected: when no call gives a usable pair; the text says why.
        """
        signature = signature_of(calls)
        known = self.known.get(signature)
        if known is not None and not close:
            return known
        loop = next((c for c in self.known.values() if c.loop and set(c.signature) == set(signature)), None)
        if loop is not None and not close:
            return Choice(
                signature, tuple(range(len(signature))), task="dense", loop=True, reason="calls of one loop, joined"
            )
        shared = self.shared
        known_sites = shared.reversed_sites, shared.masked_sites
        choice = choose(calls, Context(evidence.batch, evidence.visits, evidence.result, *known_sites))
        shared.masked_sites |= choice.masked
        self.masked = bool(choice.masked) and choice.task == "other"
        if len(self.known) < MAX_SIGNATURES:
            self.known[signature] = choice
            self.losses = frozenset(name for known in self.known for name in known)
        self.heads = choice.heads or self.heads
        return choice
