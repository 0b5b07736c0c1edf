"""What the network and the batch look like: dense tasks, CTC, Hugging Face style, containers, compiled parts."""

from collections import UserDict
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.capture.styles.base import BATCH, CLASSES, FEATURES, Base, Both, classes, floats, style, xy

TIME = 7


@style(
    batch=lambda g, s: (floats(g, BATCH, 3, 4, 4), classes(g, BATCH, 4, 4)),
    pair=lambda m, b, s: (m.conv(b[0]), b[1]),
    task="dense",
)
class Segmentation(Both):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, CLASSES, 1)

    def step(self, batch):
        return F.cross_entropy(self.conv(batch[0]), batch[1], ignore_index=255)


@style(
    batch=lambda g, s: (floats(g, BATCH, 3, 4, 4), classes(g, BATCH, 1, 4, 4, high=2).float()),
    pair=lambda m, b, s: (m.conv(b[0]), b[1]),
    task="binary",
)
class BinarySegmentation(Both):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)
        self.loss = nn.BCEWithLogitsLoss()

    def step(self, batch):
        return self.loss(self.conv(batch[0]), batch[1])


def tokens(g: torch.Generator, stage: str) -> dict[str, torch.Tensor]:
    labels = classes(g, BATCH, TIME)
    labels[0, 4:] = -100
    return {"embeddings": floats(g, BATCH, TIME, FEATURES), "attention_mask": (labels >= 0).long(), "labels": labels}


@style(batch=tokens, pair=lambda m, b, s: (m.net(b["embeddings"]).flatten(0, 1), b["labels"].flatten()), task="dense")
class TokenLabelling(Both):
    def step(self, batch):
        logits = self(batch["embeddings"])
        return F.cross_entropy(logits.view(-1, CLASSES), batch["labels"].view(-1), ignore_index=-100)


def shifted(m, b):
    logits = m.head(m.table(b["input_ids"]))
    return logits[:, :-1].flatten(0, 1), b["input_ids"][:, 1:].flatten()


@style(batch=lambda g, s: {"input_ids": classes(g, BATCH, TIME)}, pair=lambda m, b, s: shifted(m, b), task="dense")
class LanguageModel(Both):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(CLASSES, FEATURES)
        self.head = nn.Linear(FEATURES, CLASSES)

    def step(self, batch):
        ids = batch["input_ids"]
        logits = self.head(self.table(ids))[:, :-1].contiguous()
        return F.cross_entropy(logits.view(-1, CLASSES), ids[:, 1:].contiguous().view(-1))


@dataclass
class ModelOutput:
    loss: Any
    logits: Any


class Inner(nn.Module):
    """A Hugging Face style model: the loss is made in forward."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, inputs, labels=None):
        logits = self.head(inputs)
        loss = None if labels is None else nn.CrossEntropyLoss()(logits.view(-1, CLASSES), labels.view(-1))
        return ModelOutput(loss, logits)


@style(
    batch=lambda g, s: UserDict(inputs=floats(g), labels=classes(g)),
    pair=lambda m, b, s: (m.model.head(b["inputs"]), b["labels"]),
)
class LossInForward(Both):
    def __init__(self):
        super().__init__()
        self.model = Inner()

    def step(self, batch):
        return self.model(**batch).loss


class InnerLabels(Inner):
    """The same with several labels for each sample, which are floats as the inputs are."""

    def forward(self, inputs, labels=None):
        logits = self.head(inputs)
        return ModelOutput(None if labels is None else nn.BCEWithLogitsLoss()(logits, labels), logits)


@style(
    batch=lambda g, s: UserDict(inputs=floats(g), labels=classes(g, BATCH, CLASSES, high=2).float()),
    pair=lambda m, b, s: (m.model.head(b["inputs"]), b["labels"]),
    task="multilabel",
)
class LabelsInForward(LossInForward):
    def __init__(self):
        super().__init__()
        self.model = InnerLabels()


class Reader(nn.Module):
    """Where the answer to a question begins and ends: two columns of one layer, and the loss made in forward."""

    def __init__(self):
        super().__init__()
        self.ends = nn.Linear(FEATURES, 2)

    def forward(self, inputs, starts, stops):
        first, last = (t.squeeze(-1).contiguous() for t in self.ends(inputs).split(1, dim=-1))
        return ModelOutput((F.cross_entropy(first, starts) + F.cross_entropy(last, stops)) / 2, (first, last))


@style(
    batch=lambda g, s: {
        "inputs": floats(g, BATCH, TIME, FEATURES),
        "starts": classes(g, high=TIME),
        "stops": classes(g, high=TIME),
    },
    pair=lambda m, b, s: (m.model.ends(b["inputs"])[..., 0], b["starts"]),
)
class SpanInForward(Both):
    def __init__(self):
        super().__init__()
        self.model = Reader()

    def step(self, batch):
        return self.model(**batch).loss


def speech(g: torch.Generator, stage: str) -> tuple[torch.Tensor, ...]:
    lengths = torch.randint(1, 4, (BATCH,), generator=g)
    return floats(g, BATCH, TIME, FEATURES), classes(g, BATCH, 3).clamp(min=1), torch.full((BATCH,), TIME), lengths


def frames(m, b):
    return m.net(b[0]).log_softmax(-1).transpose(0, 1), b[1]


@style(batch=speech, pair=lambda m, b, s: frames(m, b), task="ctc")
class CtcAttribute(Both):
    def __init__(self):
        super().__init__()
        self.ctc = nn.CTCLoss(blank=0, zero_infinity=True)

    def step(self, batch):
        x, y, frames_, tokens_ = batch
        return self.ctc(self(x).log_softmax(-1).transpose(0, 1), y, frames_, tokens_)


@style(batch=speech, pair=lambda m, b, s: frames(m, b), task="ctc")
class CtcFunction(Both):
    def step(self, batch):
        x, y, frames_, tokens_ = batch
        log_probs = F.log_softmax(self(x), dim=-1).permute(1, 0, 2)
        return F.ctc_loss(log_probs, y, tuple(frames_.tolist()), tuple(tokens_.tolist()))


@style()
class Checkpointed(Both):
    def step(self, batch):
        return F.cross_entropy(checkpoint(self.net, batch[0], use_reentrant=False), batch[1])


@style(pair=lambda m, b, s: (m.scripted(b[0]), b[1]))
class ScriptedNet(Both):
    def __init__(self):
        super().__init__()
        self.scripted = torch.jit.trace(nn.Linear(FEATURES, CLASSES), torch.zeros(BATCH, FEATURES), check_trace=False)

    def step(self, batch):
        return F.cross_entropy(self.scripted(batch[0]), batch[1])


@style()
class CompiledNet(Both):
    def __init__(self):
        super().__init__()
        self.fast = torch.compile(self.net, backend="eager")

    def step(self, batch):
        return F.cross_entropy(self.fast(batch[0]), batch[1])


class CompiledStep(Both):
    def step(self, batch):
        return F.cross_entropy(self(batch[0]), batch[1])


def compiled_module() -> Any:
    from lightning.pytorch.utilities.compile import from_compiled

    return from_compiled(torch.compile(CompiledStep(), backend="eager"))


@style()
class CompiledModule:
    """The whole module compiled, as ``Trainer.fit(torch.compile(model))`` does."""

    def __new__(cls):
        return compiled_module()


@dataclass
class Sample:
    image: torch.Tensor
    meta: list
    category: torch.Tensor

    def to(self, device):
        return self


@style(batch=lambda g, s: Sample(floats(g), ["a"], classes(g)), pair=lambda m, b, s: (m.net(b.image), b.category))
class DataclassBatch(Both):
    def step(self, batch):
        return F.cross_entropy(self(batch.image), batch.category)


@style(
    batch=lambda g, s: ({"views": [floats(g), floats(g)]}, [classes(g), classes(g)]),
    pair=lambda m, b, s: (m.net(b[0]["views"][0]), b[1][0]),
)
class NestedBatch(Both):
    def step(self, batch):
        return F.cross_entropy(self(batch[0]["views"][0]), batch[1][0])


@style(loaders=2)
class SeveralLoaders(Base):
    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        return F.cross_entropy(self(batch[0]), batch[1])


@style()
class ManualOptimisation(Both):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def step(self, batch):
        loss = F.cross_entropy(self(batch[0]), batch[1])
        if self.training:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
        return loss


@style(batch=lambda g, s: {"a": xy(g, s), "b": floats(g)}, pair=lambda m, b, s: (m.net(b["a"][0]), b["a"][1]))
class CombinedBatch(Both):
    """Labelled and unlabelled loaders beside each other, with a consistency term."""

    def step(self, batch):
        (x, y), u = batch["a"], batch["b"]
        return F.cross_entropy(self(x), y) + F.mse_loss(self(u), self(u + 0.1))
