"""Steps that differ in their values alone are counted the short way: taken, and with the same record."""

import pytest
import torch
from lightning.pytorch import LightningModule
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from toys import Toy, blobs, fit, loader

from lightning_diag import all_callbacks
from lightning_diag.callbacks.collector import StageCollector
from lightning_diag.signals.gradients import GradientSignals
from lightning_diag.store import read_history


class Plus(Toy):
    """What the step returns is not what the loss call computed."""

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1]) + 0.01 * self.head.weight.square().sum()


class Frozen(Toy):
    """Says the same of a sample in every batch and epoch."""

    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Linear(4, 8)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class InDict(Toy):
    def training_step(self, batch, batch_idx):
        return {"loss": F.cross_entropy(self(batch[0]), batch[1])}


class Sum(Toy):
    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1], reduction="sum") / 10


class Overwrites(Toy):
    """Now and then the logits are changed after the loss."""

    def training_step(self, batch, batch_idx):
        logits = self(batch[0])
        loss = F.cross_entropy(logits, batch[1])
        if batch_idx % 7 == 3:
            with torch.no_grad():
                logits.zero_()
        return loss


class Skips(Toy):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx == 9 else loss


class Lines(Toy):
    """CTC; the number of frames and tokens changes from batch to batch."""

    reduction = "mean"

    def training_step(self, batch, batch_idx):
        width = 6 + batch_idx % 3
        frames = self(batch[0]).log_softmax(-1).expand(width, -1, -1)
        tokens = torch.full((len(batch[1]),), 1 + batch_idx % 2)
        targets = (batch[1].clamp(min=1))[:, None].expand(-1, 2)
        return F.ctc_loss(frames, targets, torch.full_like(tokens, width), tokens, reduction=self.reduction)

    validation_step = training_step


class LinesAndMore(Lines):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + 0.01 * self.head.weight.square().sum()


class LinesSum(Lines):
    reduction = "sum"


class TwoInTurn(Toy):
    """Two forms of the same task in turn."""

    def training_step(self, batch, batch_idx):
        smooth = 0.1 if batch_idx % 2 else 0.0
        return F.cross_entropy(self(batch[0]), batch[1], label_smoothing=smooth)


def record(tmp_path, name, module, **options):
    torch.manual_seed(0)
    folder = tmp_path / name
    fit(folder, all_callbacks(dirpath=folder), module(), epochs=3, train=loader(803, 1), **options)
    return read_history(folder / "history.jsonl")


def certain(row):
    """Values that are neither times nor taken from some samples of each batch that is counted."""
    sampled = ("confidence", "entropy", "ece")
    return {k: v for k, v in row.values.items() if not k.startswith("time/") and not k.endswith(sampled)}


@pytest.mark.filterwarnings("ignore:.*returned `None`")
@pytest.mark.parametrize(
    ("module", "options"),
    [
        *(
            (module, {})
            for module in (Toy, Plus, InDict, Sum, Overwrites, Skips, TwoInTurn, Lines, LinesAndMore, LinesSum)
        ),
        *((module, {"val_check_interval": 7}) for module in (Plus, Skips, LinesAndMore)),
        (Toy, {"accumulate_grad_batches": 3}),
    ],
)
def test_the_short_way_gives_the_same_record(tmp_path, monkeypatch, module: type[LightningModule], options):
    taken = []
    offer = StageCollector.expecting

    def watched(self, observation, losses):
        count, keep = offer(self, observation, losses) or (None, None)
        return count and ((lambda *step: count(*step) and not taken.append(1)), keep)

    monkeypatch.setattr(StageCollector, "expecting", watched)
    monkeypatch.setattr(StageCollector, "_enough", lambda self, observation: 1)
    short = record(tmp_path, "short", module, **options)
    monkeypatch.setattr(StageCollector, "expecting", lambda self, observation, losses: None)
    long = record(tmp_path, "long", module, **options)

    assert bool(taken) is (module not in (Sum, TwoInTurn, Overwrites))  # these do not do the same in each step
    assert len(short.epochs) == len(long.epochs)
    assert short.context.data == long.context.data
    for mine, theirs in zip(short.epochs, long.epochs, strict=True):
        assert mine.stages == theirs.stages
        assert certain(mine) == pytest.approx(certain(theirs))


def test_batches_that_change_their_size_are_counted_as_they_are(tmp_path):
    """A batch of one would fill a slot made for ten without an error."""
    samples = blobs(300, 1)
    sizes = [10] * 6 + [1] * 20 + [10] * 6 + [3] * 20 + [10] * 10
    places = [list(range(sum(sizes[:i]), sum(sizes[: i + 1]))) for i in range(len(sizes))]
    data = DataLoader(TensorDataset(*samples), batch_sampler=places)
    model = Frozen()
    fit(tmp_path, all_callbacks(dirpath=tmp_path), model, epochs=3, train=data)
    history = read_history(tmp_path / "history.jsonl")
    right = int((model(samples[0]).argmax(1) == samples[1]).sum())
    for row in history.epochs:
        assert (row.stages["train"].correct.k, row.stages["train"].correct.n) == (right, 300)
        assert row.values["train/loss"] == pytest.approx(
            F.cross_entropy(model(samples[0]), samples[1]).item(), rel=1e-5
        )


@pytest.mark.parametrize(
    "options", [{}, {"accumulate_grad_batches": 3}, {"val_check_interval": 37}, {"limit_train_batches": 90}]
)
def test_steps_whose_gradients_are_not_wanted_are_not_shown(tmp_path, monkeypatch, options):
    shown = []
    look = GradientSignals.before_step

    def watched(self, optimizer, step=None):
        shown.append(step)
        look(self, optimizer, step)

    monkeypatch.setattr(GradientSignals, "before_step", watched)
    resting = record(tmp_path, "resting", Toy, **options)
    few, shown[:] = len(shown), []
    monkeypatch.setattr(GradientSignals, "next_step", lambda self: self.schedule.step + 1)
    always = record(tmp_path, "always", Toy, **options)

    assert few < len(shown)
    for mine, theirs in zip(resting.epochs, always.epochs, strict=True):
        assert certain(mine) == pytest.approx(certain(theirs))


def test_the_first_epoch_goes_the_short_way_too(tmp_path, monkeypatch):
    """Parts that have seen enough rest, and the one that fingerprints each batch is told of it alongside."""
    long = []
    seen = StageCollector.observe
    monkeypatch.setattr(StageCollector, "observe", lambda self, *step: long.append(self.stage) or seen(self, *step))
    monkeypatch.setattr(GradientSignals, "next_step", lambda self: None)
    fit(tmp_path, all_callbacks(dirpath=tmp_path), Toy(), epochs=1, train=loader(803, 1))
    assert long.count("train") <= 12
    facts = read_history(tmp_path / "history.jsonl").context.data.train
    assert facts.hashed == 803
    assert sum(facts.drawn_counts) == 803
