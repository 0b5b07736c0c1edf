"""Two line readers and the module that trains them, written as a user would write them."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_diag.demo.data import Batch


def _convolutions(channels: int, stride: int) -> nn.Sequential:
    """Three convolutions (N, 1, 8, W) -> (N, channels, 1, about W / stride); stride is a power of two up to 8."""
    wide = [2 if stride >= 2**level else 1 for level in (1, 2, 3)]
    layers: list[nn.Module] = []
    for level, (inputs, outputs) in enumerate(((1, channels // 2), (channels // 2, channels), (channels, channels))):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers.append(nn.MaxPool2d((2, wide[level])))
    return nn.Sequential(*layers)


class CRNN(nn.Module):
    """Three convolutions and one bidirectional GRU (Shi et al., 2015, arXiv:1507.05717), small.

    Args:
        classes: outputs, the blank included.
        stride: columns of the image per output frame (1, 2, 4 or 8).
        channels, hidden: widths of the convolutions and of the GRU.
    """

    def __init__(self, classes: int = 11, stride: int = 2, channels: int = 32, hidden: int = 48) -> None:
        super().__init__()
        self.stride = stride
        self.encoder = _convolutions(channels, stride)
        self.rnn = nn.GRU(channels, hidden, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, T, classes) of images (N, 1, 8, W)."""
        features = self.encoder(images).squeeze(2).transpose(1, 2)
        return self.head(self.rnn(features)[0])  # type: ignore[no-any-return]  # nn.Module calls are Any

    def frames(self, widths: Tensor) -> Tensor:
        """Output frames of lines of these widths (N,)."""
        return torch.div(widths, self.stride, rounding_mode="floor")


class TransformerReader(nn.Module):
    """The same convolutions under a transformer encoder with sinusoidal positions.

    Args:
        classes: outputs, the blank included.
        stride: columns of the image per output frame.
        width, layers: of the transformer.
    """

    def __init__(self, classes: int = 11, stride: int = 2, width: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.stride = stride
        self.encoder = _convolutions(width, stride)
        block = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.1, batch_first=True)
        self.transformer = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, T, classes) of images (N, 1, 8, W)."""
        features = self.encoder(images).squeeze(2).transpose(1, 2)
        features = features + _positions(features.shape[1], features.shape[2], features.device)
        return self.head(self.transformer(features))  # type: ignore[no-any-return]  # nn.Module calls are Any

    def frames(self, widths: Tensor) -> Tensor:
        """Output frames of lines of these widths (N,)."""
        return torch.div(widths, self.stride, rounding_mode="floor")


def _positions(length: int, width: int, device: torch.device) -> Tensor:
    """Sinusoidal positions (length, width) (Vaswani et al., 2017, section 3.5)."""
    rates = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10000.0) / width))
    angles = torch.arange(length, device=device)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)


class LineReader(LightningModule):
    """Trains a reader of lines with the CTC loss.

    The small methods are the places where such code goes wrong; the example overrides one of them per fault.

    Args:
        net: a module with ``forward(images) -> (N, T, C)`` and ``frames(widths)``.
        lr: learning rate of Adam.
        blank: index of the blank in the loss. zero_infinity: as in :func:`torch.nn.functional.ctc_loss`.
    """

    def __init__(
        self, net: CRNN | TransformerReader, lr: float = 2e-3, *, blank: int = 0, zero_infinity: bool = False
    ) -> None:
        super().__init__()
        self.net = net
        self.lr = lr
        self.blank = blank
        self.zero_infinity = zero_infinity

    def scores(self, images: Tensor) -> Tensor:
        """Log-probabilities (T, N, C) as the CTC loss wants them."""
        logits: Tensor = self.net(images)
        return logits.log_softmax(-1).transpose(0, 1)

    def targets(self, targets: Tensor, lengths: Tensor, stage: str) -> tuple[Tensor, Tensor]:  # noqa: ARG002  (for faults)
        """Targets and their lengths as given to the loss."""
        return targets, lengths

    def input_lengths(self, widths: Tensor, frames: int) -> Tensor:
        """Frames (N,) of each line, at most ``frames``."""
        return self.net.frames(widths).clamp(max=frames)

    def step(self, batch: Batch, stage: str) -> Tensor:
        """The loss of a batch, logged as ``<stage>_loss``."""
        images, targets, widths, lengths = batch
        log_probs = self.scores(images)
        targets, lengths = self.targets(targets, lengths, stage)
        frames = self.input_lengths(widths, log_probs.shape[0])
        loss = F.ctc_loss(log_probs, targets, frames, lengths, blank=self.blank, zero_infinity=self.zero_infinity)
        self.log(f"{stage}_loss", loss, on_step=False, on_epoch=True, batch_size=len(images))
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002  (Lightning's signature)
        """One training step."""
        return self.step(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002  (Lightning's signature)
        """One validation step."""
        return self.step(batch, "val")

    def configure_optimizers(self) -> Any:
        """Adam over all parameters."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)
