"""Each kind of loss call, and each way to get at the function."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import cross_entropy as bound_by_import

from tests.capture.styles.base import BATCH, CLASSES, Base, Both, classes, floats, style, x_yesno, xy, xy_dict


@style()
class FunctionalCrossEntropy(Both):
    def step(self, batch):
        x, y = batch
        return F.cross_entropy(self(x), y)


@style()
class CrossEntropyAttribute(Both):
    def __init__(self):
        super().__init__()
        self.criterion = nn.CrossEntropyLoss()

    def step(self, batch):
        x, y = batch
        return self.criterion(self(x), y)


@style()
class BoundInInit(Both):
    def __init__(self):
        super().__init__()
        self.loss_fn = F.cross_entropy

    def step(self, batch):
        x, y = batch
        return self.loss_fn(self.forward(x), y)


@style()
class ImportedFunction(Both):
    def step(self, batch):
        return bound_by_import(self(batch[0]), batch[1])


@style()
class PartialFunction(Both):
    def __init__(self):
        super().__init__()
        self.loss_fn = partial(F.cross_entropy, label_smoothing=0.1)

    def step(self, batch):
        return self.loss_fn(self(batch[0]), batch[1])


@style()
class BuiltInsideTheStep(Both):
    def step(self, batch):
        x, y = batch
        return nn.CrossEntropyLoss()(self(x), y)


@style()
class KeywordArguments(Both):
    def __init__(self):
        super().__init__()
        self.criterion = nn.CrossEntropyLoss(weight=torch.ones(CLASSES))

    def step(self, batch):
        return self.criterion(target=batch[1], input=self(batch[0]))


@style()
class CriterionFromArguments(Both):
    def __init__(self, criterion=nn.CrossEntropyLoss):
        super().__init__()
        self.losses = {"main": criterion()}

    def step(self, batch):
        return self.losses["main"](self(batch[0]), batch[1])


@style(pair=lambda m, b, s: (m.net(b[0]).log_softmax(1), b[1]))
class NllOfLogSoftmax(Both):
    def step(self, batch):
        return F.nll_loss(F.log_softmax(self(batch[0]), dim=1), batch[1])


@style()
class MultiMargin(Both):
    def step(self, batch):
        return F.multi_margin_loss(self(batch[0]), batch[1])


@style(batch=x_yesno(BATCH), pair=lambda m, b, s: (m.net(b[0]).squeeze(1), b[1]), task="binary")
class BinaryWithLogits(Both):
    def __init__(self):
        super().__init__(1)
        self.criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0]))

    def step(self, batch):
        return self.criterion(self(batch[0]).squeeze(1), batch[1])


@style(batch=x_yesno(BATCH, 1), task="binary")
class BinaryColumn(Both):
    def __init__(self):
        super().__init__(1)

    def step(self, batch):
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])


@style(
    batch=lambda g, s: (floats(g), classes(g, high=2)),
    pair=lambda m, b, s: (m.net(b[0]).sigmoid().flatten(), b[1].float()),
    task="binary",
)
class BinaryOfSigmoid(Both):
    def __init__(self):
        super().__init__(1)

    def step(self, batch):
        return F.binary_cross_entropy(torch.sigmoid(self(batch[0])).view(-1), batch[1].float())


@style(batch=x_yesno(BATCH, CLASSES), task="multilabel")
class MultilabelWithLogits(Both):
    def step(self, batch):
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])


@style(batch=x_yesno(BATCH, CLASSES), task="multilabel")
class MultilabelSoftMargin(Both):
    def __init__(self):
        super().__init__()
        self.criterion = nn.MultiLabelSoftMarginLoss()

    def step(self, batch):
        return self.criterion(self(batch[0]), batch[1])


@style(batch=lambda g, s: (floats(g), floats(g, BATCH, CLASSES)), task="regression")
class MeanSquaredError(Both):
    def step(self, batch):
        return F.mse_loss(self(batch[0]), batch[1])


@style(batch=lambda g, s: (floats(g), floats(g, BATCH, CLASSES)), task="regression")
class SmoothL1(Both):
    def __init__(self):
        super().__init__()
        self.loss = nn.SmoothL1Loss()

    def step(self, batch):
        return self.loss(self(batch[0]), batch[1])


@style(batch=lambda g, s: (floats(g), floats(g, BATCH, CLASSES).softmax(1)), task="soft")
class SoftLabels(Both):
    def step(self, batch):
        return F.cross_entropy(self(batch[0]), batch[1])


@style(
    batch=lambda g, s: (floats(g), F.one_hot(classes(g), CLASSES).float()),
    pair=lambda m, b, s: (m.net(b[0]), b[1].argmax(1)),
)
class OneHotTargets(Both):
    def step(self, batch):
        return F.cross_entropy(self(batch[0]), batch[1])


@style(
    batch=lambda g, s: (floats(g), floats(g, BATCH, CLASSES).softmax(1)),
    pair=lambda m, b, s: (m.net(b[0]).log_softmax(1), b[1]),
    task="soft",
)
class KullbackLeibler(Both):
    def __init__(self):
        super().__init__()
        self.criterion = nn.KLDivLoss(reduction="batchmean")

    def step(self, batch):
        return self.criterion(self(batch[0]).log_softmax(1), batch[1])


@style()
class OwnWeightingOfUnreduced(Both):
    """A focal loss over the unreduced cross entropy."""

    def step(self, batch):
        ce = F.cross_entropy(self(batch[0]), batch[1], reduction="none")
        return ((1 - (-ce).exp()) ** 2 * ce).mean()


@style(batch=lambda g, s: (floats(g), classes(g), torch.rand(BATCH, generator=g)))
class SampleWeights(Both):
    def step(self, batch):
        x, y, weights = batch
        return (F.cross_entropy(self(x), y, reduction="none") * weights).mean()


@style()
class HardExamples(Both):
    """The loss itself says which samples it keeps; their labels are meant all the same."""

    def step(self, batch):
        ce = F.cross_entropy(self(batch[0]), batch[1], reduction="none")
        return (ce * (ce > ce.median()).float()).mean()


@style(batch=xy_dict, pair=lambda m, b, s: (m.net(b["image"]), b["label"]))
class DictBatch(Both):
    def step(self, batch):
        return {"loss": F.cross_entropy(self(batch["image"]), batch["label"])}


@style(batch=xy_dict, pair=lambda m, b, s: (m.net(b["image"]), b["label"]))
class PoppedTargets(Both):
    def step(self, batch):
        y = batch.pop("label")
        return F.cross_entropy(self(x=batch.pop("image")), y)


@style(batch=xy, pair=lambda m, b, s: (m.net(b[0]), b[1]))
class LossAndDictByStage(Base):
    def training_step(self, batch):
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", F.cross_entropy(self.net(batch[0]), batch[1]))
