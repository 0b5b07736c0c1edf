"""Losses whose targets are no labels though they look like some: images, amounts, partners in the batch, real and made."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.capture.styles.base import BATCH, Base, Both, classes, floats


class Reconstruction(Both):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(36, 36)


class GreyVae(Reconstruction):
    """The tutorial: a binary cross entropy of grey values, seen as one row per image."""

    def step(self, batch):
        x = batch[0].view(len(batch[0]), -1)
        return F.binary_cross_entropy(self.net(x).sigmoid(), x)


class FlattenedLater(Reconstruction):
    def step(self, batch):
        return F.binary_cross_entropy_with_logits(self.net(batch[0].flatten(1)), batch[0].flatten(1), reduction="sum")


class Scaled(Reconstruction):
    """Scaled in the step, so that the target is nowhere in the batch."""

    def step(self, batch):
        x = (batch[0] * 255).round() / 255
        return F.binary_cross_entropy_with_logits(self.net(x.flatten(1)), x.flatten(1))


class Denoiser(Both):
    """What is fed is noisy; what is wanted is the batch."""

    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(1, 1, 3, padding=1)

    def step(self, batch):
        return F.binary_cross_entropy_with_logits(self.net(batch[0] + 0.1 * torch.randn_like(batch[0])), batch[0])


class HeatMaps(Both):
    """One map per joint, high around it."""

    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(3, 2, 1)

    def step(self, batch):
        return F.binary_cross_entropy_with_logits(self.net(batch[0]), batch[1])


class OneHeatMap(HeatMaps):
    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(3, 1, 1)


class Rates(Both):
    def __init__(self):
        super().__init__(1)

    def step(self, batch):
        return F.binary_cross_entropy_with_logits(self(batch[0]).squeeze(-1), batch[1])


class ShuffledPartners(Both):
    """Two views of each sample: the class is the place of the other view."""

    def step(self, batch):
        z = F.normalize(torch.cat([self(batch[0]), self(batch[0] + 0.1)]))
        n = len(batch[0])
        similar = (z @ z.t()).masked_fill(torch.eye(2 * n, dtype=torch.bool), -1e9)
        return F.cross_entropy(similar, (torch.arange(2 * n) + n) % (2 * n))


class PartnersWithoutTheDiagonal(Both):
    def step(self, batch):
        z = F.normalize(torch.cat([self(batch[0]), self(batch[0] + 0.1)]))
        n = len(batch[0])
        similar = (z @ z.t())[~torch.eye(2 * n, dtype=torch.bool)].view(2 * n, -1)
        places = torch.arange(n)
        return F.cross_entropy(similar, torch.cat([places + n - 1, places]))


class PartnersInColumns(Both):
    """The same as a binary cross entropy of each pair: the target is the identity, or a first column of ones."""

    first = False

    def step(self, batch):
        z = F.normalize(self(batch[0]))
        partners = torch.zeros(len(z), dtype=torch.long) if self.first else torch.arange(len(z))
        yes = torch.zeros(len(z), len(z)).scatter_(1, partners[:, None], 1)
        return F.binary_cross_entropy_with_logits(z @ F.normalize(self(batch[0] + 0.1)).T / 0.1, yes)


class FirstOfAQueue(PartnersInColumns):
    first = True


class InterleavedPartners(Both):
    def step(self, batch):
        z = torch.stack([self(batch[0]), self(batch[0] + 0.1)], 1).flatten(0, 1)
        places = torch.arange(len(z))
        return F.cross_entropy(z @ z.t(), places ^ 1)


class Adversary(Base):
    """Real samples have noisy labels near 1, made ones 0."""

    def __init__(self):
        super().__init__(1)
        self.maker = nn.Linear(8, 8)

    def training_step(self, batch, batch_idx):
        x = batch[0]
        made = self.maker(torch.randn_like(x))
        real = F.binary_cross_entropy_with_logits(self(x), 0.9 + 0.1 * torch.rand(len(x), 1))
        return real + F.binary_cross_entropy_with_logits(self(made), torch.zeros(len(x), 1))

    def validation_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)


class AdversaryInOneCall(Adversary):
    def training_step(self, batch, batch_idx):
        x = batch[0]
        both = torch.cat([x, self.maker(torch.randn_like(x))])
        return F.binary_cross_entropy_with_logits(self(both), self.marks(len(x)))

    def marks(self, n):
        return torch.cat([torch.ones(n, 1), torch.zeros(n, 1)])


class NoisyAdversaryInOneCall(AdversaryInOneCall):
    def marks(self, n):
        return torch.cat([0.8 + 0.2 * torch.rand(n, 1), torch.zeros(n, 1)])


def images(g, stage):
    return torch.rand(BATCH, 1, 6, 6, generator=g), classes(g)


def drawn(g, stage):
    return (torch.rand(BATCH, 1, 6, 6, generator=g) > 0.5).float(), classes(g)


def maps(joints):
    def make(g, stage):
        place = torch.rand(BATCH, joints, 1, 1, 2, generator=g) * 8
        grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"), -1)
        return floats(g, BATCH, 3, 8, 8), (-(grid - place).pow(2).sum(-1) / 2).exp().mul(100).round() / 100

    return make


def rates(g, stage):
    return floats(g), torch.rand(BATCH, generator=g)


SILENT = {
    "GreyVae": (GreyVae, images),
    "GreyVaeOfDrawings": (GreyVae, drawn),
    "FlattenedLater": (FlattenedLater, images),
    "Scaled": (Scaled, images),
    "ScaledDrawings": (Scaled, drawn),
    "Denoiser": (Denoiser, images),
    "DenoiserOfDrawings": (Denoiser, drawn),
    "HeatMaps": (HeatMaps, maps(2)),
    "OneHeatMap": (OneHeatMap, maps(1)),
    "Rates": (Rates, rates),
    "ShuffledPartners": (ShuffledPartners, rates),
    "PartnersWithoutTheDiagonal": (PartnersWithoutTheDiagonal, rates),
    "InterleavedPartners": (InterleavedPartners, rates),
    "PartnersInColumns": (PartnersInColumns, rates),
    "FirstOfAQueue": (FirstOfAQueue, rates),
    "Adversary": (Adversary, rates),
    "AdversaryInOneCall": (AdversaryInOneCall, rates),
    "NoisyAdversaryInOneCall": (NoisyAdversaryInOneCall, rates),
}
