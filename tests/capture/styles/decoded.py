"""CTC modules whose validation decodes and counts errors without computing a loss."""

import torch
from torch import nn

from tests.capture.styles.base import BATCH, CLASSES, FEATURES, Base, classes, floats, style

FRAMES = 9


def lengths(g: torch.Generator, number: int, longest: int) -> torch.Tensor:
    found = torch.randint(1, longest + 1, (number,), generator=g)
    found[0] = longest
    return found


class Reader(nn.Module):
    """Lines of images (N, 1, height, width) to scores (N, C, 1, T) and their lengths; outside training to probabilities."""

    def __init__(self):
        super().__init__()
        self.nn = nn.Conv2d(1, CLASSES, (FEATURES, 1))

    def forward(self, x, widths):
        scores = self.nn(x)
        return (scores if self.training else scores.softmax(1)), widths - 1


def packed(g, stage):
    tokens = lengths(g, BATCH, 3)
    target = classes(g, int(tokens.sum())).clamp(min=1)
    image = floats(g, BATCH, 1, FEATURES, FRAMES)
    return {"image": image, "seq_lens": lengths(g, BATCH, FRAMES - 1) + 1, "target": target, "target_lens": tokens}


def read(m, b, stage):
    return m.net.nn(b["image"]).squeeze(2).permute(2, 0, 1).log_softmax(-1), b["target"]


@style(
    batch=packed,
    pair=read,
    task="ctc",
    source=("loss call ctc_loss", "output of net with batch['target'] (calibrated)"),
)
class DecodedLines(Base):
    """Concatenated targets; lengths of the frames come out of the network."""

    lengths = staticmethod(lambda b: ((b["seq_lens"] - 1).tolist(), b["target_lens"].tolist()))

    def __init__(self):
        super().__init__()
        self.net, self.errors = Reader(), []
        self.ctc = nn.CTCLoss(reduction="sum", zero_infinity=True)

    def training_step(self, batch, batch_idx):
        scores, frames = self.net(batch["image"], batch["seq_lens"])
        log_probs = scores.log_softmax(1).squeeze(2).permute(2, 0, 1)
        return self.ctc(log_probs, batch["target"], frames, batch["target_lens"])

    def validation_step(self, batch, batch_idx):
        probs, _ = self.net(batch["image"], batch["seq_lens"])
        self.errors.append(probs.squeeze(2).argmax(1).tolist())


def given(g, stage):
    batch = packed(g, stage)
    return {**batch, "seq_lens": batch["seq_lens"] - 1}


@style(
    batch=given,
    pair=read,
    task="ctc",
    source=("loss call ctc_loss", "output of net.nn with batch['target'] (calibrated)"),
)
class DecodedInside(DecodedLines):
    """``forward`` of the network is called past its hooks: only what lies inside is seen to return the scores."""

    lengths = staticmethod(lambda b: (b["seq_lens"].tolist(), b["target_lens"].tolist()))

    def __init__(self):
        super().__init__()
        self.net.forward = self.plain

    def plain(self, x, widths):
        return self.net.nn(x), widths

    def validation_step(self, batch, batch_idx):
        scores, _ = self.net.forward(batch["image"], batch["seq_lens"])
        self.errors.append(scores.squeeze(2).argmax(1).tolist())


def alone(g, stage):
    number = BATCH if stage == "train" else 1
    x, y = floats(g, number, FRAMES, FEATURES), classes(g, number, 4).clamp(max=CLASSES - 2)
    if stage != "train":
        return x, y
    tokens = lengths(g, number, 4)
    y[torch.arange(4) >= tokens[:, None]] = 0
    return x, lengths(g, number, FRAMES).clamp(min=4), y, tokens


@style(
    batch=alone,
    pair=lambda m, b, s: (m.net(b[0]).log_softmax(-1).transpose(0, 1), b[2 if s == "train" else 1]),
    task="ctc",
    source=("loss call ctc_loss", "output of net with batch[1] (calibrated)"),
)
class DecodedAlone(Base):
    """Validation has one line per batch, and so no lengths."""

    lengths = staticmethod(lambda b: ([FRAMES], [4]))

    def __init__(self):
        super().__init__()
        self.read, self.ctc = [], nn.CTCLoss(blank=CLASSES - 1, zero_infinity=True)

    def training_step(self, batch, batch_idx):
        x, frames, y, tokens = batch
        log_probs = self.net(x).log_softmax(2).permute(1, 0, 2).contiguous()
        return self.ctc(log_probs, y, frames, tokens)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.read.append((self.net(x)[0].log_softmax(-1).argmax(-1).tolist(), y[0].tolist()))


def padded(g, stage):
    y = classes(g, BATCH, 4).clamp(min=2)
    y[torch.arange(4) >= lengths(g, BATCH, 4)[:, None]] = 1
    return floats(g, BATCH, FRAMES, FEATURES), y


@style(
    batch=padded,
    pair=lambda m, b, s: (m.net(b[0]).log_softmax(-1).transpose(0, 1), b[1]),
    task="ctc",
    source=("loss call ctc_loss", "output of net with batch[1] (calibrated)"),
)
class DecodedPadded(Base):
    """The lengths are counted in the step: a token of its own fills up the targets."""

    lengths = staticmethod(lambda b: ([FRAMES] * BATCH, (b[1] != 1).sum(1).tolist()))

    def __init__(self):
        super().__init__()
        self.read, self.ctc = [], nn.CTCLoss(blank=0, zero_infinity=True)

    def training_step(self, batch, batch_idx):
        x, y = batch
        log_probs = self.net(x).log_softmax(-1).transpose(0, 1)
        return self.ctc(log_probs, y, torch.full((len(x),), FRAMES), (y != 1).sum(1))

    def validation_step(self, batch, batch_idx):
        self.read.append(self.net(batch[0]).argmax(-1))


def filled(g, stage):
    y = classes(g, BATCH, 4).clamp(min=1)
    y[torch.arange(4) >= lengths(g, BATCH, 4)[:, None]] = -100
    return {"inputs": floats(g, BATCH, FRAMES, FEATURES), "labels": y}


@style(
    batch=filled,
    pair=lambda m, b, s: (
        m.net(b["inputs"]).log_softmax(-1).transpose(0, 1),
        b["labels"][b["labels"] >= 0] if s == "train" else b["labels"],
    ),
    task="ctc",
    source=("loss call ctc_loss", "output of net with batch['labels'] (calibrated)"),
)
class DecodedSelected(Base):
    """The loss gets the tokens of all lines behind each other, as Hugging Face makes them of padded labels."""

    lengths = staticmethod(lambda b: ([FRAMES] * BATCH, (b["labels"] >= 0).sum(1).tolist()))

    def __init__(self):
        super().__init__()
        self.read, self.ctc = [], nn.CTCLoss(blank=0, zero_infinity=True)

    def training_step(self, batch, batch_idx):
        labels = batch["labels"]
        real, log_probs = labels >= 0, self.net(batch["inputs"]).log_softmax(-1).transpose(0, 1)
        return self.ctc(log_probs, labels.masked_select(real), torch.full((BATCH,), FRAMES), real.sum(-1))

    def validation_step(self, batch, batch_idx):
        self.read.append(self.net(batch["inputs"]).argmax(-1))


def wide(g, stage):
    number = 16 if stage == "train" else BATCH
    widths, tokens = torch.randint(8, 41, (number,), generator=g), torch.randint(1, 3, (number,), generator=g)
    widths[0] = 40
    return {
        "image": floats(g, number, 1, FEATURES, 40),
        "width": widths,
        "target": classes(g, number, 2).clamp(min=1),
        "tokens": tokens,
    }


@style(
    batch=wide,
    pair=lambda m, b, s: (m.net(b["image"]).squeeze(2).permute(2, 0, 1).log_softmax(-1), b["target"]),
    task="ctc",
    source=("loss call ctc_loss", "output of net with batch['target'] (calibrated)"),
)
class DecodedComputed(Base):
    """The frames are counted in the step from the widths of the images: one in four pixels."""

    lengths = staticmethod(lambda b: ((b["width"] // 4).tolist(), b["tokens"].tolist()))

    def __init__(self):
        super().__init__()
        self.net, self.read = nn.Conv2d(1, CLASSES, (FEATURES, 4), stride=(1, 4)), []
        self.ctc = nn.CTCLoss(zero_infinity=True)

    def frames(self, width):
        return width // 4

    def training_step(self, batch, batch_idx):
        log_probs = self.net(batch["image"]).squeeze(2).permute(2, 0, 1).log_softmax(-1)
        return self.ctc(log_probs, batch["target"], self.frames(batch["width"]), batch["tokens"])

    def validation_step(self, batch, batch_idx):
        self.read.append(self.net(batch["image"]).argmax(1))
