"""Labels that come along and meet something of the right size, but not predictions of classes."""

import torch
import torch.nn.functional as F
import torchmetrics.clustering
import torchmetrics.retrieval
from torch import nn

from tests.capture.styles.base import BATCH, Base, Both, classes, floats, xy


def contrastive(distance, same):
    return (same * distance.pow(2) + (1 - same) * F.relu(1 - distance).pow(2)).mean()


class Siamese(Both):
    def step(self, batch):
        (a, b), same = batch
        return contrastive(F.pairwise_distance(self(a), self(b)), same)


class SiameseByHand(Both):
    def step(self, batch):
        (a, b), same = batch
        return contrastive((self(a) - self(b)).pow(2).sum(1).sqrt(), same)


class ContrastiveOfDistances(nn.Module):
    def forward(self, distance, label):
        return contrastive(distance, label)


class PairLoss(ContrastiveOfDistances):
    pass


class SiameseModule(Both):
    def __init__(self):
        super().__init__()
        self.criterion = PairLoss()

    def step(self, batch):
        (a, b), same = batch
        return self.criterion(F.pairwise_distance(self(a), self(b)), same)


class DistanceModule(SiameseModule):
    """The distance itself is what a part of the network returns."""

    def __init__(self):
        super().__init__()
        self.distance = nn.PairwiseDistance()

    def step(self, batch):
        (a, b), same = batch
        return contrastive(self.distance(self(a), self(b)), same)


class AMSoftmaxLoss(nn.Module):
    """An additive margin over embeddings: the classes are columns of its own weights."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 5))

    def forward(self, embeddings, labels):
        z = 10 * F.normalize(embeddings) @ F.normalize(self.weight).t() - 3 * F.one_hot(labels, 5)
        return -(z.gather(1, labels[:, None]).squeeze(1) - z.logsumexp(1)).mean()


class FocalOfEmbeddings(AMSoftmaxLoss):
    """A name that says classes does not help where the module has a layer of its own."""


class Margin(Both):
    def __init__(self):
        super().__init__()
        self.loss = AMSoftmaxLoss()

    def step(self, batch):
        return self.loss(self(batch[0]), batch[1])


class LayerInTheLoss(Margin):
    def __init__(self):
        super().__init__()
        self.loss = FocalOfEmbeddings()


class NeighbourMonitor(Both):
    """Self-supervised: a bank of neighbours is asked for the label, for the log only."""

    def __init__(self):
        super().__init__()
        self.register_buffer("bank", torch.randn(20, 5))
        self.register_buffer("labels", torch.randint(5, (20,)))

    def step(self, batch):
        z = self(batch[0])
        near = self.labels[(z.detach() @ self.bank.t()).argmax(1)]
        self.log("knn", (near == batch[1]).float().mean())
        return (z - self(batch[0] + 0.1)).pow(2).mean()


class MeanAndVariance(Both):
    """Two columns that are no classes, against counts that happen to be 0 and 1."""

    def __init__(self):
        super().__init__(2)

    def step(self, batch):
        mean, log_variance = self(batch[0]).chunk(2, 1)
        return (0.5 * log_variance + (batch[1][:, None] - mean) ** 2 / (2 * log_variance.exp())).mean()


class ValueOfActions(Both):
    """Reinforcement learning: the action picks a value, which is no probability."""

    def step(self, batch):
        q = self(batch[0]).gather(1, batch[1][:, None]).squeeze(1)
        return (q - torch.randn(len(q))).pow(2).mean()


class ExpectedValue(Both):
    """The columns are steps of a scale; the label is compared with their mean."""

    def step(self, batch):
        return ((self(batch[0]).softmax(1) * torch.arange(5)).sum(1) - batch[1]).pow(2).mean()


class ConditionalAutoencoder(Both):
    """The label is an input, and there are as many features as classes."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(10, 5)

    def step(self, batch):
        x = batch[0][:, :5]
        return (self.net(torch.cat([x, F.one_hot(batch[1], 5).float()], 1)) - x).pow(2).mean()


class WithMetric(Base):
    """A loss that compares no labels, and a metric that is updated with two tensors which are no pair."""

    metric = torchmetrics.MeanMetric

    def __init__(self):
        super().__init__()
        self.measure = self.metric()

    def training_step(self, batch, batch_idx):
        self.watch(self(batch[0]).detach(), batch[1])
        return self.net(batch[0]).pow(2).mean()

    def validation_step(self, batch, batch_idx):
        self.watch(self(batch[0]), batch[1])

    def watch(self, z, y):
        self.measure.update(z.pow(2).mean(1), (y > 2).float())


class Clusters(WithMetric):
    metric = torchmetrics.clustering.NormalizedMutualInfoScore

    def watch(self, z, y):
        self.measure.update(z.argmax(1), y)


class Retrieved(WithMetric):
    metric = torchmetrics.retrieval.RetrievalMAP

    def watch(self, z, y):
        self.measure.update(z[:, 0], y > 2, y)


class Explained(WithMetric):
    """Regression by its metric, though the values happen to be 0 and 1."""

    metric = torchmetrics.MeanSquaredError

    def watch(self, z, y):
        self.measure.update(z[:, 0], (y > 2).float())


class Boxes(torchmetrics.Metric):
    def __init__(self):
        super().__init__()
        self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds, target):
        self.n += len(preds)

    def compute(self):
        return self.n


class Detection(WithMetric):
    metric = Boxes

    def watch(self, z, y):
        found = [{"boxes": torch.rand(5, 4), "scores": p.sigmoid(), "labels": torch.ones(5).long()} for p in z]
        self.measure.update(found, [{"boxes": torch.rand(3, 4), "labels": torch.ones(3).long()} for _ in z])


def pairs(g, stage):
    return (floats(g), floats(g)), classes(g, high=2)


def counts(g, stage):
    return floats(g), classes(g, BATCH, high=2)


def unnamed(g, stage):
    return floats(g), classes(g), floats(g)


SILENT = {
    "Siamese": (Siamese, pairs),
    "SiameseByHand": (SiameseByHand, pairs),
    "SiameseModule": (SiameseModule, pairs),
    "DistanceModule": (DistanceModule, pairs),
    "Margin": (Margin, xy),
    "LayerInTheLoss": (LayerInTheLoss, xy),
    "NeighbourMonitor": (NeighbourMonitor, xy),
    "MeanAndVariance": (MeanAndVariance, counts),
    "ValueOfActions": (ValueOfActions, xy),
    "ExpectedValue": (ExpectedValue, xy),
    "ConditionalAutoencoder": (ConditionalAutoencoder, xy),
    "WeightOfAMean": (WithMetric, unnamed),
    "Clusters": (Clusters, unnamed),
    "Retrieved": (Retrieved, unnamed),
    "Explained": (Explained, unnamed),
    "Detection": (Detection, unnamed),
}
