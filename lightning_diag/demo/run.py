"""Three short trainings on real data that leave a report each: ``lightning-diag demo``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_diag.callbacks.factory import all_callbacks
from lightning_diag.demo.data import DigitLines, LineStyle, line_loader
from lightning_diag.demo.digits import DigitClassifier, Digits
from lightning_diag.demo.models import CRNN, LineReader
from lightning_diag.errors import ConfigError

SEED = 1


class ResumedClassifier(DigitClassifier):
    """Sets its own learning rate when a fit resumes, as fine-tuning scripts do."""

    def on_train_start(self) -> None:
        """Overwrite what the checkpoint restored."""
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.lr


def overfitting(folder: Path) -> Path:
    """64 training images, 29 for validation; resumed with a learning rate 60 times as high; the target is missed."""
    data = Digits((3, 5, 8, 9), train=64, val=29, noise=0.45, batch_size=8, seed=SEED)
    keep = ModelCheckpoint(folder / "first", save_top_k=1, monitor="diag/val_acc", mode="max")
    first = ResumedClassifier(4, lr=5e-4)
    _trainer(folder / "first", epochs=8, callbacks=[keep, *all_callbacks(dirpath=folder / "first")]).fit(first, data)
    second = ResumedClassifier(4, lr=3e-2)
    trainer = _trainer(folder, epochs=28, callbacks=all_callbacks(target=0.9, dirpath=folder))
    trainer.fit(second, data, ckpt_path=keep.last_model_path or keep.best_model_path, weights_only=False)
    return folder


def ctc(folder: Path) -> Path:
    """A line reader whose pretrained encoder is silently not loaded (``strict=False`` with a prefix too many)."""
    style = LineStyle(tokens=(3, 6))
    checkpoint = _stage_one(folder, style)
    module = LineReader(CRNN(style.classes, channels=16, hidden=32), lr=5e-3)
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    module.net.encoder.load_state_dict(state, strict=False)  # keys start with "net.encoder.": nothing matches
    for parameter in module.net.encoder.parameters():
        parameter.requires_grad_(False)
    callbacks = all_callbacks(checkpoint=str(checkpoint), module="net.encoder", dirpath=folder)
    _fit_lines(module, folder, style, count=200, epochs=18, callbacks=callbacks)
    return folder


def healthy(folder: Path) -> Path:
    """1,000 training images, 400 for validation, an ordinary learning rate: nothing is wrong."""
    data = Digits(train=1000, val=400, seed=SEED)
    trainer = _trainer(folder, epochs=12, callbacks=all_callbacks(target=0.9, dirpath=folder))
    trainer.fit(DigitClassifier(dropout=0.2, lr=1e-3), data)
    return folder


DEMOS: dict[str, Callable[[Path], Path]] = {"overfitting": overfitting, "ctc": ctc, "healthy": healthy}


def run(name: str = "overfitting", out: str | Path | None = None, lines: int = 12) -> str:
    """Run one demo and return what to print: where the report is, and its first lines.

    Args:
        name: ``overfitting``, ``ctc`` or ``healthy``.
        out: folder of the report; default ``lightning_diag_demo/<name>``.
        lines: first lines of the report to show.

    Raises:
        ConfigError: for an unknown name.
    """
    if name not in DEMOS:
        raise ConfigError(f"There is no demo {name!r}. There are: {', '.join(DEMOS)}.")
    torch.set_num_threads(1)  # these networks are too small to share
    seed_everything(SEED, verbose=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")  # advice about workers means nothing here
        folder = DEMOS[name](Path(out) if out else Path("lightning_diag_demo") / name)
    report = folder / "diagnosis.md"
    head = report.read_text(encoding="utf-8").splitlines()[:lines]
    return "\n".join([f"The report is in {report.resolve()}. It begins:", "", *head])


def _trainer(folder: Path, *, epochs: int, callbacks: list[Any]) -> Trainer:
    checkpointing = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=checkpointing,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        callbacks=callbacks,
    )


def _stage_one(folder: Path, style: LineStyle) -> Path:
    """Train the encoder once, on plenty of lines, and save it as Lightning does."""
    trainer = _trainer(folder / "stage1", epochs=4, callbacks=[])
    module = LineReader(CRNN(style.classes, channels=16, hidden=32), lr=5e-3)
    trainer.fit(module, line_loader(DigitLines(600, "train", SEED, style), 8, shuffle=True, seed=SEED))
    path = folder / "stage1.ckpt"
    trainer.save_checkpoint(path)
    return path


def _fit_lines(
    module: LightningModule, folder: Path, style: LineStyle, *, count: int, epochs: int, callbacks: list[Any]
) -> None:
    train = line_loader(DigitLines(count, "train", SEED + 1, style), 8, shuffle=True, seed=SEED)
    val = line_loader(DigitLines(100, "val", SEED, style))
    _trainer(folder, epochs=epochs, callbacks=callbacks).fit(module, train, val)
