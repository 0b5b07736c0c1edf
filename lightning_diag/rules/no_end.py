"""A record without an end: what it was written by was killed, or goes on; nothing in it tells which."""

from __future__ import annotations

from datetime import datetime, timedelta

from lightning_diag.history import RunHistory

NO_END = "the record has no end: the run was killed or is still going"


def unended(history: RunHistory) -> bool:
    """Whether the record of a live run lacks its end."""
    return history.context.stop.status == "running"


def last_written(history: RunHistory) -> str:
    """``the last epoch written is 12, at about 2026-05-01 13:45 UTC``; without the time where it is not known."""
    if not history.epochs:
        return "no epoch was written"
    when = _when(history)
    return f"the last epoch written is {history.epochs[-1].epoch}{f', at about {when}' if when else ''}"


def _when(history: RunHistory) -> str:
    """The start of the fit plus the time of its epochs; a copied file keeps no time of its own that could be trusted."""
    since, started = history.context.resumed_epoch or 0, history.context.started
    seconds = [record.values.get("time/epoch") for record in history.epochs if record.epoch >= since]
    known = [value for value in seconds if value is not None]
    if not started or len(known) < len(seconds):
        return ""
    try:
        end = datetime.fromisoformat(started) + timedelta(seconds=sum(known))
    except (ValueError, OverflowError):
        return ""
    return end.strftime("%Y-%m-%d %H:%M %Z").strip()
