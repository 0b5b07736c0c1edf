"""What happened around a resume, and what would look the same."""

from __future__ import annotations

from lightning_diag.findings import Evidence
from lightning_diag.history import Count, RunHistory
from lightning_diag.rules.reading import best_count, counts, pretrained
from lightning_diag.words import number, percent


def recovery(history: RunHistory, start: float, p_value: float | None) -> str:
    """Whether validation came back to where it had started, as a clause."""
    best = best_count(history, "val") if p_value is not None else None
    return " and never came back to where it had started" if best and best[1].rate < start else ""


def circumstances(history: RunHistory, epoch: int) -> list[Evidence]:
    """Training that goes well meanwhile, and the learning rate it went with."""
    out = []
    train: Count | None = dict(counts(history, "train")).get(epoch)
    if train and train.rate > 0.5:
        out.append(
            Evidence(
                signal="train/acc",
                text=f"training was at {percent(train.rate)} in that epoch: fast learning, not a broken model",
                epoch=epoch,
                observed=train.rate,
            )
        )
    optim = history.context.optim
    at = history.record(epoch)
    lr = (at.values.get("lr") if at else None) or optim.lr
    if lr is not None:
        schedule = f" with {optim.scheduler}" if optim.scheduler else ""
        out.append(
            Evidence(
                signal="lr", text=f"learning rate {number(lr)}{schedule}, no warm-up recorded", epoch=epoch, observed=lr
            )
        )
    return out


def not_excluded(history: RunHistory) -> list[tuple[str, str]]:
    """(signal, cause) of what would look the same."""
    out = [("optim", "lost optimiser state or a re-initialised head"), ("data", "changed preprocessing")]
    return (
        out
        if pretrained(history)
        else [*out, ("pretrain", "weights that were not restored, or those of another checkpoint")]
    )
