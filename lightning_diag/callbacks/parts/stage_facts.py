"""What the counted stages say about the run as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_diag.callbacks.collector import StageCollector
from lightning_diag.callbacks.messages import warn
from lightning_diag.callbacks.run import Run
from lightning_diag.capture import StepCapture
from lightning_diag.engine.verdict import not_found
from lightning_diag.history import CaptureFacts, CTCFacts, Outcomes
from lightning_diag.metrics.groups import MAX_GROUPS
from lightning_diag.metrics.rows import TRAIN_SCORES

Collectors = Mapping[str, StageCollector]


def record_facts(run: Run, capture: StepCapture, collectors: Collectors, *, final: bool) -> None:
    """Put the facts into the context; those that need the whole run where it is ``final``."""
    tell_faults(run, capture)
    context = run.recorder.context
    train = collectors.get("train") or next(iter(collectors.values()), None)
    if train is None:
        return
    changes: dict[str, Any] = {
        "task": train.task,
        "classes": train.classes,
        "capture": tuple(capture.facts(stage) for stage in sorted(collectors, key=_place)),
        "ctc": _ctc_facts(collectors, final=final) or context.ctc,
        "class_names": _names(run, train.classes),
    }
    _tell_unfound(run, capture, context.capture, changes["capture"])
    if final:
        changes["outcomes"] = _outcomes(run, collectors)
        _tell_groups(run, collectors)
    if any(getattr(context, name) != value for name, value in changes.items()):
        run.recorder.update(**changes)


def _tell_groups(run: Run, collectors: Collectors) -> None:
    """Groups that came too late for processes that had agreed on their names, or beyond the most that are counted."""
    for stage, collector in collectors.items():
        if missed := collector.metrics.groups.missed:
            run.recorder.note(
                f"groups=: {missed} or more groups of {stage} are not counted. Where several processes train, those are that no "
                f"process met in the first interval; at most {MAX_GROUPS} are counted."
            )


def tell_faults(run: Run, capture: StepCapture) -> None:
    """One warning and one note about the first error of the capture, and about each stage that is given up."""
    for text in capture.faults.news():
        run.recorder.note(text)
        warn(f"lightning_diag: {text}\n{capture.faults.trace}")


def _tell_unfound(run: Run, capture: StepCapture, before: Sequence[CaptureFacts], now: Sequence[CaptureFacts]) -> None:
    """One warning about the stages that are newly known to give no predictions; of a fault another one tells."""
    known = {facts.stage for facts in before if facts.remedy}
    news = [f for f in now if f.remedy and f.stage not in known and not capture.faults.problem(f.stage)]
    if news and run.is_writer:
        warn(f"lightning_diag: {not_found(news)} {news[0].remedy}")


def _place(stage: str) -> tuple[int, int]:
    """Training first, then the validation loaders in their order."""
    return int(stage != "train"), int(stage.partition(":")[2] or 0)


def _outcomes(run: Run, collectors: Collectors) -> tuple[Outcomes, ...]:
    """Which samples of the best evaluation were right; a process of several sees only its own."""
    if run.trainer.world_size > 1:
        return ()
    memories = [(stage, collector.memory) for stage, collector in collectors.items() if collector.memory]
    return tuple(found for stage, memory in memories if (found := memory.outcomes(stage)))


def _ctc_facts(collectors: Collectors, *, final: bool) -> CTCFacts | None:
    """Call checks come from training; what was decoded (and the mapping test) from validation, at the end."""
    found = {stage: c.ctc_facts() for stage, c in collectors.items() if final or stage == "train"}
    if not any(found.values()):
        return None
    from lightning_diag.metrics.ctc import merge_facts

    return merge_facts(found.get("train"), found.get("val"))


def share_read(train: StageCollector) -> str | None:
    """A sentence on how many positions or batches of training were read; None when all were."""
    metrics = train.metrics
    if metrics.stride > 1:
        return (
            f"Training accuracy rests on one position in {metrics.stride * metrics.read_every}, evenly spaced, because a "
            f"batch has more than {TRAIN_SCORES:,} scores. Validation counts all."
        )
    if train.one_in > 1 and train.ctc is None:
        return (
            f"After the first epoch not all training batches are read for the accuracy, but evenly spaced ones, one in "
            f"{train.one_in} at least; the training loss is that of all. Validation counts all."
        )
    return None


def _names(run: Run, classes: int | None) -> tuple[str, ...]:
    names = run.recorder.context.class_names
    if names and classes and len(names) != classes:
        text = f"{len(names)} class names were given for {classes} classes; they are not used."
        run.recorder.note(text)
        warn(f"lightning_diag: {text}")
        return ()
    return names
