"""Numbers to ``callback_metrics`` and to the Trainer's loggers; the report through each logger's own way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from importlib import import_module
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
        if not run.is_writer or run.options.loggers is False:
            return
        record = run.recorder.epochs[-1]
        metrics = {_published(name): value for name, value in record.values.items() if math.isfinite(value)}
        for logger in run.trainer.loggers:
            logger.log_metrics({**metrics, "epoch": record.epoch}, step=_logged_step(run.trainer))

    def fit_end(self, run: Run) -> None:
        """Hand the report and its figures to loggers that can hold them."""
        if not run.is_writer or run.directory is None or run.options.loggers is False:
            return
        loggers = [logger for logger in run.trainer.loggers if type(logger).__name__ in _SHOW]
        drawn = _drawn(run) if loggers and run.options.figures is not False else {}
        for logger in run.trainer.loggers:
            _hand_over(logger, run.directory)
        for logger in loggers:
            for name, content in drawn.items():
                _SHOW[type(logger).__name__](logger, PREFIX + name, content, run.step)

    def _publish(self, run: Run) -> None:
        values = run.recorder.running_values
        metrics = {_published(name): torch.tensor(value) for name, value in values.items()}
        run.trainer.callback_metrics.update(metrics)


def _logged_step(trainer: Any) -> int:
    """The step at which Lightning logs what belongs to this interval, so that both share a row.

    It counts one step less at the end of an epoch, and has already done so while it validates.
    """
    steps = int(trainer.fit_loop.epoch_loop._batches_that_stepped)  # noqa: SLF001  (there is no public name for it)
    return steps if trainer.validating else max(0, steps - 1)


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


def _drawn(run: Run) -> Mapping[str, bytes]:
    """Figures as PNG: no logger's page shows SVG as an image."""
    return draw_figures(run.recorder.history(), run.extra["diagnosis"], format="png")


def _pixels(content: bytes) -> Any:
    from matplotlib.image import imread

    return imread(BytesIO(content))


def _show_tensorboard(logger: Any, name: str, content: bytes, step: int) -> None:
    logger.experiment.add_image(name, _pixels(content), step, dataformats="HWC")


def _show_wandb(logger: Any, name: str, content: bytes, _: int) -> None:
    logger.log_image(name, [_pixels(content)])


def _show_mlflow(logger: Any, name: str, content: bytes, _: int) -> None:
    pixels = (255 * _pixels(content)).astype("uint8")
    logger.experiment.log_image(logger.run_id, pixels, artifact_file=f"diagnosis/{name.removeprefix(PREFIX)}.png")


def _show_comet(logger: Any, name: str, content: bytes, step: int) -> None:
    logger.experiment.log_image(BytesIO(content), name=name, step=step)


def _show_neptune(logger: Any, name: str, content: bytes, _: int) -> None:
    file = import_module("neptune.types").File.from_content(content, extension="png")
    logger.experiment[name].upload(file)


_SHOW: Mapping[str, Callable[[Any, str, bytes, int], None]] = {
    "TensorBoardLogger": _show_tensorboard,
    "WandbLogger": _show_wandb,
    "MLFlowLogger": _show_mlflow,
    "CometLogger": _show_comet,
    "NeptuneLogger": _show_neptune,
}
"""Name of the logger's class -> how it takes an image; classes of both packages have the same names."""
