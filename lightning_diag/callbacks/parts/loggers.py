"""Numbers to ``callback_metrics`` and to the Trainer's loggers; the report through each logger's own way."""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from lightning_diag.callbacks.run import Part, Run
from lightning_diag.report import draw_figures

PREFIX = "diag/"


class LoggerPart(Part):
    """Publishes the scalars of an interval as ``diag/val_acc`` and so on."""

    title = "logging"

    def __init__(self) -> None:
        self._known: dict[str, float] = {}

    def validation_epoch_end(self, run: Run) -> None:
        """In time for ``ModelCheckpoint(monitor="diag/val_balanced_acc")``; the sanity check publishes nothing."""
        if not run.trainer.sanity_checking:
            self._publish(run)

    def interval_end(self, run: Run) -> None:
        """What the training epoch added, and all of it to the loggers."""
        self._publish(run)

    def interval_closed(self, run: Run) -> None:
        """One call per logger and interval."""
        record = run.recorder.epochs[-1]
        metrics = {_published(name): value for name, value in record.values.items() if math.isfinite(value)}
        if run.is_writer:
            for logger in run.trainer.loggers:
                logger.log_metrics(metrics, step=run.trainer.fit_loop.epoch_loop._batches_that_stepped)  # noqa: SLF001  (the step that Lightning logs with)

    def fit_end(self, run: Run) -> None:
        """Hand the report to loggers that can hold it."""
        if run.is_writer and run.directory is not None:
            for logger in run.trainer.loggers:
                _hand_over(logger, run.directory)
                if type(logger).__name__ == "TensorBoardLogger" and run.options.figures is not False:
                    self._show(logger, run)

    def _show(self, logger: Any, run: Run) -> None:
        """Figures as images; TensorBoard shows no SVG."""
        drawn = draw_figures(run.recorder.history(), run.extra["diagnosis"], format="png")
        if drawn:
            from matplotlib.image import imread
        for name, content in drawn.items():
            logger.experiment.add_image(f"{PREFIX}{name}", imread(BytesIO(content)), run.step, dataformats="HWC")

    def _publish(self, run: Run) -> None:
        values = run.recorder.running_values
        metrics = {_published(name): torch.tensor(value) for name, value in values.items()}
        run.trainer.callback_metrics.update(metrics)


def _published(name: str) -> str:
    """``val/acc`` as ``diag/val_acc``, a name that a checkpoint file can carry."""
    return PREFIX + name.replace("/", "_").replace(":", "_")


def _hand_over(logger: Any, folder: Path) -> None:
    """The Markdown report as text, artifact or file, by the kind of the logger's experiment."""
    report = folder / "diagnosis.md"
    if not report.exists():
        return
    kind = type(logger).__name__
    if kind == "TensorBoardLogger":
        logger.experiment.add_text("diagnosis", report.read_text(encoding="utf-8"))
    elif kind == "MLFlowLogger":
        logger.experiment.log_artifact(logger.run_id, str(report), "diagnosis")
        if (folder / "diagnosis").is_dir():
            logger.experiment.log_artifacts(logger.run_id, str(folder / "diagnosis"), "diagnosis")
    elif kind == "WandbLogger":
        logger.experiment.save(str(report), base_path=str(folder), policy="now")
    elif kind == "CometLogger":
        logger.experiment.log_asset(str(report))
    elif kind == "NeptuneLogger":
        logger.experiment["diagnosis"].upload(str(report))
