"""Losses of the user's own: modules, functions, scripted ones; a stage without a loss."""

import torch
import torch.nn.functional as F
from torch import nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from tests.capture.styles.base import BATCH, CLASSES, FEATURES, Base, Both, classes, floats, style, x_yesno, xy_dict


def own_nll(logits, labels):
    return -logits.log_softmax(1).gather(1, labels[:, None]).mean()


class FocalLoss(nn.Module):
    def forward(self, inputs, targets):
        log_p = inputs.log_softmax(1).gather(1, targets[:, None]).squeeze(1)
        return -((1 - log_p.exp()) ** 2 * log_p).mean()


class DiceLoss(nn.Module):
    def forward(self, y_pred, y_true):
        p = y_pred.sigmoid()
        return 1 - 2 * (p * y_true).sum() / (p.sum() + y_true.sum() + 1)


@style(source="arguments of criterion")
class FocalModule(Both):
    def __init__(self):
        super().__init__()
        self.criterion = FocalLoss()

    def step(self, batch):
        return self.criterion(self(batch[0]), batch[1])


@style(source="arguments of focal_loss")
class FocalKeywords(Both):
    def __init__(self):
        super().__init__()
        self.focal_loss = FocalLoss()

    def step(self, batch):
        return self.focal_loss(targets=batch[1], inputs=self(batch[0]))


@style(
    batch=lambda g, s: (floats(g, BATCH, 3, 4, 4), classes(g, BATCH, 1, 4, 4, high=2).float()),
    pair=lambda m, b, s: (m.conv(b[0]), b[1]),
    task="binary",
    source="arguments of dice",
)
class DiceModule(Both):
    def __init__(self):
        super().__init__()
        self.conv, self.dice = nn.Conv2d(3, 1, 1), DiceLoss()

    def step(self, batch):
        return self.dice(self.conv(batch[0]), batch[1])


@style(source="output of forward with batch[1]", proof=1)
class OwnFunction(Both):
    def step(self, batch):
        return own_nll(self.forward(batch[0]), batch[1])


@style(source="output of net with batch[1]", proof=1)
class OwnFunctionWithoutForward(Both):
    def step(self, batch):
        return own_nll(self.net(batch[0]), batch[1])


@style(batch=xy_dict, pair=lambda m, b, s: (m.net(b["image"]), b["label"]), source="output of", proof=1)
class OwnFunctionDictBatch(Both):
    def step(self, batch):
        return own_nll(self(batch["image"]), batch["label"])


@style(
    source=("arguments of head.loss", "arguments of head.loss"),
    pair=lambda m, b, s: (m.head.linear(b[0]), b[1]),
)
class LossInsideHead(Both):
    def __init__(self):
        super().__init__()
        self.head = nn.Module()
        self.head.linear, self.head.loss = nn.Linear(FEATURES, CLASSES), FocalLoss()

    def step(self, batch):
        return self.head.loss(self.head.linear(batch[0]), batch[1])


@style(source="output of")
class ScriptedLoss(Both):
    """The calls inside a scripted loss cannot be seen: the report must say so."""

    def __init__(self):
        super().__init__()
        self.criterion = torch.jit.script(nn.CrossEntropyLoss())

    def step(self, batch):
        return self.criterion(self(batch[0]), batch[1])


@style(
    source="step output 'logits' with 'labels'",
    batch=lambda g, s: (floats(g), classes(g), classes(g)),
    pair=lambda m, b, s: (m.net(b[0]), b[2]),
)
class NamedStepOutput(Both):
    def step(self, batch):
        logits = self(batch[0])
        return {"loss": own_nll(logits, batch[2]), "logits": logits.detach(), "labels": batch[2]}


@style(source=("loss call", "output of net with batch[1] (calibrated)"))
class ValidationWithoutLoss(Base):
    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("acc", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())


@style(
    source=("loss call", "output of net with batch['tag'] (calibrated)"),
    batch=lambda g, s: {"signal": floats(g), "ids": classes(g), "tag": classes(g)},
    pair=lambda m, b, s: (m.net(b["signal"]), b["tag"]),
)
class ValidationWithoutLossOddNames(Base):
    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(batch["signal"]), batch["tag"])

    def validation_step(self, batch, batch_idx):
        return self.net(batch["signal"]).argmax(1)


@style(
    source=("loss call", "output of forward with batch[1] (calibrated)"),
    pair=lambda m, b, s: (m.net(b[0]).log_softmax(1), b[1]),
)
class ValidationWithoutLossNll(Base):
    def training_step(self, batch, batch_idx):
        return F.nll_loss(self(batch[0]).log_softmax(1), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())


@style(
    source=("update of the metric train_acc", "update of the metric val_metrics.f1"),
    batch=lambda g, s: (floats(g), classes(g), classes(g)),
    pair=lambda m, b, s: (m.net(b[0]).softmax(1), b[2]),
)
class MetricObjectsOnly(Base):
    def __init__(self):
        super().__init__()
        self.train_acc = MulticlassAccuracy(CLASSES)
        self.val_metrics = nn.ModuleDict({"f1": MulticlassF1Score(CLASSES)})

    def training_step(self, batch, batch_idx):
        logits = self(batch[0])
        self.train_acc(logits.softmax(1), batch[2])
        return own_nll(logits, batch[2])

    def validation_step(self, batch, batch_idx):
        self.val_metrics["f1"].update(self(batch[0]).softmax(1), batch[2])


@style(
    source="update of the metric acc",
    batch=lambda g, s: (floats(g), classes(g), classes(g)),
    pair=lambda m, b, s: (m.net(b[0]).argmax(1), b[2]),
)
class HardPredictionsToMetric(Both):
    def __init__(self):
        super().__init__()
        self.acc = MulticlassAccuracy(CLASSES)

    def step(self, batch):
        logits = self(batch[0])
        self.acc(logits.argmax(1), batch[2])
        return own_nll(logits, batch[2])


@style(batch=x_yesno(BATCH, CLASSES), task="multilabel", source="arguments of asl_loss")
class AsymmetricMultilabel(Both):
    def __init__(self):
        super().__init__()
        self.asl_loss = DiceLoss()

    def step(self, batch):
        return self.asl_loss(self(batch[0]), batch[1])


@style()
class CompiledLoss(Both):
    """The loss function itself compiled: its calls are seen by the mode."""

    def __init__(self):
        super().__init__()
        self.loss_fn = torch.compile(F.cross_entropy, backend="eager")

    def step(self, batch):
        return self.loss_fn(self(batch[0]), batch[1])


@style()
class CompiledInPlace(Both):
    def __init__(self):
        super().__init__()
        self.net.compile(backend="eager")

    def step(self, batch):
        return F.cross_entropy(self.net(batch[0]), batch[1])


class Objective(nn.Module):
    """A loss whose name says nothing: the step must be seen to compare."""

    def forward(self, given, wanted):
        return own_nll(given, wanted)


@style(source="arguments of objective")
class UnnamedLossModule(Both):
    def __init__(self):
        super().__init__()
        self.objective = Objective()

    def step(self, batch):
        return self.objective(self(batch[0]), batch[1])


class SoftDiceLoss(nn.Module):
    """Over several classes, with the classes of the target in a channel of floats, as readers of medical images give them."""

    def forward(self, scores, target):
        wanted = F.one_hot(target.squeeze(1).long(), scores.shape[1]).movedim(-1, 1)
        probs, axes = scores.softmax(1), tuple(range(2, scores.dim()))
        return 1 - (2 * (probs * wanted).sum(axes) / (probs + wanted).sum(axes)).mean()


@style(
    batch=lambda g, s: {"image": floats(g, 2, 1, 4, 4, 4), "label": classes(g, 2, 1, 4, 4, 4, high=3).float()},
    pair=lambda m, b, s: (m.volume(b["image"]), b["label"].squeeze(1)),
    task="dense",
    source="arguments of loss_function",
)
class Volumes(Both):
    def __init__(self):
        super().__init__()
        self.volume, self.loss_function = nn.Conv3d(1, 3, 1), SoftDiceLoss()

    def step(self, batch):
        return {"loss": self.loss_function(self.volume(batch["image"]), batch["label"])}
