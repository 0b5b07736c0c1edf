"""Which of several loss calls the numbers of the report are of."""

from __future__ import annotations

import re

from lightning_diag.history import CaptureFacts, RunHistory
from lightning_diag.report.escape import name
from lightning_diag.words import capital, listed

_CHOSEN = re.compile(
    r"loss call .*?\((?P<chosen>.+), (?:the first )?of (?P<number>\d+) (?:equal )?loss calls(?:: (?P<why>[^()]+))?\)"
)
"""In the source of a stage: the call that was taken, of how many, and why this one."""
_IN_TURN = re.compile(r" \(\d+ classes\)$")
"""After the name of a head that other steps train: of such a step only the loss is used."""
SHOWN = 4


def judged(history: RunHistory) -> str:
    """Which head accuracy and losses are those of, as a sentence; empty where there is one."""
    several = [facts for facts in history.context.capture if facts.heads and "loss call" in (facts.source or "")]
    if not several:
        return ""
    facts, numbers = several[0], _numbers(several, history)
    aside = [head for head in facts.heads if _IN_TURN.search(head)]
    others = [head for head in facts.heads if head not in aside]
    found = _CHOSEN.search(facts.source or "")
    parts = []
    if found and others:
        why = f" ({found['why']})" if found["why"] and found["why"] != "training reads it" else ""
        are = "is" if len(others) == 1 else "are"
        rest = f"{_names(others)} {are} not judged"
        parts.append(
            f"{numbers} are those of {name(found['chosen'])}{why}, one of {found['number']} loss calls; {rest}."
        )
    if aside:
        parts.append(f"Steps with other labels ({_names(aside)}) count in the losses alone.")
    return " ".join(parts)


def _numbers(several: list[CaptureFacts], history: RunHistory) -> str:
    """What is of one head: where validation (or training) makes one loss call or none, its loss is not that of the head."""
    stages = {facts.stage.partition(":")[0] for facts in several}
    measured = [stage for stage in ("train", "val") if history.series(f"{stage}/loss").values]
    rate = "accuracy and " if any(len(history.series(f"{stage}/acc")) for stage in stages) else ""
    if not set(measured) - stages:
        return capital(f"{rate}losses")
    return capital(f"{rate}losses of {'training' if 'train' in stages else 'validation'}")


def _names(heads: list[str]) -> str:
    return listed([name(head) for head in heads], SHOWN)
