"""Small networks with trained-looking weights, and the ways in which loading goes wrong."""

import torch
from torch import nn


class Encoder(nn.Module):
    """Convolutions with batch norm, a projection, and a head."""

    def __init__(self, classes=10, width=8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(width, 2 * width, 3), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.project = nn.Linear(2 * width, 4 * width)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x):
        return self.head(self.project(self.body(self.stem(x)).mean((2, 3))))


class Holder(nn.Module):
    """A module with an encoder and a part of its own."""

    def __init__(self, encoder, extra=True):
        super().__init__()
        self.encoder = encoder
        if extra:
            self.decoder = nn.Linear(5, 7)


def trained(module, seed=1):
    """Move every parameter and statistic away from its initial value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                scale = float(tensor.std()) if tensor.numel() > 1 else 0.1
                tensor.add_(torch.randn(tensor.shape, generator=generator) * max(scale, 0.05))
            else:
                tensor.add_(100)
    return module


def seeded(make, seed=0):
    """``make()`` under a seed of its own, without touching the random state of the test."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()
