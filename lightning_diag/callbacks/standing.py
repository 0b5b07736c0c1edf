"""How the running evaluation stands against the earlier ones."""

from __future__ import annotations

from collections.abc import Iterable

from lightning_diag.callbacks.run import Run


def is_best(run: Run) -> bool:
    """Whether the running evaluation beats all closed ones, by the monitored signal, else accuracy, else loss."""
    now = run.recorder.running_values
    history = run.recorder.history()
    monitored = history.monitored()
    if monitored is None or (run.processes > 1 and monitored[0].startswith("logged/")):  # each process logs its own
        monitored = next((pair for pair in (("val/acc", "max"), ("val/loss", "min")) if pair[0] in now), None)
    if monitored is None or monitored[0] not in now:
        return False
    best = history.series(monitored[0]).best(monitored[1])
    if best is None:
        return True
    value = now[monitored[0]]
    return value > best[1] if monitored[1] == "max" else value < best[1]


def resolve(asked: str, names: Iterable[str]) -> str | None:
    """The series that a user means by ``asked``: a signal, a logged name, or a signal spelled ``val_loss``."""
    present = set(names)
    options = (asked, f"logged/{asked}", asked.replace("_", "/", 1))
    return next((name for name in options if name in present), None)
