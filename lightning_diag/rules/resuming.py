"""What happened around a resume, and what would look the same."""

from __future__ import annotations

from lightning_diag import statistics
from lightning_diag.findings import Evidence
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.best_weights import best_weights
from lightning_diag.rules.reading import ALPHA, counts, pretrained
from lightning_diag.words import number, of, percent


def recovery(history: RunHistory, start: Count | None) -> str:
    """How far validation has come back since, as a clause; *never* only where a test carries it.

    The best of many evaluations flatters, which speaks against *never*: no correction is needed to say it.
    """
    since = history.context.resumed_epoch or 0
    seen = [(epoch, count) for epoch, count in counts(history, "val") if epoch >= since]
    if start is None or len(seen) < 2:
        return ""
    epoch, best = max(seen, key=lambda pair: (pair[1].rate, -pair[0]))
    if best.rate >= start.rate:
        return ""
    never = "; it never came back" if statistics.fisher(start, best) < ALPHA else ""
    return f"{never}; the best of the {len(seen)} evaluations recorded since is {of(best)} in epoch {epoch}"


def circumstances(history: RunHistory, epoch: int) -> list[Evidence]:
    """Training that goes well meanwhile, and the learning rate it went with."""
    out = []
    train: Count | None = dict(counts(history, "train")).get(epoch)
    if train and train.rate > 0.5:
        out.append(
            Evidence(
                signal="train/acc",
                text=f"training was at {percent(train.rate)} in that epoch: it learned fast while validation fell",
                epoch=epoch,
                observed=train.rate,
            )
        )
    now, before = rates(history, epoch)
    if now is not None:
        scheduler = history.context.optim.scheduler
        schedule = f" with {scheduler}" if scheduler else ""
        old = f", {number(before)} before the resume" if before is not None else ""
        text = f"learning rate {number(now)}{schedule}{old}, no warm-up recorded"
        out.append(Evidence(signal="lr", text=text, epoch=epoch, observed=now, expected=before))
    return out


def rates(history: RunHistory, epoch: int) -> tuple[float | None, float | None]:
    """Learning rate of ``epoch``, and of the last recorded epoch before the resume; None where not recorded."""
    lrs = dict(history.series("lr").finite)
    resumed = history.context.resumed_epoch or 0
    before = [lr for e, lr in lrs.items() if e < resumed]
    return lrs.get(epoch, history.context.optim.lr), before[-1] if before else None


def not_excluded(history: RunHistory) -> list[tuple[str, str]]:
    """(signal, cause) of what would look the same."""
    out = [("optim", "lost optimiser state or a re-initialised head"), ("data", "changed preprocessing")]
    return (
        out
        if pretrained(history)
        else [*out, ("pretrain", "weights that were not restored, or those of another checkpoint")]
    )


def keep(history: RunHistory) -> str:
    """Which weights to go on with: of a start that was not validated nobody knows whether it was bettered since."""
    weights = best_weights(history) if history.context.baseline is not None else None
    return f"go on from {weights}" if weights else "keep the checkpoint that the run started from"
