"""Steps that hand over nothing: capture must say so, and must not make up a pair."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.capture.styles.base import BATCH, Base, classes, floats, xy


class NoPredictions(Base):
    """The target is made inside; three unnamed elements in the batch."""

    def training_step(self, batch, batch_idx):
        return self.net(batch[0]).pow(2).mean()

    def validation_step(self, batch, batch_idx):
        return None


class MaskAtSecondPlace(Base):
    """``batch[1]`` is a mask of the same shape as the labels would have."""

    def training_step(self, batch, batch_idx):
        x, mask, y = batch
        return -(self.net(x).log_softmax(1).gather(1, y[:, None]).squeeze(1) * mask).mean()

    def validation_step(self, batch, batch_idx):
        return None


class EverythingNeedsGrad(Base):
    """Two views pulled together: both sides of the loss are predictions."""

    def training_step(self, batch, batch_idx):
        return F.mse_loss(self.net(batch[0]), self.net(batch[0] + 1))

    def validation_step(self, batch, batch_idx):
        return F.mse_loss(self.net(batch[0]), self.net(batch[0] + 1))


class InPlaceAfterLoss(Base):
    """Validation turns its logits into probabilities in place, after the loss."""

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        logits = self.net(batch[0])
        loss = F.cross_entropy(logits, batch[1])
        logits.mul_(-1)
        return loss


class InPlaceWithoutLoss(Base):
    """Validation makes no loss call and overwrites what the network returned."""

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        logits = self.net(batch[0])
        logits.mul_(-1)


def three(g: torch.Generator, stage: str):
    return floats(g), classes(g, high=2), classes(g)


SILENT = {"NoPredictions": three, "MaskAtSecondPlace": three, "EverythingNeedsGrad": xy}
__all__ = [
    "BATCH",
    "SILENT",
    "EverythingNeedsGrad",
    "InPlaceAfterLoss",
    "InPlaceWithoutLoss",
    "MaskAtSecondPlace",
    "NoPredictions",
    "nn",
]
