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


class MissingLabels(Base):
    """Labels below 0 are unknown: a mask takes them out of the unreduced loss."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        losses = F.binary_cross_entropy_with_logits(self(x), y.clamp(0, 1), reduction="none")
        known = (y >= 0).float()
        return (losses * known).sum() / known.sum()

    def validation_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)


class Padding(Base):
    """A mask says which positions are real, here by filling."""

    def training_step(self, batch, batch_idx):
        x, y, mask = batch
        losses = F.cross_entropy(self(x).transpose(1, 2), y, reduction="none")
        return losses.masked_fill(~mask, 0).sum() / mask.sum()

    def validation_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)


class PaddingLeftOut(Padding):
    """The same by indexing."""

    def training_step(self, batch, batch_idx):
        x, y, mask = batch
        return F.cross_entropy(self(x).transpose(1, 2), y, reduction="none")[mask].mean()


class PaddingOfSmoothedLabels(Padding):
    """One mask for all classes of a position, over a divergence from smoothed labels."""

    def training_step(self, batch, batch_idx):
        x, y, mask = batch
        scores, flat = self(x).flatten(0, 1), y.flatten().clamp(min=0)
        wanted = torch.full_like(scores, 0.1 / 4).scatter_(1, flat[:, None], 0.9)
        losses = F.kl_div(scores.log_softmax(1), wanted, reduction="none")
        return losses.masked_fill(~mask.flatten()[:, None], 0).sum() / len(x)


class Ranks(Base):
    """Ordinal regression: column i says whether the label exceeds rank i, so columns are no classes."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits, total = self(x), 0.0
        for rank in range(5):
            among = y > rank - 1
            above = (y[among] > rank).long()
            chosen = logits[among, rank]
            total = total - (F.logsigmoid(chosen) * above + (F.logsigmoid(chosen) - chosen) * (1 - above)).sum()
        return total / len(y)

    def validation_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)


class LabelsUnused(Base):
    """Self-supervised training on a labelled data set: the labels come along unread."""

    def training_step(self, batch, batch_idx):
        a, b = F.normalize(self(batch[0])), F.normalize(self(batch[0] + 0.1))
        return -((a @ b.t()).log_softmax(1).diagonal()).mean()

    def validation_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)


class LabelsSayWhichBelongTogether(Base):
    """Metric learning: the columns of the output are no classes."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        z = F.normalize(self(x))
        return -((z @ z.t()).log_softmax(1) * (y[:, None] == y[None, :])).mean()

    def validation_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)


class Centres(nn.Module):
    def __init__(self):
        super().__init__()
        self.centres = nn.Parameter(torch.randn(7, 5))

    def forward(self, embeddings, labels):
        return (embeddings - self.centres[labels]).pow(2).mean()


class LossOverEmbeddings(Base):
    """A loss module with labels, but without classes in its first argument."""

    def __init__(self):
        super().__init__()
        self.loss = Centres()

    def training_step(self, batch, batch_idx):
        return self.loss(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        return self.loss(self(batch[0]), batch[1])


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


def hidden(g, stage):
    return floats(g), classes(g, BATCH, 5, high=3).float() - 1


def padded(g, stage):
    return floats(g, BATCH, 4, 8), classes(g, BATCH, 4), classes(g, BATCH, 4, high=2).bool()


SILENT = {
    "MissingLabels": hidden,
    "Padding": padded,
    "PaddingLeftOut": padded,
    "PaddingOfSmoothedLabels": padded,
    "Ranks": xy,
    "NoPredictions": three,
    "MaskAtSecondPlace": three,
    "EverythingNeedsGrad": xy,
    "LabelsUnused": xy,
    "LabelsSayWhichBelongTogether": xy,
    "LossOverEmbeddings": xy,
}
__all__ = [
    "BATCH",
    "SILENT",
    "EverythingNeedsGrad",
    "InPlaceAfterLoss",
    "InPlaceWithoutLoss",
    "LabelsSayWhichBelongTogether",
    "LabelsUnused",
    "LossOverEmbeddings",
    "MaskAtSecondPlace",
    "MissingLabels",
    "NoPredictions",
    "Padding",
    "PaddingLeftOut",
    "PaddingOfSmoothedLabels",
    "Ranks",
    "nn",
]
