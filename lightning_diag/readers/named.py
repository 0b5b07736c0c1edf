"""CSV logs of tools that write more beside them."""

from __future__ import annotations

from pathlib import Path

from lightning_diag.readers.log import Log
from lightning_diag.readers.params import read_yaml
from lightning_diag.readers.tabular import read_csv


def read_lightning(path: Path) -> Log:
    """Lightning's ``metrics.csv`` (a row per logging call, mostly blank) and ``hparams.yaml`` beside it.

    Raises:
        RecordError: it is no table.
    """
    log = read_csv(path, "Lightning metrics.csv")
    log.params.update(read_yaml(path.with_name("hparams.yaml")))
    return log


def read_yolo(path: Path) -> Log:
    """Ultralytics' ``results.csv`` and ``args.yaml`` beside it.

    A detector's loss is written in parts (box, class, distribution focal loss), weighted alike in training and
    validation; their sum is the loss. Its fitness is nearly mAP50-95 alone, so that is the monitor.

    Raises:
        RecordError: it is no table.
    """
    log = read_csv(path, "YOLO results.csv")
    for stage in ("train", "val"):
        _add_sum(log, stage)
    box = "metrics/mAP50-95(B)"
    if box in log.columns:
        log.monitor = (box, "max")
    log.params.update(read_yaml(path.with_name("args.yaml")))
    return log


def _add_sum(log: Log, stage: str) -> None:
    parts = [column for name, column in log.columns.items() if name.startswith(f"{stage}/") and name.endswith("_loss")]
    total = f"{stage}/loss"
    if not parts or total in log.columns or len({len(part) for part in parts}) > 1:
        return
    for i, epoch in enumerate(parts[0].epochs):
        log.add(total, sum(part.values[i] for part in parts), epoch=epoch, step=parts[0].steps[i])
    log.note(f"{total} is the sum of {', '.join(part.name for part in parts)}")
