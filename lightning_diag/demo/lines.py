"""Runs on digit lines that are healthy, or broken in exactly one way: for the examples, the benchmark and the tests.

Every fault is one that torch accepts without an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_diag.demo.data import DigitLines, Line, LineStyle, line_loader
from lightning_diag.demo.models import CRNN, LineReader, TransformerReader
from lightning_diag.errors import ConfigError

Scores = Callable[[Tensor], Tensor]
Targets = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class LineRun:
    """One training on digit lines; the defaults are a healthy one.

    Attributes:
        style: digits or pairs of digits, widths, noise.
        train_lines, val_lines, epochs, batch_size, seed: size of the run.
        network: ``crnn`` or ``transformer``; stride: image columns per output frame.
        lr, optimizer, weight_decay, clip: ``adam``, ``adamw`` or ``sgd``; clip is a gradient norm.
        blank, decoder_blank, zero_infinity: of the loss; the decoder's blank where it is told to the monitor.
        blank_bias: added to the bias of the blank at the start.
        frozen: train the last layer only.
        scores: logits (N, T, C) -> what the loss gets, (T, N, C).
        targets: stage -> (targets, lengths) -> targets and lengths for the loss.
        lengths: frames (N,), frames of the batch -> input lengths.
        inputs: images -> images. labels: ``right``, ``shuffled`` over the training lines.
    """

    style: LineStyle = field(default_factory=lambda: LineStyle(tokens=(3, 6)))
    train_lines: int = 480
    val_lines: int = 96
    epochs: int = 10
    batch_size: int = 16
    seed: int = 0
    network: str = "crnn"
    stride: int = 2
    lr: float = 2e-3
    optimizer: str = "adam"
    weight_decay: float = 0.0
    clip: float | None = None
    blank: int = 0
    decoder_blank: int | None = None
    zero_infinity: bool = False
    blank_bias: float = 0.0
    frozen: bool = False
    scores: Scores = lambda logits: logits.log_softmax(-1).transpose(0, 1)
    targets: Mapping[str, Targets] = field(default_factory=dict)
    lengths: Callable[[Tensor, int], Tensor] = lambda frames, _: frames
    inputs: Callable[[Tensor], Tensor] = lambda images: images
    labels: str = "right"

    def module(self) -> LineReader:
        """The module, with weights drawn from the seed."""
        torch.manual_seed(self.seed)
        return FaultyLineReader(self)

    def loaders(self) -> tuple[DataLoader[Any], DataLoader[Any]]:
        """Training and validation lines."""
        train: Dataset[Line] = DigitLines(self.train_lines, "train", self.seed, self.style)
        if self.labels == "shuffled":
            train = _Shuffled(train, self.seed)
        val = DigitLines(self.val_lines, "val", self.seed, self.style)
        return line_loader(train, self.batch_size, shuffle=True, seed=self.seed), line_loader(val, 60)


class FaultyLineReader(LineReader):
    """A line reader that does what its run says."""

    def __init__(self, run: LineRun) -> None:
        kind = CRNN if run.network == "crnn" else TransformerReader
        super().__init__(kind(run.style.classes, run.stride), run.lr, blank=run.blank, zero_infinity=run.zero_infinity)
        self.run = run
        with torch.no_grad():
            self.net.head.bias[run.blank] += run.blank_bias
        if run.frozen:
            self.net.requires_grad_(False).head.requires_grad_(True)

    def scores(self, images: Tensor) -> Tensor:
        """What the loss gets, (T, N, C)."""
        return self.run.scores(self.net(self.run.inputs(images)))

    def targets(self, targets: Tensor, lengths: Tensor, stage: str) -> tuple[Tensor, Tensor]:
        """Targets and lengths for the loss."""
        change = self.run.targets.get(stage)
        return change(targets, lengths) if change else (targets, lengths)

    def input_lengths(self, widths: Tensor, frames: int) -> Tensor:
        """Input lengths for the loss."""
        return self.run.lengths(super().input_lengths(widths, frames), frames)

    def configure_optimizers(self) -> Any:
        """The optimiser of the run."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        settings: dict[str, Any] = {"lr": self.run.lr, "weight_decay": self.run.weight_decay}
        if self.run.optimizer == "sgd":
            return torch.optim.SGD(parameters, momentum=0.9, **settings)
        return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.run.optimizer](parameters, **settings)


class _Shuffled(Dataset[Line]):
    """Lines with the tokens of other lines, fixed over the epochs."""

    def __init__(self, lines: Dataset[Line], seed: int) -> None:
        self.lines = lines
        count = len(lines)  # type: ignore[arg-type]  # Dataset declares no length; DigitLines has one
        self.order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Line:
        return self.lines[index][0], self.lines[self.order[index]][1]


def _both(change: Targets) -> dict[str, Targets]:
    """The same change in training and validation."""
    return {"train": change, "val": change}


def _other_ids(classes: int) -> Targets:
    """Another numbering: every token one higher, the last one first."""
    return lambda targets, lengths: (torch.where(targets > 0, targets % (classes - 1) + 1, 0), lengths)


def _padding_counted(targets: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The width of the padded targets as every length."""
    return targets, torch.full_like(lengths, targets.shape[1])


def _half(targets: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The first half of every target."""
    return targets, (lengths + 1) // 2


def _one_lower(targets: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Labels that begin at 0, where the blank is."""
    return (targets - 1).clamp(min=0), lengths


PAIRS: Mapping[str, Any] = {
    "style": LineStyle(pairs=True, tokens=(3, 6), stretch=(1.0, 1.2)),
    "train_lines": 806,
    "epochs": 20,
    "stride": 4,
    "lr": 5e-3,
    "clip": 5.0,
}
"""A hundred tokens, each a pair of digits; each occurs about 36 times."""

FAULTS: Mapping[str, Mapping[str, Any]] = {
    "raw-scores": {"epochs": 6, "scores": lambda z: z.transpose(0, 1)},
    "softmax": {"epochs": 6, "scores": lambda z: z.softmax(-1).transpose(0, 1)},
    "softmax-twice": {"epochs": 6, "scores": lambda z: z.softmax(-1).log_softmax(-1).transpose(0, 1)},
    "wrong-axis": {"epochs": 6, "scores": lambda z: z.transpose(0, 1).log_softmax(0)},
    "reshaped": {"scores": lambda z: z.log_softmax(-1).reshape(z.shape[1], z.shape[0], z.shape[2])},
    "blank-of-loss": {"epochs": 6, "blank": 10},
    "blank-in-targets": {"epochs": 6, "targets": _both(_one_lower)},
    "blank-of-decoder": {"epochs": 6, "decoder_blank": 10},
    "padding-counted": {"epochs": 6, "targets": _both(_padding_counted)},
    "targets-truncated": {"targets": {"train": _half}},
    "val-ids": {"targets": {"val": _other_ids(11)}},
    "lengths-halved": {"epochs": 6, "lengths": lambda frames, _: frames // 2, "zero_infinity": True},
    "lengths-quartered": {"epochs": 6, "lengths": lambda frames, _: frames // 4},
    "lengths-eighth": {"epochs": 6, "lengths": lambda frames, _: frames // 8, "zero_infinity": True},
    "lengths-constant": {"epochs": 6, "lengths": lambda frames, _: torch.full_like(frames, 16), "zero_infinity": True},
    "infeasible": {"epochs": 6, "stride": 8, "style": LineStyle(tokens=(3, 6), gap=(0, 0), stretch=(0.8, 1.2))},
    "infeasible-hidden": {
        "epochs": 6,
        "stride": 8,
        "style": LineStyle(tokens=(3, 6), gap=(0, 0), stretch=(0.8, 1.2)),
        "zero_infinity": True,
    },
    "labels-shuffled": {"labels": "shuffled"},
    "zero-input": {"inputs": torch.zeros_like},
    "frozen-encoder": {"frozen": True},
    "lr-x250": {"lr": 0.5},
    "lr-tiny": {"lr": 1e-5},
    "clip-tiny": {"optimizer": "sgd", "lr": 2e-2, "clip": 1e-4},
    "weight-decay": {"weight_decay": 0.5},
    # a transformer without warm-up: with 100 tokens it never leaves the blanks at this rate
    "no-warm-up": {
        "style": LineStyle(pairs=True, tokens=(2, 4)),
        "train_lines": 710,
        "epochs": 12,
        "network": "transformer",
        "lr": 1e-3,
    },
    "memorised": {"train_lines": 60, "labels": "shuffled", "epochs": 60, "batch_size": 10},
    "pairs-few-lines": {**PAIRS, "train_lines": 150, "epochs": 60},
    "pairs-val-ids": {**PAIRS, "targets": {"val": _other_ids(101)}},
}
"""Name of the fault -> what it changes of a healthy run. Six epochs where the first calls of the loss show the fault."""

HEALTHY: Mapping[str, Mapping[str, Any]] = {
    "crnn": {},
    "transformer": {"network": "transformer", "lr": 1e-3},
    "stride-4": {"stride": 4},
    "stride-1": {"stride": 1, "epochs": 14},
    "lr-low": {"lr": 5e-4},
    "lr-slow": {"lr": 3e-4, "epochs": 20},
    "sgd": {"optimizer": "sgd", "lr": 2e-2, "clip": 5.0},
    "blank-bias-up": {"blank_bias": 10.0},
    "blank-bias-down": {"blank_bias": -10.0},
    "log-softmax-twice": {"scores": lambda z: z.log_softmax(-1).log_softmax(-1).transpose(0, 1)},
    "padding-as-frames": {"lengths": torch.full_like, "epochs": 16},
    "zero-infinity": {"zero_infinity": True},
    "adamw": {"optimizer": "adamw", "weight_decay": 1e-2, "clip": 1.0},
    "small-batches": {"batch_size": 6, "train_lines": 240, "lr": 1e-3},
    "pairs": PAIRS,
}
"""Variants that train well, among them four that look suspicious and do no harm."""


def line_run(name: str = "crnn", **changes: Any) -> LineRun:
    """A run by the name of its fault or of its healthy variant.

    Args:
        name: a key of :data:`FAULTS` or :data:`HEALTHY`.
        **changes: fields of :class:`LineRun`, laid over.

    Raises:
        ConfigError: for another name.
    """
    known = {**HEALTHY, **FAULTS}
    if name not in known:
        raise ConfigError(f"No line run is called {name!r}; known: {', '.join(known)}.")
    return replace(LineRun(**known[name]), **changes)
