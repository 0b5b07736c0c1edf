"""What happened around a resume, and what would look the same."""

from __future__ import annotations

from lightning_diag.findings import Evidence
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.best_weights import best_weights
from lightning_diag.rules.independence import differ
from lightning_diag.rules.reading import ALPHA, counts, loss_scale, pretrained
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
    never = "; it never came back" if differ(history, start, best) < ALPHA else ""
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
        first, end = first_rate(history), dict(history.series("lr").finite).get(epoch, now)
        scheduler = history.context.optim.scheduler
        schedule = f" with {scheduler}" if scheduler else ""
        old = f", {number(before)} before the resume" if before is not None else ""
        moved = first is not None and number(first) != number(end)
        rate = (
            f"{number(first or 0.0)} in the first step, {number(end)} at the end of the epoch" if moved else number(now)
        )
        warm = "" if moved and (first or 0.0) < end else ", no warm-up recorded"
        text = f"learning rate {rate}{schedule}{old}{warm}"
        out.append(Evidence(signal="lr", text=text, epoch=epoch, observed=now, expected=before))
    return out


def rates(history: RunHistory, epoch: int) -> tuple[float | None, float | None]:
    """Highest learning rate that ``epoch`` is known to have trained with, and the last one before the resume.

    None where not recorded. Where the schedule moves within epochs, the rate at the end of one may be far below what it
    began with.
    """
    lrs, first = dict(history.series("lr").finite), first_rate(history)
    resumed = history.context.resumed_epoch or 0
    before = [lr for e, lr in lrs.items() if e < resumed]
    end = lrs.get(epoch, history.context.optim.lr)
    known = [rate for rate in (first, end) if rate is not None]
    return max(known, default=None), before[-1] if before else None


def first_rate(history: RunHistory) -> float | None:
    """Learning rate of the first step after the resume, where the schedule moves within epochs; None elsewhere."""
    resumed = history.context.resumed_epoch or 0
    return next((rate for epoch, rate in history.series("lr/first").finite if epoch >= resumed), None)


def restored(history: RunHistory) -> list[Evidence]:
    """What is known to have come back: by ``fit(ckpt_path=...)``, and by the loss of the first step, before any update."""
    out = []
    if history.context.resumed_from:
        text = "weights, optimiser and schedule were restored by fit(ckpt_path=...)"
        out.append(Evidence(signal="resumed_from", text=text))
    found = first_step(history)
    if found is not None:
        epoch, loss, most = found
        same = "weights and training inputs were those of the checkpoint"
        other = "weights or inputs may have changed before any update"
        text = (
            f"the first step, before any update, had a loss of {number(loss)}, against at most {number(most)} in a step of "
            f"epoch {epoch}: {same if loss <= most else other}"
        )
        out.append(Evidence(signal="loss/first", text=text, observed=loss, expected=most))
    return out


def first_step(history: RunHistory) -> tuple[int, float, float] | None:
    """(last epoch before the resume, loss of the first step after it, largest loss of a step of that epoch).

    None where they were not recorded, and where a step of that epoch was no better than an answer that ignores the input:
    such a loss would not tell the weights of the checkpoint from others.
    """
    resumed, scale = history.context.resumed_epoch, loss_scale(history)
    if resumed is None or not scale:
        return None
    first = next((loss for e, loss in history.series("loss/first").finite if e >= resumed), None)
    before = [pair for pair in history.series("loss/step_max").finite if pair[0] < resumed]
    if first is None or not before or before[-1][1] >= scale:
        return None
    return before[-1][0], first, before[-1][1]


def starts_as_before(history: RunHistory) -> bool:
    """Whether the first step after the resume was no worse than the steps of the last epoch before it."""
    found = first_step(history)
    return found is not None and found[1] <= found[2]


def not_excluded(history: RunHistory) -> list[tuple[str, str]]:
    """(signal, cause) of what would look the same and nothing recorded excludes."""
    by_lightning, as_before = bool(history.context.resumed_from), starts_as_before(history)
    out = [] if by_lightning else [("optim", "lost optimiser state")]
    out += [] if as_before else [("weights", "a head that was re-initialised")]
    out.append(("data", f"changed preprocessing{' of validation alone' if as_before else ''}"))
    if not (by_lightning or as_before or pretrained(history)):
        out.append(("pretrain", "weights that were not restored, or those of another checkpoint"))
    return out


def come_back(history: RunHistory, epoch: int) -> tuple[str, ...]:
    """The advice on optimiser and schedule: to restore them, or to find what overwrote them after they were restored."""
    if not history.context.resumed_from:
        return ("resume with trainer.fit(..., ckpt_path=...), so that optimiser and schedule come back",)
    first = first_rate(history)
    back, now = history.context.optim.lr, rates(history, epoch)[0] if first is None else first
    if back is None or now is None or now <= back:
        return ()
    how = "on_train_start, a callback, code that sets param_groups"
    came = f"it came back as {number(back)} and was {number(now)} in epoch {epoch}"
    return (f"find what sets the learning rate after the checkpoint is restored ({how}): {came}",)


def keep(history: RunHistory) -> str:
    """Which weights to go on with: of a start that was not validated nobody knows whether it was bettered since."""
    weights = best_weights(history) if history.context.baseline is not None else None
    return f"go on from {weights}" if weights else "keep the checkpoint that the run started from"
