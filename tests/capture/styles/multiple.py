"""Several loss calls in one step: heads, mixup, auxiliary terms, loops, distillation, adversaries."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.capture.styles.base import BATCH, CLASSES, FEATURES, Base, Both, classes, floats, style


@style(
    batch=lambda g, s: {"x": floats(g), "age": classes(g), "sex": classes(g, high=2)},
    pair=lambda m, b, s: (m.net(b["x"]), b["age"]),
)
class TwoHeads(Both):
    def __init__(self):
        super().__init__()
        self.second = nn.Linear(FEATURES, 2)

    def step(self, batch):
        age, sex = self(batch["x"]), self.second(batch["x"])
        return F.cross_entropy(age, batch["age"]) + F.cross_entropy(sex, batch["sex"])


@style(task=("mixup", "multiclass"))
class Mixup(Base):
    def training_step(self, batch, batch_idx):
        x, y = batch
        order = torch.arange(BATCH).flip(0)
        logits = self(x)
        return 0.7 * F.cross_entropy(logits, y) + 0.3 * F.cross_entropy(logits, y[order])

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])


@style(pair=lambda m, b, s: (m.net(b[0]), b[1]))
class AuxiliaryFirst(Both):
    """The auxiliary classifier's loss comes first and counts less."""

    def __init__(self):
        super().__init__()
        self.aux = nn.Linear(FEATURES, CLASSES)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return 0.3 * F.cross_entropy(self.aux(x), y) + F.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])


@style()
class Distillation(Both):
    def __init__(self):
        super().__init__()
        self.teacher = nn.Linear(FEATURES, CLASSES).requires_grad_(False)

    def step(self, batch):
        x, y = batch
        logits, wanted = self(x), self.teacher(x)
        soft = F.kl_div(logits.log_softmax(1), wanted.softmax(1), reduction="batchmean")
        return soft + 0.5 * F.cross_entropy(logits, y)


@style()
class Domains(Both):
    """A domain classifier whose loss, against a constant, weighs most."""

    def __init__(self):
        super().__init__()
        self.domain = nn.Linear(FEATURES, 2)

    def step(self, batch):
        x, y = batch
        source, other = torch.zeros(BATCH).long(), torch.ones(BATCH).long()
        adversary = F.cross_entropy(self.domain(x), source) + F.cross_entropy(self.domain(x + 1), other)
        return 0.2 * F.cross_entropy(self(x), y) + adversary


@style()
class TeacherLabels(Both):
    """A second cross entropy against what a teacher predicts."""

    def __init__(self):
        super().__init__()
        self.teacher = nn.Linear(FEATURES, CLASSES).requires_grad_(False)

    def step(self, batch):
        x, y = batch
        return F.cross_entropy(self(x + 0.1), self.teacher(x).argmax(1)) + F.cross_entropy(self(x), y)


@style()
class ReconstructionBeside(Both):
    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(CLASSES, FEATURES)

    def step(self, batch):
        x, y = batch
        logits = self(x)
        return F.mse_loss(self.decoder(logits), x) + F.cross_entropy(logits, y)


@style()
class SameLossTwice(Both):
    def __init__(self):
        super().__init__()
        self.loss = nn.CrossEntropyLoss()

    def step(self, batch):
        logits = self(batch[0])
        with torch.no_grad():
            self.log("seen", self.loss(logits, batch[1]))
        return self.loss(logits, batch[1])


@style(
    batch=lambda g, s: (floats(g, BATCH, 4, FEATURES), classes(g, BATCH, 4)),
    pair=lambda m, b, s: (m.net(b[0]).transpose(0, 1).flatten(0, 1), b[1].t().flatten()),
    task="dense",
)
class LoopOverPositions(Both):
    def step(self, batch):
        x, y = batch
        return sum(F.cross_entropy(self.net(x[:, t]), y[:, t]) for t in range(4))


@style(batch=lambda g, s: (floats(g), floats(g, BATCH, CLASSES)), task="regression")
class ReversedArguments(Both):
    """Target first: in training the gradients tell, in validation it is remembered."""

    def step(self, batch):
        return F.mse_loss(batch[1], self(batch[0]))


@style(
    batch=lambda g, s: (floats(g), floats(g)),
    pair=lambda m, b, s: (m.net(b[0]) @ m.net(b[1]).t(), torch.arange(BATCH)),
    task="other",
)
class Contrastive(Both):
    def step(self, batch):
        scores = self(batch[0]) @ self(batch[1]).t()
        return F.cross_entropy(scores, torch.arange(BATCH))


@style(
    batch=lambda g, s: (floats(g).sigmoid().round(), classes(g)),
    pair=lambda m, b, s: (m.decoder(m.net(b[0])), b[0]),
    task="other",
)
class Autoencoder(Both):
    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(CLASSES, FEATURES)

    def step(self, batch):
        x, _ = batch
        return F.binary_cross_entropy_with_logits(self.decoder(self(x)), x)


@style(pair=lambda m, b, s: (m.net(b[0]), torch.ones(BATCH, 1)), task="other")
class AdversarialConstant(Both):
    def __init__(self):
        super().__init__(1)

    def step(self, batch):
        return F.binary_cross_entropy_with_logits(self(batch[0]), torch.ones(BATCH, 1))


@style(
    batch=lambda g, s: (floats(g, BATCH, 4, FEATURES), classes(g, BATCH, 4)),
    pair=lambda m, b, s: (m.net(b[0]).transpose(0, 1).flatten(0, 1), b[1].t().flatten()),
    task="dense",
)
class LoopOverOneOutput(Both):
    def step(self, batch):
        logits = self(batch[0])
        return sum(F.cross_entropy(logits[:, t], batch[1][:, t]) for t in range(4))


@style(
    batch=lambda g, s: (floats(g), classes(g, BATCH, 3, high=2)),
    pair=lambda m, b, s: (m.net(b[0])[:, :2], b[1][:, 0]),
)
class HeadsInOneOutput(Both):
    """Several attributes of equal size, cut from one output: heads, not positions."""

    def __init__(self):
        super().__init__(6)

    def step(self, batch):
        logits = self(batch[0])
        return sum(F.cross_entropy(logits[:, 2 * i : 2 * i + 2], batch[1][:, i]) for i in range(3))


@style(pair=lambda m, b, s: (m.net(torch.cat([b[0], b[0]])), b[1].repeat(2)))
class TwoViews(Both):
    def step(self, batch):
        x, y = batch
        return F.cross_entropy(self(torch.cat([x, x])), y.repeat(2))


@style(
    batch=lambda g, s: {"x": floats(g), "fine": classes(g), "coarse": classes(g, high=2)},
    pair=lambda m, b, s: (m.second(b["x"]), b["coarse"]),
)
class SecondHeadWeighsMore(Both):
    """Validation has no gradients to tell the weights: it reads the head that training reads."""

    def __init__(self):
        super().__init__()
        self.second = nn.Linear(FEATURES, 2)

    def step(self, batch):
        fine, coarse = self(batch["x"]), self.second(batch["x"])
        return 0.5 * F.cross_entropy(fine, batch["fine"]) + 2 * F.cross_entropy(coarse, batch["coarse"])


@style()
class AuxiliaryInBothStages(Both):
    def __init__(self):
        super().__init__()
        self.aux = nn.Linear(FEATURES, CLASSES)

    def step(self, batch):
        x, y = batch
        return 0.4 * F.cross_entropy(self.aux(x), y) + F.cross_entropy(self.net(x), y)


@style(proof=1)
class LatePseudoLabels(Base):
    """After a warm-up a second loss, against the model's own labels, comes before the supervised one."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        extra = F.cross_entropy(self(x + 0.1), self(x).argmax(1).detach()) if self.global_step >= 3 else 0
        return extra + F.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])


@style(proof=1)
class LateAdversary(Base):
    """A domain classifier of two classes that joins after a warm-up."""

    def __init__(self):
        super().__init__()
        self.domain = nn.Linear(FEATURES, 2)

    def training_step(self, batch, batch_idx):
        x, y = batch
        extra = F.cross_entropy(self.domain(x), torch.zeros(BATCH).long()) if self.global_step >= 3 else 0
        return extra + F.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])


def sorted_in_validation(g, s):
    labels = classes(g)
    return floats(g), labels if s == "train" else labels[:1].repeat(BATCH)


@style(batch=sorted_in_validation, pair=lambda m, b, s: (m.net(b[0]), m.order[b[1]]))
class SortedValidation(Both):
    """Each validation batch is of one class, and the step renames the classes: no entry of the batch is the target."""

    def __init__(self):
        super().__init__()
        self.register_buffer("order", torch.tensor([3, 0, 4, 1, 2]))

    def step(self, batch):
        return F.cross_entropy(self(batch[0]), self.order[batch[1]])


@style(batch=sorted_in_validation, pair=lambda m, b, s: (m.net(b[0]).squeeze(1), (b[1] > 1).float()), task="binary")
class OneAgainstAllSorted(Both):
    def __init__(self):
        super().__init__(1)

    def step(self, batch):
        return F.binary_cross_entropy_with_logits(self(batch[0]).squeeze(1), (batch[1] > 1).float())


@style(
    batch=lambda g, s: (floats(g, BATCH, 100, FEATURES), classes(g, BATCH, 100)),
    pair=lambda m, b, s: (m.net(b[0]).transpose(0, 1).flatten(0, 1), b[1].t().flatten()),
    task="dense",
)
class LongDecoder(Both):
    """A hundred loss calls a step."""

    def step(self, batch):
        x, y = batch
        return sum(F.cross_entropy(self.net(x[:, t]), y[:, t]) for t in range(100))


@style(
    batch=lambda g, s: (floats(g, BATCH, 2, FEATURES), classes(g, BATCH, 2)),
    pair=lambda m, b, s: (m.net(b[0]).transpose(0, 1).flatten(0, 1), b[1].t().flatten()),
    task="dense",
)
class TwoPositions(Both):
    def step(self, batch):
        x, y = batch
        return sum(F.cross_entropy(self.net(x[:, t]), y[:, t]) for t in range(2))


@style(
    batch=lambda g, s: (floats(g, BATCH, 7, FEATURES), classes(g, BATCH, 7)),
    pair=lambda m, b, s: (
        torch.cat([piece.flatten(0, 1) for piece in m.net(b[0]).split(3, 1)]),
        torch.cat([piece.flatten() for piece in b[1].split(3, 1)]),
    ),
    task="dense",
)
class LossInChunks(Both):
    """A language model's loss over three positions at a time, the last one over what is left."""

    def step(self, batch):
        logits, total = self.net(batch[0]), 0
        for piece, wanted in zip(logits.split(3, 1), batch[1].split(3, 1), strict=True):
            total = total + F.cross_entropy(piece.reshape(-1, CLASSES), wanted.reshape(-1), reduction="sum")
        return total / batch[1].numel()


@style(source=("loss call", "output of"))
class TwoPassesInTraining(Base):
    """Two forward passes in training (R-Drop), one in a validation that computes no loss."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y) + F.cross_entropy(self(x + 0.1), y)

    def validation_step(self, batch, batch_idx):
        self.log("acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())


class Below(Both):
    """A head over the lower part learns the same labels; its loss is called first."""

    def __init__(self):
        super().__init__()
        self.low, self.low_head, self.high = nn.Linear(FEATURES, 6), nn.Linear(6, CLASSES), nn.Linear(6, 7)
        self.high_head = nn.Linear(7, CLASSES)

    def forward(self, x):
        low = self.low(x)
        return {"low": self.low_head(low), "high": self.high_head(self.high(low).tanh())}


@style(pair=lambda m, b, s: (m(b[0])["high"].log_softmax(-1), b[1]), source="loss call nll_loss (high_logits")
class HelpingHead(Below):
    def step(self, batch):
        out = self(batch[0])
        low_logits, high_logits = out["low"].log_softmax(-1), out["high"].log_softmax(-1)
        return F.nll_loss(low_logits, batch[1].clone()) + F.nll_loss(high_logits, batch[1].clone())


@style(pair=lambda m, b, s: (m.refine(m.net(b[0])), b[1]))
class Refinement(Both):
    """Stages that each make the answer of the one before better."""

    def __init__(self):
        super().__init__()
        self.refine = nn.Linear(CLASSES, CLASSES)

    def step(self, batch):
        first = self.net(batch[0])
        stages = torch.stack([first, self.refine(first)])
        return sum(F.cross_entropy(stage, batch[1]) for stage in stages)


def against_the_rest(logits, y):
    """A focal loss over several classes, made of one yes-or-no loss for each."""
    loss = 0
    for label in range(logits.shape[1]):
        scores, right = logits[:, label], (y == label).type(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(scores, right, reduction="none")
        loss += ((1 - torch.exp(-losses)).pow(2) * losses).mean()
    return loss


@style()
class FocalByClass(Both):
    def step(self, batch):
        return against_the_rest(self(batch[0]), batch[1])


@style(
    batch=lambda g, s: (floats(g, BATCH, 3, 4, 4), classes(g, BATCH, 4, 4)),
    pair=lambda m, b, s: (m.conv(b[0]).movedim(1, -1)[b[1] > 0], b[1][b[1] > 0] - 1),
    task="dense",
)
class FocalByClassWithoutGround(Both):
    """Pixels that do not count are taken out first, so that the scores of each class are a copy."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def step(self, batch):
        scores, kept = self.conv(batch[0]), batch[1] > 0
        loss = 0
        for label in range(4):
            right = (batch[1] == label + 1)[kept].float()
            loss += F.binary_cross_entropy_with_logits(scores[:, label][kept], right)
        return loss


@style(
    batch=lambda g, s: (floats(g), classes(g, BATCH, CLASSES, high=2).float()),
    task="multilabel",
)
class LabelByLabel(Both):
    def step(self, batch):
        logits = self(batch[0])
        return sum(F.binary_cross_entropy_with_logits(logits[:, i], batch[1][:, i]) for i in range(CLASSES))


@style(
    batch=lambda g, s: (floats(g, BATCH, 4, FEATURES), classes(g, BATCH, 4)),
    pair=lambda m, b, s: (m(b[0])[1].flatten(0, 1), b[1].flatten()),
    task="dense",
)
class MaskedRefinement(Both):
    """Stages over positions; padding is set to zero, so that no part returns what the losses get."""

    def __init__(self):
        super().__init__()
        self.refine = nn.Linear(CLASSES, CLASSES)

    def forward(self, x):
        real = torch.ones(4, 1)
        real[3] = 0
        first = self.net(x) * real
        return torch.cat([first[None], (self.refine(first.softmax(-1)) * real)[None]])

    def step(self, batch):
        return sum(F.cross_entropy(s.contiguous().view(-1, CLASSES), batch[1].view(-1)) for s in self(batch[0]))


def clips(g, stage):
    return floats(g, BATCH, 7, FEATURES), classes(g, BATCH, 7, 3, high=2).float()


@style(
    batch=clips,
    task="binary",
    pair=lambda m, b, s: (m.frames(b[0])[m.strong], b[1][m.strong]),
)
class FramesThenClips(Base):
    """Sound events: some clips have a label for each frame, others one for the whole; validation asks in another order."""

    def __init__(self):
        super().__init__(3)
        self.teacher, self.loss = nn.Linear(FEATURES, 3), nn.BCELoss()
        self.strong = torch.arange(BATCH) < 3

    def frames(self, x):
        return self.net(x).sigmoid()

    def of_frames(self, x, y, net):
        return self.loss(net(x).sigmoid()[self.strong], y[self.strong])

    def of_clips(self, x, y, net):
        return self.loss(net(x).sigmoid().mean(1)[~self.strong], (y[~self.strong].sum(1) > 0).float())

    def training_step(self, batch, batch_idx):
        loss = self.of_frames(*batch, self.net) + self.of_clips(*batch, self.net)
        with torch.no_grad():
            self.of_frames(*batch, self.teacher)
            self.of_clips(*batch, self.teacher)
        return loss

    def validation_step(self, batch, batch_idx):
        for net in (self.net, self.teacher):
            self.of_clips(*batch, net)
        for net in (self.net, self.teacher):
            self.of_frames(*batch, net)
