"""Long epochs of a run that has been read for a while: one step in some is read, of the others nothing but the loss."""

import pytest
import torch
from lightning.pytorch import LightningModule
from test_short_way import Frozen, Lines, LinesAndMore, Plus, Skips, certain
from torch.nn import functional as F
from toys import Toy, blobs, fit, loader, trainer

from lightning_diag import all_callbacks
from lightning_diag.callbacks.collector import StageCollector
from lightning_diag.metrics import rows
from lightning_diag.store import read_history

BATCHES, LAST, SAMPLES = 81, 3, 803


@pytest.fixture
def soon(monkeypatch):
    """In part in epochs of that few samples."""
    monkeypatch.setattr(rows, "ENOUGH_SAMPLES", 200)


def record(tmp_path, name, module, **options):
    torch.manual_seed(0)
    folder, model = tmp_path / name, module()
    fit(folder, all_callbacks(dirpath=folder), model, epochs=3, train=loader(SAMPLES, 1), **options)
    return read_history(folder / "history.jsonl"), model


def read(history):
    return [row.stages["train"].correct.n for row in history.epochs]


class Silent(Frozen):
    """Its batches and answers are those of :class:`Frozen`; what it returns is unlike the loss of the call."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * 2


@pytest.mark.parametrize("module", [Frozen, Silent])
def test_one_step_in_four_is_read_and_the_loss_is_that_of_all(tmp_path, soon, module):
    history, model = record(tmp_path, "run", module)
    inputs, labels = blobs(SAMPLES, 1)
    true = int((model(inputs).argmax(1) == labels).sum()) / SAMPLES
    mean = F.cross_entropy(model(inputs), labels).item()

    first, *later = read(history)
    assert first == SAMPLES
    for row, n in zip(history.epochs[1:], later, strict=True):
        assert n % 10 == LAST  # the last batch is smaller, and among those that are read
        assert (
            BATCHES // 4 * 10 <= n <= 0.6 * SAMPLES
        )  # more than a quarter where gradients are looked at, which is often in 81
        assert row.stages["train"].correct.k / n == pytest.approx(true, abs=0.1)
        if module is Frozen:
            assert row.values["train/loss"] == pytest.approx(mean, rel=1e-5)
        else:  # the loss of the call is known where it is read
            assert row.values["train/loss"] == pytest.approx(mean, rel=0.1)
        for edge in ("loss/step_min", "loss/step_max", "loss/nonfinite_steps"):
            assert row.values[edge] == pytest.approx(history.epochs[0].values[edge])
    assert any("one in 4 at least" in note for note in history.context.notes)
    sample = f"train acc is read from a sample after the first epoch: in the last one {later[-1]} of {SAMPLES}"
    assert sample in (tmp_path / "run" / "diagnosis.md").read_text(encoding="utf-8").lower().replace("`", "")


@pytest.mark.filterwarnings("ignore:.*returned `None`")
@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 3}, {"val_check_interval": 37}])
@pytest.mark.parametrize("module", [Toy, Plus, Skips])
def test_the_run_and_what_is_not_counted_are_the_same(tmp_path, monkeypatch, module: type[LightningModule], options):
    whole, model = record(tmp_path, "whole", module, **options)
    monkeypatch.setattr(rows, "ENOUGH_SAMPLES", 200)
    part, same = record(tmp_path, "part", module, **options)

    assert sum(read(part)) < 0.8 * sum(read(whole))
    for mine, theirs in zip(model.parameters(), same.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(part.epochs, whole.epochs, strict=True):
        counted = ("train/", "diag/train", "batch/purity")
        wanted = {k: v for k, v in certain(theirs).items() if not k.startswith(counted)}
        assert {k: v for k, v in certain(mine).items() if k in wanted} == pytest.approx(wanted)


class Broken(Lines):
    """Now and then the loss is infinite."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + (0.0 if batch_idx % 11 else torch.inf)


@pytest.mark.parametrize("module", [Lines, LinesAndMore, Broken])
def test_of_ctc_the_same_calls_are_read(tmp_path, monkeypatch, module):
    passed = []
    count = StageCollector.pass_over
    monkeypatch.setattr(StageCollector, "pass_over", lambda self: passed.append(1) or count(self))
    part, _ = record(tmp_path, "part", module)
    assert (len(passed) > BATCHES / 2) is (
        module is Lines
    )  # the loss of a call that is not what the step returns is wanted
    monkeypatch.setattr(StageCollector, "_enough", lambda self, observation: 1)
    whole, _ = record(tmp_path, "whole", module)

    for mine, theirs in zip(part.epochs, whole.epochs, strict=True):
        for name in (
            "blank_share",
            "emit_ratio",
            "entropy",
            "ter",
            "loss_per_token",
            "loss_fall_50",
            "nonfinite_losses",
        ):
            key = f"ctc/train/{name}"
            assert mine.values.get(key) == pytest.approx(theirs.values.get(key), rel=1e-4), key
        for key in ("loss/step_max", "train/loss", "loss/nonfinite_steps"):
            assert mine.values.get(key) == pytest.approx(theirs.values.get(key)), key
    assert "ctc/train/loss_fall_50" in part.epochs[-1].values


def test_an_epoch_without_a_length_is_read_whole(tmp_path, soon):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield from zip(*blobs(400, 1), strict=True)

    run = trainer(tmp_path, all_callbacks(dirpath=tmp_path), epochs=5)
    run.fit(Toy(), torch.utils.data.DataLoader(Stream(), 4), loader(31, 2))
    assert set(read(read_history(tmp_path / "history.jsonl"))) == {400}


def test_how_many_are_enough():
    assert rows.enough_of(2_048, 64, 10) == 4
    assert rows.enough_of(100, 64, 10) == 3
    assert rows.enough_of(200, 64, 800) == 1  # 16 of each class
    assert rows.enough_of(100, 40, 10) == 1
    assert rows.enough_of(float("inf"), 32, 10) == 1
