"""Handwritten digits for classification: few training samples, other writers in validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

TRAIN_WRITERS = 1200
"""``load_digits`` is ordered by writer; images from this index on are of other writers."""


class Digits(LightningDataModule):
    """Some classes of scikit-learn's ``load_digits``, training and validation by different writers.

    Args:
        classes: which digits. train: training images. val: validation images. noise: standard deviation of pixel
            noise, pixels lie in 0..1. batch_size: of both loaders. seed: of the choice and the noise.
    """

    def __init__(
        self,
        classes: Sequence[int] = tuple(range(10)),
        *,
        train: int = 1000,
        val: int = 400,
        noise: float = 0.0,
        batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.class_names = [f"digit_{digit}" for digit in classes]
        self.sizes = {"train": train, "val": val}
        self.noise = noise
        self.batch_size = batch_size
        self.seed = seed

    def setup(self, stage: str) -> None:  # noqa: ARG002  (Lightning's signature)
        """Draw both splits; the same seed gives the same images."""
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        images = torch.as_tensor(pixels / 16.0, dtype=torch.float32).reshape(-1, 1, 8, 8)
        generator = torch.Generator().manual_seed(self.seed)
        parts = {"train": slice(None, TRAIN_WRITERS), "val": slice(TRAIN_WRITERS, None)}
        self.sets = {
            name: self._draw(images[p], torch.as_tensor(labels[p]), name, generator) for name, p in parts.items()
        }

    def _draw(self, images: Tensor, labels: Tensor, name: str, generator: torch.Generator) -> TensorDataset:
        wanted = torch.isin(labels, torch.tensor(self.classes))
        images, labels = images[wanted], labels[wanted]
        chosen = torch.randperm(len(labels), generator=generator)[: self.sizes[name]]
        noise = self.noise * torch.randn(images[chosen].shape, generator=generator)
        lookup = torch.zeros(10, dtype=torch.int64)
        lookup[list(self.classes)] = torch.arange(len(self.classes))
        return TensorDataset(images[chosen] + noise, lookup[labels[chosen]])

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled, by a generator of its own."""
        order = torch.Generator().manual_seed(self.seed)
        return DataLoader(self.sets["train"], self.batch_size, shuffle=True, generator=order)

    def val_dataloader(self) -> DataLoader[Any]:
        """In fixed order."""
        return DataLoader(self.sets["val"], self.batch_size)


class DigitClassifier(LightningModule):
    """A small convolutional network and an ordinary training loop.

    Args:
        classes: number of classes. lr: learning rate of Adam. width: channels of the first layer.
        dropout: before the head.
    """

    def __init__(self, classes: int = 10, *, lr: float = 2e-3, width: int = 16, dropout: float = 0.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.backbone = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * width, 128),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.head = nn.Linear(128, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 1, 8, 8)."""
        logits: Tensor = self.head(self.backbone(images))
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002  (Lightning's signature)
        """Cross entropy."""
        return self._loss(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002  (Lightning's signature)
        """Cross entropy."""
        return self._loss(batch, "val")

    def _loss(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log(f"{stage}_loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over all parameters."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)
