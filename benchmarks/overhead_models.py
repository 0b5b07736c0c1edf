"""The models of the overhead benchmark, as users write them: each step makes one loss call and logs nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


@dataclass(frozen=True)
class Setting:
    """One model: how to build it, its classes, steps per epoch, and steps between switches of the callbacks."""

    name: str
    classes: int
    steps: int
    module: Callable[[], LightningModule]
    batch: Callable[[int], tuple]
    turn: int = 9

    def loader(self, steps: int) -> DataLoader:
        """Batches are made once; loading costs nothing."""
        return DataLoader(Batches(self.batch, steps), batch_size=None)


class Batches(Dataset):
    def __init__(self, make: Callable[[int], tuple], steps: int) -> None:
        self.ready = [make(i) for i in range(min(steps, 16))]
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> tuple:
        return self.ready[index % len(self.ready)]


class Plain(LightningModule):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class LanguageModel(Plain):
    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self.net(x)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))


class CTC(Plain):
    def training_step(self, batch, batch_idx):
        x, y, frames, tokens = batch
        log_probs = self.net(x).log_softmax(-1).transpose(0, 1)
        return F.ctc_loss(log_probs, y, frames, tokens)


class BiGRU(nn.Module):
    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(features, hidden, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


def _seeded(i: int) -> torch.Generator:
    return torch.Generator().manual_seed(i)


def mlp(device: str) -> Setting:
    layers: list[nn.Module] = []

    def module() -> Plain:
        layers.clear()
        for _ in range(9):
            layers.extend([nn.Linear(64, 64), nn.ReLU()])
        return Plain(nn.Sequential(*layers, nn.Linear(64, 10)))

    def batch(i: int) -> tuple:
        g = _seeded(i)
        return torch.randn(64, 64, generator=g), torch.randint(0, 10, (64,), generator=g)

    return Setting("MLP, 10 layers", 10, 2_048, module, batch, turn=17)


def convolution(device: str) -> Setting:
    width, depth = (64, 34) if device == "cuda" else (8, 34)

    def module() -> Plain:
        body: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
        for _ in range(depth):
            body += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)]
        return Plain(nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 100)))

    def batch(i: int) -> tuple:
        g = _seeded(i)
        return torch.randn(8, 3, 16, 16, generator=g), torch.randint(0, 100, (8,), generator=g)

    return Setting("35 convolutions", 100, 768, module, batch)


def transformer(device: str) -> Setting:
    def module() -> Plain:
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        pooled = nn.Sequential(nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), nn.Flatten())
        return Plain(nn.Sequential(pooled, nn.Linear(64 * 16, 20)))

    def batch(i: int) -> tuple:
        g = _seeded(i)
        return torch.randn(16, 16, 64, generator=g), torch.randint(0, 20, (16,), generator=g)

    return Setting("transformer, 4 layers", 20, 1_024, module, batch)


def ctc(device: str) -> Setting:
    def batch(i: int) -> tuple:
        g = _seeded(i)
        x = torch.randn(16, 48, 32, generator=g)
        return x, torch.randint(1, 30, (16, 10), generator=g), torch.full((16,), 48), torch.full((16,), 10)

    return Setting("CTC, BiGRU", 30, 768, lambda: CTC(BiGRU(32, 48, 30)), batch)


def language_model(device: str) -> Setting:
    vocabulary = 50_000
    tokens = (64, 512) if device == "cuda" else (2, 64)

    def module() -> LanguageModel:
        return LanguageModel(nn.Sequential(nn.Embedding(1_000, 64), nn.Linear(64, vocabulary)))

    def batch(i: int) -> tuple:
        g = _seeded(i)
        return torch.randint(0, 1_000, tokens, generator=g), torch.randint(0, vocabulary, tokens, generator=g)

    return Setting("language model head, 50,000 classes", vocabulary, 512, module, batch)


SETTINGS = {"mlp": mlp, "conv": convolution, "transformer": transformer, "ctc": ctc, "lm": language_model}
