"""What was looked at and is fine, what could not be looked at, and with which settings."""

from __future__ import annotations

from collections import defaultdict

from lightning_diag.findings import SWITCHED_OFF, Crashed
from lightning_diag.history import CaptureFacts, RunContext, RunHistory
from lightning_diag.report import numbers
from lightning_diag.report.document import Block, Bullets, Column, Item, Paragraph, table
from lightning_diag.report.escape import name, visible
from lightning_diag.report.sections.causes import sentence, words
from lightning_diag.report.view import View
from lightning_diag.rules import RULES
from lightning_diag.rules.no_end import unended
from lightning_diag.rules.resuming import first_rate
from lightning_diag.thinning import notes
from lightning_diag.words import capital

NOTES = 30
"""Notes of the observer that are printed; a run that produces more has said the same thing many times."""


HPARAMS = 40
"""Hyper-parameters that are printed; the others are counted."""


def checked_and_clear(view: View) -> tuple[Block, ...]:
    """All clear answers in one paragraph."""
    clear = view.diagnosis.clear
    if not clear:
        return ()
    texts = (f"{words(c.name)}{f' ({c.text})' if c.text else ''}" for c in clear)
    return (Paragraph(text=" · ".join(texts)),)


def not_checked(view: View) -> tuple[Block, ...]:
    """Unchecked sicknesses gathered by reason, and what failed: rules, and parts of the observer."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for outcome in view.diagnosis.not_checked:
        reasons[outcome.reason].append(words(outcome.name))
    items = [Item(lead=f"{capital(reason)}:", text=", ".join(names)) for reason, names in reasons.items()]
    remedy = next((facts.remedy for facts in view.history.context.capture if facts.remedy), None)
    if remedy:  # one extractor serves all stages: said once
        items.insert(0, Item(lead="No predictions that can be counted were found:", text=visible(remedy)))
    items += [Item(lead=f"{_what(c)} failed:", text=_raised(c)) for c in view.diagnosis.crashed]
    return (Bullets(items=tuple(items)),) if items else ()


def _what(crashed: Crashed) -> str:
    return f"{crashed.code} {words(crashed.name)}" if crashed.code else capital(name(crashed.name, 100))


def _raised(crashed: Crashed) -> str:
    """What a rule, or a part of the observer, raised; without the part nothing of what it measures is there from then on."""
    who = "the rule raised" if crashed.code else "it measured nothing from then on, after"
    return f"{who} {visible(crashed.error).rstrip('.')[:300]}; please report it"


def configuration(view: View) -> tuple[Block, ...]:
    """The run as it was configured, the observer's notes, and every threshold that was in use."""
    rows = [row for row in _rows(view.history) if row[1]]
    blocks: list[Block] = [table((Column("setting"), Column("value")), rows)] if rows else []
    failed = {f"{c.name}{SWITCHED_OFF}{c.error}" for c in view.diagnosis.crashed}
    told = [note for note in notes(view.history) if note not in failed]  # those stand under "Not checked"
    if told:
        items = tuple(Item(text=name(note, 400)) for note in told[:NOTES])
        more = (Item(text=f"{len(told) - NOTES} more notes"),) if len(told) > NOTES else ()
        blocks.append(Bullets(items=items + more))
    thresholds = _thresholds(view)
    return tuple([*blocks, thresholds] if thresholds else blocks)


def _rows(history: RunHistory) -> list[tuple[str, str]]:
    context = history.context
    model, optim, stop, hparams = context.model, context.optim, context.stop, _hparams(history)
    of = f", {numbers.magnitude(model.trainable)} trainable" if model.trainable != model.parameters else ""
    return [
        ("module", name(model.name) if model.name else ""),
        ("parameters", numbers.magnitude(model.parameters) + of if model.parameters is not None else ""),
        ("task", _task(context)),
        ("loss", name(model.loss_name) if model.loss_name else ""),
        ("predictions read from", "; ".join(dict.fromkeys(map(_capture, context.capture)))),
        ("optimiser", _optimiser(history)),
        ("schedule", name(optim.scheduler) if optim.scheduler else ""),
        ("gradient clipping", _clip(context)),
        ("accumulated batches", str(optim.accumulate) if (optim.accumulate or 1) > 1 else ""),
        ("planned length", _planned(context)),
        ("how it ended", _ended(history)),
        ("resumed from", name(context.resumed_from, 100) if context.resumed_from else ""),
        ("best judged by", f"{context.monitor} ({context.monitor_mode})" if context.monitor else ""),
        ("early stopping", name(optim.early_stopping, 100) if optim.early_stopping else ""),
        ("best weights kept in", name(stop.best_checkpoint, 100) if stop.best_checkpoint else ""),
        ("devices", _devices(context)),
        ("seed", str(context.seed) if context.seed is not None else ""),
        ("time", numbers.duration(context.total_seconds)),
        ("started", name(context.started) if context.started else ""),
        ("record", name(context.source, 100) if context.source != "live" else ""),
        ("versions", ", ".join(f"{name(k)} {name(v)}" for k, v in context.versions.items())),
        *((name(key), name(value, 200)) for key, value in context.settings.items()),
        *((name(key), name(value, 100)) for key, value in hparams[:HPARAMS]),
        ("more hyper-parameters", str(len(hparams) - HPARAMS) if len(hparams) > HPARAMS else ""),
    ]


def _hparams(history: RunHistory) -> list[tuple[str, str]]:
    """The hyper-parameters without a learning rate that the line of the optimiser names."""
    named = {numbers.rate(rate) for rate in (history.context.optim.lr, _used(history)) if rate is not None}
    return [
        (key, value)
        for key, value in history.context.hparams.items()
        if not (key.rsplit(".", 1)[-1] in LEARNING_RATES and _rate(value) in named)
    ]


LEARNING_RATES = ("lr", "learning_rate")
"""What modules call theirs."""


def _rate(text: str) -> str:
    try:
        return numbers.rate(float(text))
    except ValueError:
        return ""


def _task(context: RunContext) -> str:
    classes = f", {context.classes:,} classes" if context.classes else ""
    return f"{context.task}{classes}" if context.task else ""


def _capture(facts: CaptureFacts) -> str:
    source = facts.problem or facts.source or ""
    return f"{facts.stage}: {visible(source)}" if source else ""


def _optimiser(history: RunHistory) -> str:
    optim = history.context.optim
    parts = [
        name(optim.optimizer) if optim.optimizer else "",
        _learning_rate(history),
        f"weight decay {numbers.rate(optim.weight_decay)}" if optim.weight_decay else "",
        f"momentum {numbers.rate(optim.momentum)}" if optim.momentum and "Adam" not in (optim.optimizer or "") else "",
        "manual optimisation" if optim.automatic is False else "",
    ]
    return ", ".join(part for part in parts if part)


def _learning_rate(history: RunHistory) -> str:
    """The learning rate at the start of the fit; after a resume, which may override it, also the one that was used."""
    configured, used = history.context.optim.lr, _used(history)
    if used is None or used == configured:
        return f"learning rate {numbers.rate(configured)}" if configured is not None else ""
    word = "restored" if history.context.resumed_from else "configured"
    as_configured = f" ({word}: {numbers.rate(configured)})" if configured is not None else ""
    return f"learning rate {numbers.rate(used)} in the first epoch after resuming{as_configured}"


def _used(history: RunHistory) -> float | None:
    """The learning rate of the first epoch after a resume: of its first step where it moved within the epoch."""
    resumed, first = history.context.resumed_epoch, first_rate(history)
    if resumed is not None and first is not None:
        return first
    return next((lr for epoch, lr in history.series("lr").finite if resumed is not None and epoch >= resumed), None)


def _clip(context: RunContext) -> str:
    optim = context.optim
    return f"{numbers.significant(optim.clip)} by {optim.clip_algorithm or 'norm'}" if optim.clip else ""


def _planned(context: RunContext) -> str:
    optim = context.optim
    epochs = f"{optim.planned_epochs:,} epochs" if optim.planned_epochs else ""
    steps = f"{optim.planned_steps:,} steps" if optim.planned_steps and optim.planned_steps > 0 else ""
    return ", ".join(part for part in (epochs, steps) if part)


def _ended(history: RunHistory) -> str:
    if unended(history):
        return "no end recorded"  # the first lines say more
    stop = history.context.stop
    who = f" by {name(stop.stopper)}" if stop.stopper else ""
    why = name(stop.reason or stop.error or "", 300) if stop.reason or stop.error else ""
    status = "" if stop.status == "unknown" else f"{stop.status}{who}"
    return ": ".join(part for part in (status, why) if part)


def _devices(context: RunContext) -> str:
    parts = (
        f"{context.devices} × {context.accelerator or 'device'}" if context.devices else context.accelerator or "",
        name(context.strategy) if context.strategy else "",
        f"precision {name(context.precision)}" if context.precision else "",
    )
    return ", ".join(part for part in parts if part)


def _thresholds(view: View) -> Paragraph | None:
    """The thresholds of what was found and those that the user changed, and where all others stand."""
    usual = {rule.code: rule().thresholds() for rule in RULES}
    found = {finding.code for finding in view.diagnosis.findings}
    thresholds = view.diagnosis.thresholds
    parts = [
        f"{code}: {', '.join(_threshold(key, value) for key, value in values.items())}"
        for code, values in sorted(thresholds.items())
        if values and (code in found or values != usual.get(code, values))
    ]
    others = len(thresholds) - len(parts)
    if not thresholds:
        return None
    which = f"those of the other {others} rules" if parts else f"the values of all {others} rules"
    rest = sentence(f"{which} are in diagnosis.json") if others else ""
    return Paragraph(lead="Thresholds", text=" ".join(filter(None, [sentence(" · ".join(parts)), rest])))


def _threshold(key: str, value: object) -> str:
    shown = f"{value:g}" if isinstance(value, (int, float)) else str(value)
    return f"{key.replace('_', ' ')} {shown}"
