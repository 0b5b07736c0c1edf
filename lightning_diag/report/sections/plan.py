"""What to do, in order: now, with the data, with the model, and which experiments come next.

Nothing stands here that a cause above already says; the plan orders the causes and adds what they left out.
"""

from __future__ import annotations

from lightning_diag.findings import Finding
from lightning_diag.report.document import Block, Bullets, Item
from lightning_diag.report.escape import quoted
from lightning_diag.report.sections.causes import ACTIONS_IN_PLACE, plain_in, sentence
from lightning_diag.report.view import View, title

FAMILIES = {
    "1": "Model and training", "2": "Model and training", "3": "Data", "4": "Model and training",
    "5": "Weights", "6": "Data", "7": "Loop",
}  # fmt: skip
"""First digit of a code: where its remedy is applied."""
EXPERIMENTS = 3
"""Experiments for lesser findings; more would be a list that nobody runs."""
ORDER = ("Now", "Loop", "Weights", "Data", "Model and training", "Next experiments")


def plan(view: View) -> tuple[Block, ...]:
    """An ordered list; empty when the causes already say all."""
    causes = view.diagnosis.causes
    steps: dict[str, list[str]] = {key: [] for key in ORDER}
    steps["Now"] += [text for text in (_keep(view), _first(causes)) if text]
    for finding in causes:
        steps[FAMILIES.get(finding.code[2:3], "Now")] += finding.actions[ACTIONS_IN_PLACE:]
    steps["Next experiments"] += _experiments(view, causes)
    said = [text for finding in causes for text in (*finding.actions[:ACTIONS_IN_PLACE], finding.next_test)]
    items = []
    for key in ORDER:
        new: list[str] = []
        for text in steps[key]:
            if not plain_in(text, said):
                new.append(text)
                said.append(text)
        if new:
            items.append(Item(lead=f"{key}:", text=" ".join(sentence(text) for text in new)))
    return (Bullets(items=tuple(items), ordered=True),) if items else ()


def _keep(view: View) -> str:
    """Which weights to go on with, when the last ones are not the best."""
    best, final, signal = view.best, view.final, view.metric[0]
    causes = view.diagnosis.causes
    if best is None or final is None or not causes:
        return ""
    if any("keep the checkpoint" in text.lower() for finding in causes for text in (finding.why, *finding.actions)):
        return ""
    start = view.history.context.baseline
    better_start = start is not None and start.correct is not None and signal == "val/acc"
    if start is not None and start.correct is not None and better_start and start.correct.rate > best.values[signal]:
        where = f" of epoch {start.epoch}" if start.epoch is not None else ""
        return f"Keep the checkpoint{where} that this fit started from; nothing since has been better"
    if best is final or best.values[signal] == final.values.get(signal):
        return ""
    path = view.history.context.stop.best_checkpoint
    at = f" ({quoted(path, 80)})" if path else ""
    return (
        f"Go on from the weights of epoch {best.epoch}{at}, the best so far by {title(signal)}, not from the last ones"
    )


def _first(causes: tuple[Finding, ...]) -> str:
    """In which order to take the causes."""
    tests = [str(rank) for rank, finding in enumerate(causes, 1) if finding.next_test]
    if len(causes) < 2 or not tests:
        return ""
    rest = " and ".join(filter(None, [", ".join(tests[1:-1]), tests[-1]])) if len(tests) > 1 else ""
    then = f", then {rest}" if rest else ""
    return f"Run the check of cause {tests[0]} first{then}; change one thing at a time, and validate before and after"


def _experiments(view: View, causes: tuple[Finding, ...]) -> list[str]:
    """Tests of findings that are printed without one: symptoms and things to know."""
    rest = (f for f in view.diagnosis.findings if f not in causes)
    return [f.next_test for f in rest if f.next_test][:EXPERIMENTS]
