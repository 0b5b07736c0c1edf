"""Losses over scores and labels that users write as a function: what is read of them needs the proof of the step."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.capture.styles.base import BATCH, CLASSES, REGISTRY, Both, Style, classes, floats, x_yesno, xy


def picked(scores, y):
    return scores.gather(1, y[:, None]).squeeze(1)


def focal(z, y):
    log_p = picked(z.log_softmax(1), y)
    return -((1 - log_p.exp()) ** 2 * log_p).mean()


def focal_by_index(z, y):
    p = z.softmax(1)[torch.arange(len(y)), y]
    return -((1 - p) ** 2 * p.log()).mean()


def weighted(z, y):
    return -(torch.arange(1.0, 6.0)[y] * picked(z.log_softmax(1), y)).mean()


def smoothed(z, y):
    log_p = z.log_softmax(-1)
    return -(0.9 * picked(log_p, y) + 0.1 * log_p.mean(-1)).mean()


def smoothed_by_scatter(z, y):
    log_p = z.log_softmax(-1)
    target = torch.zeros_like(log_p).fill_(0.1 / 4)
    target.scatter_(1, y.unsqueeze(1), 0.9)
    return -(target * log_p).sum(1).mean()


def one_hot(z, y):
    return -((F.one_hot(y, CLASSES) * 0.9 + 0.02) * z.log_softmax(1)).sum(1).mean()


def rows_of_eye(z, y):
    return -(torch.eye(CLASSES)[y] * F.log_softmax(z, dim=1)).sum(1).mean()


def compared_with_all(z, y):
    return -((y[:, None] == torch.arange(CLASSES)).float() * z.log_softmax(1)).sum(1).mean()


def brier(z, y):
    return (z.softmax(1) - F.one_hot(y, CLASSES)).pow(2).mean()


def by_logsumexp(z, y):
    return (z.logsumexp(1) - picked(z, y)).mean()


def softmax_by_hand(z, y):
    e = z.exp()
    return -(e / e.sum(1, keepdim=True))[range(len(y)), y].log().mean()


def hinge(z, y):
    return (z - z.gather(1, y[:, None]) + 1).clamp(min=0).mean()


def along_dim(z, y):
    return -torch.take_along_dim(z.log_softmax(1), y[:, None], 1).mean()


def dice_class_by_class(z, y):
    p = z.softmax(1)
    return sum(
        1 - 2 * (p[:, c] * (y == c).float()).sum() / (p[:, c].sum() + (y == c).sum() + 1) for c in range(CLASSES)
    )


def soft_dice(z, y):
    p, t = z.softmax(1), F.one_hot(y, CLASSES).movedim(-1, 1).float()
    axes = tuple(i for i in range(z.dim()) if i != 1)
    return 1 - (2 * (p * t).sum(axes) / ((p + t).sum(axes) + 1)).mean()


def dice_of_joined_columns(z, y):
    p, t = z.softmax(1), torch.cat([(y == c).unsqueeze(1) for c in range(CLASSES)], 1).float()
    return sum(1 - 2 * (p[:, c] * t[:, c]).sum() / (p[:, c].pow(2).sum() + t[:, c].sum() + 1) for c in range(CLASSES))


def focal_class_by_class(z, y):
    total = 0.0
    for c in range(CLASSES):
        t = (y == c).long()
        total = total - (t * F.logsigmoid(z[:, c]) + (1 - t) * F.logsigmoid(-z[:, c])).mean()
    return total


def lovasz(z, y):
    p, y, total = z.movedim(1, -1).reshape(-1, CLASSES).softmax(-1), y.view(-1), 0.0
    for c in range(CLASSES):
        inside = (y == c).float()
        errors, order = (inside - p[:, c]).abs().sort(descending=True)
        total = total + (errors * inside[order]).mean()
    return total


def flattened(z, y):
    z = z.permute(0, 2, 3, 1).reshape(-1, CLASSES)
    return -z.log_softmax(1).gather(1, y.reshape(-1, 1)).mean()


def spare_class(z, y):
    t = F.one_hot(y.clamp(0, CLASSES), CLASSES + 1)[..., :-1].permute(0, 3, 1, 2)
    return -(t * z.log_softmax(1)).mean()


def binary(z, y):
    p = z.sigmoid()
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def binary_focal(z, y):
    p = z.sigmoid()
    right = torch.where(y == 1, p, 1 - p)
    return -((1 - right) ** 2 * right.log()).mean()


def binary_from_scores(z, y):
    return (z.clamp(min=0) - z * y + torch.log1p(torch.exp(-z.abs()))).mean()


def binary_softplus(z, y):
    return (F.softplus(z) - z * y).mean()


def dice(z, y):
    p, y = z.sigmoid().view(-1), y.view(-1)
    return 1 - 2 * (p * y).sum() / (p.sum() + y.sum() + 1)


def asymmetric(z, y):
    p = z.sigmoid()
    return -(y * p.clamp(min=1e-8).log() + (1 - y) * (1 - p).clamp(min=1e-8).log() * p**2).sum()


def module_of(loss, net):
    class Written(Both):
        def __init__(self):
            super().__init__()
            self.net = net()

        def step(self, batch):
            z = self(batch[0])
            return loss(z, batch[1])

    return Written


def image_and_map(g, stage):
    return floats(g, BATCH, 3, 4, 4), classes(g, BATCH, 4, 4)


def image_and_mask(g, stage):
    return floats(g, BATCH, 3, 4, 4), classes(g, BATCH, 1, 4, 4, high=2).float()


def add(task, batch, net, *losses, name=""):
    for loss in losses:
        title = f"{loss.__name__}{name}"
        REGISTRY[title] = Style(
            title,
            module_of(loss, net),
            batch,
            lambda m, b, s: (m.net(b[0]), b[1]),
            task,
            "output of forward with batch[1]",
            proof=1,
        )


def linear(outputs):
    return lambda: nn.Linear(8, outputs)


def squeezed():
    return nn.Sequential(nn.Linear(8, 1), nn.Flatten(0))


add(
    "multiclass", xy, linear(CLASSES), focal, focal_by_index, weighted, smoothed, smoothed_by_scatter, one_hot, rows_of_eye,
    compared_with_all, brier, by_logsumexp, softmax_by_hand, hinge, along_dim, dice_class_by_class,
)  # fmt: skip
add(
    "dense", image_and_map, lambda: nn.Conv2d(3, CLASSES, 1), soft_dice, dice_of_joined_columns, focal_class_by_class, lovasz,
    flattened, spare_class,
)  # fmt: skip
add("binary", x_yesno(BATCH, 1), linear(1), binary, binary_focal, binary_from_scores, binary_softplus)
add("binary", lambda g, s: (floats(g), classes(g, high=2)), squeezed, binary, binary_focal, name="_of_integers")
add("binary", image_and_mask, lambda: nn.Conv2d(3, 1, 1), dice)
add("multilabel", x_yesno(BATCH, CLASSES), linear(CLASSES), asymmetric)
