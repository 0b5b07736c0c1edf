"""A step with several loss calls: the first screen says which one the numbers are of, once and truly."""

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from toys import Toy, blobs, fit

from lightning_diag import GapMonitor
from lightning_diag.engine import diagnose
from lightning_diag.history import CaptureFacts
from lightning_diag.report.sections.heads import judged
from lightning_diag.store import read_history
from tests.build import history


class TwoHeads(Toy):
    """The loss is the sum of two; the second has labels of its own."""

    def __init__(self):
        super().__init__()
        self.other = torch.nn.Linear(8, 5)

    def step(self, batch):
        features = self.encoder(batch[0])
        shape = F.cross_entropy(self.head(features), batch[1])
        return shape + 0.1 * F.cross_entropy(self.other(features), batch[2])

    def training_step(self, batch, batch_idx):
        return self.step(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.step(batch))


def pairs(n, seed):
    x, y = blobs(n, seed)
    return DataLoader(TensorDataset(x, y, torch.randint(0, 5, (n,), generator=torch.Generator().manual_seed(seed))), 10)


def test_the_first_screen_says_whose_accuracy_it_is(tmp_path):
    fit(tmp_path, [GapMonitor()], TwoHeads(), train=pairs(60, 1), val=pairs(30, 2))
    text = (tmp_path / "diagnosis.md").read_text()
    said = "Accuracy and losses are those of cross_entropy #1 (it weighs most), one of 2 loss calls; cross_entropy #2 is not judged."
    screen = text[: text.index("## ")]
    assert said.replace("_", r"\_") in screen or said in screen
    assert text.count("is not judged") == 1
    assert text.count("cross_entropy #2") + text.count(r"cross\_entropy #2") == 1


def test_the_loss_columns_are_those_of_the_head(tmp_path):
    """With the second head at ln(5) and more, the sum would be larger by at least a tenth of that."""
    fit(tmp_path, [GapMonitor()], TwoHeads(), train=pairs(60, 1), val=pairs(30, 2))
    run = read_history(tmp_path / "history.jsonl")
    whole = run.series("logged/val_loss").values[-1]
    assert run.series("val/loss").values[-1] < whole - 0.1


def facts(stage, source, *heads):
    return CaptureFacts(stage=stage, source=source, task="multiclass", heads=heads)


def test_heads_in_turn_and_stages_that_differ():
    series = {"train/loss": [1.0, 0.8], "val/loss": [1.0, 0.9]}
    two = "loss call cross_entropy (shape_loss, of 2 loss calls: its target is batch[1])"
    both = (facts("train", two, "age_loss"), facts("val", two, "age_loss"))
    assert judged(history(series, capture=both)) == (
        "Losses are those of shape_loss (its target is batch[1]), one of 2 loss calls; age_loss is not judged."
    )
    one = (both[0], facts("val", "loss call cross_entropy"))
    assert judged(history(series, capture=one)).startswith("Losses of training are those of shape_loss")
    turns = facts("train", "loss call cross_entropy", "second (3 classes)")
    assert (
        judged(history(series, capture=(turns,)))
        == "Steps with other labels (second (3 classes)) count in the losses alone."
    )
    assert not judged(history(series, capture=(facts("train", "loss call cross_entropy"),)))


def test_classes_of_the_other_head_are_not_missed(tmp_path):
    """The data set ends with the labels of the second head, whose classes validation need not hold."""
    fit(tmp_path, [GapMonitor()], TwoHeads(), train=pairs(60, 1), val=pairs(30, 2))
    run = read_history(tmp_path / "history.jsonl")
    assert len(run.context.data.train.class_counts) in (0, 3)
    assert diagnose(run).finding("LD304") is None
