"""Binary cross entropies whose targets are not plainly 0 and 1 per label."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.capture.styles.base import (
    BATCH,
    CLASSES,
    FEATURES,
    Base,
    Both,
    classes,
    floats,
    style,
    x_yesno,
)


def softened(target):
    return target * 0.9 + 0.05


class OneOutput(Both):
    def __init__(self):
        super().__init__(1)


@style(batch=x_yesno(BATCH), task="binary", pair=lambda m, b, s: (m.net(b[0]).squeeze(1), softened(b[1])))
class SmoothedByHand(OneOutput):
    def step(self, batch):
        return F.binary_cross_entropy_with_logits(self(batch[0]).squeeze(1), softened(batch[1]))


@style(batch=x_yesno(BATCH), task="binary", pair=lambda m, b, s: (m.net(b[0]), softened(b[1])[:, None]))
class SmoothedColumn(OneOutput):
    def step(self, batch):
        return F.binary_cross_entropy_with_logits(self(batch[0]), softened(batch[1])[:, None])


@style(
    batch=lambda g, s: (floats(g), torch.tensor([0.0, 0.2, 0.0, 1.0, 1.0, 0.6])[torch.randperm(BATCH, generator=g)]),
    task="binary",
    pair=lambda m, b, s: (m.net(b[0]).squeeze(1), b[1]),
)
class VotesOfSeveralPeople(OneOutput):
    """Toxic comments: the share of people who said yes."""

    def step(self, batch):
        return F.binary_cross_entropy_with_logits(self(batch[0]).squeeze(1), batch[1])


@style(batch=x_yesno(BATCH, CLASSES), task="multilabel", pair=lambda m, b, s: (m.net(b[0]), softened(b[1])))
class SmoothedLabels(Both):
    def step(self, batch):
        return F.binary_cross_entropy_with_logits(self(batch[0]), softened(batch[1]))


def mixed(labels):
    share = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.55, 0.5])[:, None]
    return labels * share + labels.flip(0) * (1 - share)


@style(
    batch=x_yesno(BATCH, 10),
    task=("mixup", "multilabel"),
    pair=lambda m, b, s: (m.net(b[0]), mixed(b[1]) if s == "train" else b[1]),
)
class MixedLabels(Base):
    """Audio tagging: each clip of a training batch is mixed with another, and so are the labels."""

    def __init__(self):
        super().__init__(10)

    def training_step(self, batch, batch_idx):
        return F.binary_cross_entropy_with_logits(self(batch[0]), mixed(batch[1]), reduction="none").mean()

    def validation_step(self, batch, batch_idx):
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])


@style()
class OneHotElements(Both):
    """Each class against the rest (timm, DeiT III): one of them is right."""

    def step(self, batch):
        return F.binary_cross_entropy_with_logits(self(batch[0]), F.one_hot(batch[1], CLASSES).float())


@style()
class OneHotElementsSmoothed(Both):
    def step(self, batch):
        target = F.one_hot(batch[1], CLASSES) * 0.9 + 0.1 / CLASSES
        return F.binary_cross_entropy_with_logits(self(batch[0]), target)


@style(
    batch=lambda g, s: (floats(g), F.one_hot(classes(g), CLASSES).float()),
    pair=lambda m, b, s: (m.net(b[0]).softmax(1), b[1].argmax(1)),
)
class SoftmaxAgainstOneHot(Both):
    """A softmax and one-hot labels from the loader: one class per sample, whatever the loss."""

    def step(self, batch):
        return F.binary_cross_entropy(self(batch[0]).softmax(1), batch[1])


@style(
    task="dense",
    batch=lambda g, s: (floats(g, BATCH, 3, 4, 4), classes(g, BATCH, 1, 4, 4, high=3)),
    pair=lambda m, b, s: (m.conv(b[0]), b[1].squeeze(1)),
)
class OneHotMap(Both):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def step(self, batch):
        target = F.one_hot(batch[1].squeeze(1), 3).permute(0, 3, 1, 2).float()
        return F.binary_cross_entropy_with_logits(self.conv(batch[0]), target)


class Resized(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)

    def forward(self, x):
        return self.conv(x)


@style(
    task="binary",
    batch=lambda g, s: (floats(g, BATCH, 1, 24, 24), F.interpolate(classes(g, BATCH, 1, 2, 2, high=2).float(), 16)),
    pair=lambda m, b, s: (m.part(b[0]), F.interpolate(b[1], 24, mode="bilinear")),
)
class MaskMadeLarger(Base):
    """A grey image and a mask of its shape: no reconstruction. Resizing leaves fractions at the edges."""

    def __init__(self):
        super().__init__()
        self.part = Resized()

    def training_step(self, batch, batch_idx):
        mask = F.interpolate(batch[1], 24, mode="bilinear")
        return F.binary_cross_entropy_with_logits(self.part(batch[0]), mask)

    validation_step = training_step


@style(
    task="binary",
    batch=lambda g, s: torch.cat([floats(g), classes(g, BATCH, 1, high=2).float()], 1),
    pair=lambda m, b, s: (m.net(b[:, :FEATURES]).squeeze(1), b[:, -1]),
)
class OneTable(OneOutput):
    """Inputs and label are columns of one tensor: they share memory, but the label was not fed."""

    def step(self, batch):
        return F.binary_cross_entropy_with_logits(self(batch[:, :-1]).squeeze(1), batch[:, -1])
