"""LD405: input lengths that do not follow the frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.ctc_common import check_advice, check_evidence, checks, codes, looks

SYMPTOMS = codes(101, 115, 201, 202, 203, 204, 205, 301, 302, 401, 403, 406, 407, 408, 409, 410, 411, 606, 607)
"""What follows when part of each line is not read."""


@dataclass(frozen=True, kw_only=True)
class CTCInputLengths(Rule):
    """The input lengths handed to the loss are not those of the frames, so part of each line is never read."""

    code: ClassVar[str] = "LD405"
    name: ClassVar[str] = "ctc-input-lengths-wrong"
    needs: ClassVar[tuple[str, ...]] = ("ctc.blank",)
    tasks: ClassVar[tuple[str, ...]] = ("ctc",)

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        found = checks(history, "lengths-wrong")
        if not found:
            return None
        return self.finding(
            severity="error",
            confidence=0.92,
            claim="likely",
            title="Input lengths do not match the frames",
            summary=found[0][1].partition(" Do: ")[0],
            evidence=(*check_evidence(found), *_share(history)),
            against=(
                Evidence(
                    signal="ctc/train/length_share",
                    text="inputs that are padded far beyond the longest line would look the same",
                ),
            ),
            why="Frames beyond the length are cut off: their text must be squeezed into the rest, or is lost.",
            actions=(
                *check_advice(found),
                "use one function for the subsampling of lengths and features, and assert lengths.max() == log_probs.shape[0]",
            ),
            next_test="print input_lengths and log_probs.shape[0] of one batch: the largest length must equal it",
            scope="ctc",
            explains=SYMPTOMS,
        )


def _share(history: RunHistory) -> tuple[Evidence, ...]:
    """Share of the frames that the lengths cover."""
    every = [look for look in looks(history) if look.train("length_share") is not None]
    return (every[-1].evidence("train", "length_share", "the lengths cover {} of the frames"),) if every else ()
