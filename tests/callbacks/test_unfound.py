"""A run whose predictions were not found says so first, once, and with a line that mends it; a regression has none to find."""

import re
import warnings
from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from toys import Toy, blobs, fit

from lightning_diag import GapMonitor
from lightning_diag.capture import Pair
from lightning_diag.store import read_history

MISSING = "No predictions that can be counted were found"


def _loss(logits, target):
    return torch.nn.functional.cross_entropy(logits, target)


with warnings.catch_warnings():  # torch advises against it; people use it
    warnings.simplefilter("ignore", DeprecationWarning)
    scripted = torch.jit.script(_loss)


class Named(torch.utils.data.Dataset):
    """Labels under a name that says nothing, one level down."""

    def __init__(self, n, seed):
        self.x, self.y = blobs(n, seed)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"image": self.x[index], "annot": {"cls": self.y[index]}, "path": f"{index}.png"}


class Scripted(Toy):
    """The loss cannot be looked into."""

    returns = False

    def step(self, batch):
        logits = self(batch["image"])
        loss = scripted(logits, batch["annot"]["cls"])
        return {"loss": loss, "logits": logits} if self.returns else loss

    def training_step(self, batch, batch_idx):
        return self.step(batch)

    def validation_step(self, batch, batch_idx):
        return self.step(batch)


class AsTold(Scripted):
    returns = True


def run(tmp_path, module, train, val, extractor=None, epochs=3):
    """The record, the page and the warnings of a fit."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit(tmp_path, [GapMonitor(dirpath=tmp_path, extractor=extractor)], module, epochs, train, val)
    page = (tmp_path / "diagnosis.md").read_text(encoding="utf-8")
    return (
        read_history(tmp_path / "history.jsonl"),
        page,
        [str(w.message) for w in told if "lightning_diag" in str(w.message)],
    )


def named(cls, tmp_path, extractor=None):
    loaders = (DataLoader(Named(60, 1), 10), DataLoader(Named(31, 2), 10))
    return run(tmp_path, cls(), *loaders, extractor)


def first_sentences(page):
    return page.split("\n\n")[1]


def test_it_is_said_first_and_once(tmp_path):
    history, page, told = named(Scripted, tmp_path)
    opening = f"{MISSING} in training_step and validation_step, so that accuracy, classes and the gap"
    assert opening in first_sentences(page)
    assert "Nothing is wrong that was looked for" not in page
    assert [facts.stage for facts in history.context.capture if facts.remedy] == ["train", "val"]
    assert page.count("extractor=lambda") == 1
    (warning,) = told
    assert opening in warning
    for line in ("`step.batch['image']` float32 (10, 4)", "`step.batch['annot']['cls']` int64 (10,)", "`step.outputs`"):
        assert line in warning
        assert line in page


def test_the_line_that_it_gives_mends_it(tmp_path):
    _, _, told = named(Scripted, tmp_path / "before")
    extractor = eval(re.search(r"extractor=(lambda .*?)\)`", told[0])[1])
    history, page, told = named(AsTold, tmp_path / "after", extractor)
    assert [len(history.counts(stage)) for stage in ("train", "val")] == [3, 3]
    assert MISSING not in page
    assert not told


class HalfScripted(Scripted):
    """Training makes its predictions outside of any part whose output could be read."""

    def training_step(self, batch, batch_idx):
        logits = F.linear(self.encoder(batch["image"]), self.head.weight, self.head.bias)
        return scripted(logits, batch["annot"]["cls"])

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch["image"]), batch["annot"]["cls"])


def test_only_what_was_not_judged_is_named(tmp_path):
    _, page, _ = named(HalfScripted, tmp_path)
    assert f"{MISSING} in training_step, so that training accuracy and the gap" in first_sentences(page)


def test_an_extractor_that_gives_nothing_is_to_be_mended(tmp_path):
    _, page, told = named(Scripted, tmp_path, extractor=lambda step: None)
    assert MISSING in first_sentences(page)
    assert "the extractor returned None for every step" in page
    assert "Let the function given as `extractor=` return" in told[0]


def absent(step):
    return step.outputs["nothing"], step.batch["annot"]["cls"]


def exchanged(step):
    lengths = torch.full((len(step.batch["image"]),), 7)
    return Pair(preds=torch.zeros(7, 3, 5), target=torch.ones(3, 2), task="ctc", input_lengths=lengths)


@pytest.mark.parametrize(
    ("extractor", "reason"), [(absent, "IndexError: too many indices"), (exchanged, "exchanges frames and lines")]
)
def test_an_extractor_that_fails_is_told_why(tmp_path, extractor, reason):
    history, page, _ = named(Scripted, tmp_path, extractor=extractor)
    assert reason in first_sentences(page)
    assert "(`extractor=`) stands under" not in page
    assert all("Mend the function" in facts.remedy for facts in history.context.capture)
    assert "A batch holds `step.batch['image']` float32" in page


class Squares(Toy):
    """A regression, with a loss of torch or one of one's own."""

    own = True

    def step(self, batch):
        error = self(batch[0]).sum(1) - batch[1]
        return error.square().mean() if self.own else F.mse_loss(error + batch[1], batch[1])

    def training_step(self, batch, batch_idx):
        return self.step(batch)

    def validation_step(self, batch, batch_idx):
        return self.step(batch)


@pytest.mark.parametrize("own", [True, False])
def test_a_regression_is_told_nothing(tmp_path, own):
    module = Squares(lr=0.01)
    module.own = own
    data = [DataLoader(TensorDataset(x, x.sum(1) + y / 2), 10) for x, y in (blobs(60, 1), blobs(31, 2))]
    history, page, told = run(tmp_path, module, *data)
    assert [bool(facts.problem) for facts in history.context.capture] == [True, True]
    assert not any(facts.remedy for facts in history.context.capture)
    assert MISSING not in page
    assert not told


class Masked(Toy):
    """Which predictions count, only the step knows."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        losses = F.cross_entropy(self(x), y, reduction="none")
        known = (x[:, 0] > 0).float()
        return (losses * known).sum() / known.sum()

    def validation_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)


def test_a_mask_is_a_reason_too(tmp_path):
    data = [DataLoader(TensorDataset(*blobs(60, seed)), 10) for seed in (1, 2)]
    _, page, told = run(tmp_path, Masked(), *data)
    assert MISSING in first_sentences(page)
    assert "a mask hides entries of the loss" in page
    assert "logits[mask]" in told[0]


@dataclass
class Sample:
    pixels: torch.Tensor
    kind: torch.Tensor


def test_an_attribute_is_written_as_one(tmp_path):
    class Objects(Scripted):
        def step(self, batch):
            return scripted(self(batch.pixels), batch.kind)

    loaders = [
        DataLoader([Sample(*(t[i : i + 10] for t in blobs(60, seed))) for i in range(0, 60, 10)], batch_size=None)
        for seed in (1, 2)
    ]
    _, _, told = run(tmp_path, Objects(), *loaders)
    assert "step.batch.kind))`" in told[0]
