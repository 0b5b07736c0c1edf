"""Several processes give the record of one: counts exact, one summed reduction per interval and stage, and no hang."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from processes import PATIENCE, in_own_process, own_port
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from toys import Toy, blobs, loader, trainer

import lightning_diag
from lightning_diag import all_callbacks, diagnosis_of
from lightning_diag.callbacks import best_weights
from lightning_diag.callbacks.collector import StageCollector
from lightning_diag.callbacks.observer import Observer
from lightning_diag.callbacks.parts.stages import StagePart
from lightning_diag.callbacks.parts.stopping import StoppingPart
from lightning_diag.callbacks.run import HOOKS, Part
from lightning_diag.metrics.classification import StageMetrics
from lightning_diag.store import read_history

pytestmark = pytest.mark.reliability


class Still(Toy):
    """Weights stand still and nothing depends on the batch, so that counts are comparable whatever the order."""

    def __init__(self):
        super().__init__(lr=0.0)
        self.encoder[1] = torch.nn.Identity()


def train(
    folder, processes=1, *, samples=30, val=None, module=Still, epochs=2, train_samples=60, callbacks=None, **more
):
    """In a process of its own: fit, and leave the record, the weights and the number of collective calls per rank."""
    folder.mkdir(exist_ok=True)
    extra = {"strategy": "ddp_fork", "devices": processes} if processes > 1 else {}
    torch.manual_seed(0)
    observers = all_callbacks(dirpath=folder) if callbacks is None else callbacks(folder)
    run = trainer(folder, [*observers, Leave(folder)], epochs=epochs, **extra, **more)
    val = loader(samples, 2, batch_size=5) if val is None else val()
    run.fit(module(), loader(train_samples, 1, batch_size=5), val)


class Leave(Callback):
    """Writes what each rank knows at the end."""

    def __init__(self, folder):
        self.folder, self.sums = folder, 0

    def on_fit_start(self, trainer, pl_module):
        real = torch.distributed.all_reduce

        def counting(*args, **kwargs):
            self.sums += 1
            return real(*args, **kwargs)

        torch.distributed.all_reduce = counting

    def on_fit_end(self, trainer, pl_module):
        made = {}
        if (observer := Observer.find(trainer)) is not None:
            parts = [p for p in observer._dispatch.parts if isinstance(p, StagePart)]
            made = {stage: c.metrics.collectives for part in parts for stage, c in part.collectors.items()}
        rank = trainer.global_rank
        (self.folder / f"sums{rank}.json").write_text(json.dumps(self.sums))
        (self.folder / f"rank{rank}.json").write_text(json.dumps(made))
        torch.save(pl_module.state_dict(), self.folder / f"rank{rank}.pt")


def record(folder, *args, **settings):
    log = folder.with_suffix(".log")
    status = in_own_process(lambda: train(folder, *args, **settings), log=log)
    assert status == 0, log.read_text()[-3000:]
    return read_history(folder / "history.jsonl")


def assert_same_counts(many, one):
    assert [r.epoch for r in many.epochs] == [r.epoch for r in one.epochs]
    for mine, theirs in zip(many.epochs, one.epochs, strict=True):
        assert set(mine.stages) == set(theirs.stages)
        for stage, expected in theirs.stages.items():
            assert mine.stages[stage].correct == expected.correct
            assert mine.stages[stage].classes == expected.classes
            assert mine.stages[stage].matrix == expected.matrix
    assert many.context.notes == ()


@pytest.mark.parametrize(("processes", "samples", "train_samples"), [(2, 30, 60), (2, 31, 61), (4, 9, 60), (4, 1, 62)])
def test_the_record_is_that_of_one_process(tmp_path, processes, samples, train_samples):
    """Also with an uneven last batch, and where the sampler repeats samples to make the processes even."""
    shape = {"samples": samples, "train_samples": train_samples}
    one = record(tmp_path / "one", **shape)
    many = record(tmp_path / "many", processes, **shape)
    assert_same_counts(many, one)
    for mine, theirs in zip(many.epochs, one.epochs, strict=True):
        assert mine.values["val/acc"] == pytest.approx(theirs.values["val/acc"])
        # the loss call of a batch is a mean over its samples, a repeated one included
        exact = 1e-5 if samples % processes == 0 else 0.05
        assert mine.values["val/loss"] == pytest.approx(theirs.values["val/loss"], rel=exact)
        assert mine.stages["val"].padded == -samples % processes
        assert mine.stages["train"].padded == -train_samples % processes
    folder = tmp_path / "many"
    assert sorted(p.name for p in folder.glob("diagnosis*.md")) == ["diagnosis.md"]  # only rank 0 writes
    made = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(processes)]
    # one to agree on the number of classes, then one per interval
    assert made == [{"train": 1 + 2, "val": 1 + 2}] * processes


def without_probe(folder):
    return all_callbacks(dirpath=folder, probe_batches=0)


@pytest.mark.parametrize("processes", [2, 4])
def test_the_report_is_that_of_one_process(tmp_path, processes):
    """All that counts says; below that, samples, gradients and facts about inputs are those of the first process."""
    texts, histories = {}, {}
    for number in (1, processes):
        folder = tmp_path / str(number)
        histories[number] = record(folder, number, samples=32, train_samples=64, callbacks=without_probe)
        texts[number] = (folder / "diagnosis.md").read_text()
    judged = {number: text.split("## Sample predictions")[0] for number, text in texts.items()}
    assert "| class 2 |" in judged[1]
    assert judged[processes] == judged[1]
    clear = {number: text.split("## Checked and clear")[1].split("## ")[0] for number, text in texts.items()}
    assert clear[processes] == clear[1]
    assert f"{processes} × cpu, DDPStrategy" in texts[processes]
    one, many = (histories[number].context for number in (1, processes))
    assert many.data.val.class_counts == one.data.val.class_counts
    assert many.data.train.class_counts == one.data.train.class_counts
    assert many.data.train.augmented is None  # what is new to this process may have been with another one
    everything = {(s.index, *s.prediction, round(s.loss, 4)) for s in one.samples}
    mine = {(s.index, *s.prediction, round(s.loss, 4)) for s in many.samples}
    assert all(index % processes == 0 for index, *_ in mine)
    assert mine & everything == {sample for sample in everything if sample[0] % processes == 0}


def test_repeated_samples_are_told(tmp_path):
    record(tmp_path / "run", 2, samples=31, callbacks=without_probe)
    assert "1 validation sample was repeated" in (tmp_path / "run" / "diagnosis.md").read_text()


def test_an_epoch_costs_one_sum_per_stage(tmp_path):
    """Counted where torch is called, so that no call of ours is left out."""
    made = {}
    for name, callbacks in (("watched", without_probe), ("bare", lambda _: [])):
        for epochs in (2, 3):
            folder = tmp_path / f"{name}{epochs}"
            log = folder.with_suffix(".log")
            more = {"epochs": epochs, "callbacks": callbacks}
            status = in_own_process(lambda f=folder, m=more: train(f, 2, **m), log=log)
            assert status == 0, log.read_text()[-3000:]
            made[name, epochs] = [json.loads((folder / f"sums{rank}.json").read_text()) for rank in range(2)]
    for rank in range(2):
        watched, bare = (made[name, 3][rank] - made[name, 2][rank] for name in ("watched", "bare"))
        assert watched - bare == 2


def test_a_script_that_lightning_starts_once_per_process(tmp_path):
    """``strategy="ddp"``: the processes do not come from one another, and each reads the script anew."""
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import os, sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parent.parent)]!r}
from test_distributed import Still, loader, trainer, all_callbacks
if __name__ == "__main__":
    run = trainer({str(tmp_path)!r}, all_callbacks(dirpath={str(tmp_path)!r}), epochs=1, strategy="ddp", devices=2)
    run.fit(Still(), loader(60, 1, batch_size=5), loader(31, 2, batch_size=5))
    os._exit(0)  # the threads of a process group may abort an interpreter that shuts down around them
"""
    )
    port = {"MASTER_PORT": str(own_port())}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
        env=os.environ | port,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = read_history(tmp_path / "history.jsonl").epochs
    assert [(r.stages["train"].n, r.stages["val"].n, r.stages["val"].padded) for r in found] == [(60, 31, 1)]


def test_the_diagnosis_is_there_after_processes_that_are_gone(tmp_path):
    """``ddp_spawn``, ``ddp_fork`` and notebooks: the callbacks of the calling process have seen nothing."""

    def fit_and_ask():
        run = trainer(tmp_path, all_callbacks(), epochs=2, strategy="ddp_fork", devices=2)
        run.fit(Still(), loader(60, 1), loader(31, 2))
        assert [r.stages["val"].n for r in diagnosis_of(run).history.epochs] == [31, 31]

    assert in_own_process(fit_and_ask, log=tmp_path / "log") == 0, (tmp_path / "log").read_text()


class OnOneRank(IterableDataset):
    """Without a length, and without a sample on every process but one."""

    def __init__(self, rank=0):
        self.rank = rank

    def __iter__(self):
        here = torch.distributed.get_rank() if torch.distributed.is_initialized() else self.rank
        return iter(zip(*blobs(31, 2), strict=True) if here == self.rank else ())


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_whose_loader_yields_nothing(tmp_path, rank):
    val = {"val": lambda: DataLoader(OnOneRank(rank), 5)}
    one = record(tmp_path / "one", **val)
    assert_same_counts(record(tmp_path / "many", 2, **val), one)


class Lines(IterableDataset):
    """Frames, tokens and lengths of five CTC batches; none on the second process."""

    def __init__(self, only_first):
        self.only_first = only_first

    def __iter__(self):
        here = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        generator = torch.Generator().manual_seed(3)
        for _ in range(0 if here and self.only_first else 5):
            x, y = torch.randn(12, 2, 4, generator=generator), torch.randint(1, 5, (2, 3), generator=generator)
            yield x, y, torch.tensor([12, 10]), torch.tensor([3, 2])


class CTC(LightningModule):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 5)

    def training_step(self, batch, batch_idx):
        x, y, frames, tokens = batch
        return torch.nn.functional.ctc_loss(self.head(x).log_softmax(-1), y, frames, tokens)

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def test_a_rank_without_a_line_takes_part_in_the_sums_of_ctc(tmp_path):
    def lines(only_first=True):
        return DataLoader(Lines(only_first), batch_size=None)

    def go(folder, processes):
        extra = {"strategy": "ddp_fork", "devices": processes} if processes > 1 else {}
        torch.manual_seed(0)
        run = trainer(folder, all_callbacks(dirpath=folder), epochs=2, **extra)
        run.fit(CTC(), lines(only_first=False), lines())

    found = {}
    for processes in (1, 2):
        log = tmp_path / f"{processes}.log"
        status = in_own_process(lambda p=processes: go(tmp_path / str(p), p), log=log)
        assert status == 0, log.read_text()[-3000:]
        found[processes] = read_history(tmp_path / str(processes) / "history.jsonl")
    assert found[2].context.notes == ()
    for many, one in zip(found[2].epochs, found[1].epochs, strict=True):
        expected = {name: v for name, v in one.values.items() if name.startswith("ctc/val/")}
        assert "ctc/val/ter" in expected
        assert {name: many.values[name] for name in expected} == pytest.approx(expected)
        assert many.stages["val"] == one.stages["val"]


class Uneven(Still):
    """Its own split of the validation set: all samples on one process, none on the other."""

    def __init__(self):
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True

    def val_dataloader(self):
        here = torch.distributed.is_initialized() and torch.distributed.get_rank() != 0
        x, y = blobs(31, 2)
        return DataLoader(TensorDataset(x[:0] if here else x, y[:0] if here else y), 5)

    def train_dataloader(self):
        half = torch.distributed.get_rank() if torch.distributed.is_initialized() else None
        x, y = blobs(60, 1)
        x, y = (x, y) if half is None else (x[half::2], y[half::2])
        return DataLoader(TensorDataset(x, y), 5)


def uneven(folder, processes, **settings):
    folder.mkdir()
    extra = {"strategy": "ddp_fork", "devices": processes} if processes > 1 else {}
    run = trainer(folder, all_callbacks(dirpath=folder), epochs=2, use_distributed_sampler=False, **extra, **settings)
    run.fit(Uneven())


@pytest.mark.parametrize("settings", [{}, {"val_check_interval": 0.5}, {"check_val_every_n_epoch": 2}], ids=str)
def test_a_rank_that_lightning_leaves_out_of_validation(tmp_path, settings):
    """Lightning skips all validation hooks where a loader has the length 0; the others must not wait there."""
    found = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        log = tmp_path / f"{processes}.log"
        more = settings if processes == 2 else {k: v for k, v in settings.items() if k != "val_check_interval"}
        status = in_own_process(lambda f=folder, p=processes, m=more: uneven(f, p, **m), log=log)
        assert status == 0, log.read_text()[-3000:]
        found[processes] = read_history(folder / "history.jsonl")
    for mine, theirs in zip(found[2].epochs, found[1].epochs, strict=True):
        assert {s: r.classes for s, r in mine.stages.items()} == {s: r.classes for s, r in theirs.stages.items()}
    assert ["A process may have no validation batches" in note for note in found[2].context.notes] == [True]


COLLECTIVE = [
    (cls, hook)
    for cls in (StagePart, StoppingPart)
    for hook in HOOKS
    if getattr(cls, hook) is not getattr(Part, hook) and hook not in ("close", "fit_end")
]


@pytest.mark.parametrize(("cls", "hook"), COLLECTIVE, ids=[f"{cls.__name__}-{hook}" for cls, hook in COLLECTIVE])
def test_a_fault_of_ours_on_one_rank_hangs_nobody(tmp_path, monkeypatch, cls, hook):
    """The rank goes on making the collective calls until all have learnt of the fault."""
    original = getattr(cls, hook)

    def fails_on_rank_1(self, run, *args):
        if run.trainer.global_rank == 1:
            raise ZeroDivisionError("injected")
        original(self, run, *args)

    monkeypatch.setattr(cls, hook, fails_on_rank_1)
    found = record(tmp_path / "run", 2, module=Toy)
    assert (tmp_path / "run" / "diagnosis.md").exists()
    if cls is StagePart:
        assert any("metrics" in note and "failed" in note for note in found.context.notes), found.context.notes
    monkeypatch.undo()
    record(tmp_path / "bare", 2, module=Toy, callbacks=lambda folder: all_callbacks(dirpath=folder)[:1])
    for rank in range(2):
        weights = [torch.load(tmp_path / name / f"rank{rank}.pt") for name in ("run", "bare")]
        torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_a_batch_that_cannot_be_counted_on_one_rank_is_told_by_all(tmp_path, monkeypatch):
    original = StageCollector.observe

    def observe(self, observation, batch, step_loss):
        if torch.distributed.get_rank() == 1 and self.steps == 3 and self.stage == "train":
            raise ZeroDivisionError("injected")
        original(self, observation, batch, step_loss)

    monkeypatch.setattr(StageCollector, "observe", observe)
    found = record(tmp_path / "run", 2, module=Toy)
    assert any("counting failed on 1 process" in note for note in found.context.notes)
    assert not any("train" in r.stages for r in found.epochs)  # half of the counts would be a lie


@pytest.mark.parametrize("where", ["training_step", "validation_step"])
def test_a_rank_that_fails_does_not_hang_the_others(tmp_path, where):
    class Fails(Toy):
        pass

    def step(self, batch, batch_idx):
        if self.global_rank == 1 and self.current_epoch == 1 and batch_idx == 1:
            raise ZeroDivisionError("the user's own")
        return getattr(Toy, where)(self, batch, batch_idx)

    setattr(Fails, where, step)
    log = tmp_path / "run.log"
    status = in_own_process(lambda: train(tmp_path / "run", 2, module=Fails), log=log)
    assert status != 0
    found = read_history(tmp_path / "run" / "history.jsonl").epochs
    assert found[0].epoch == 0
    assert {"train", "val"} == set(found[0].stages)
    assert not any("val" in r.stages for r in found[1:])


def test_a_thousand_ranks_of_ten_thousand_classes():
    """Through a double: each rank counts its own batches, one after the other, and the double adds up what they send."""
    ranks, classes, per_rank = 1_024, 10_000, 8
    total, sent, metrics = None, 0, None
    for rank in range(ranks):
        generator = torch.Generator().manual_seed(rank)
        metrics = StageMetrics()
        metrics.update(torch.rand(per_rank, classes, generator=generator), torch.arange(per_rank) * 100 + rank % 100)
        vector = metrics.packed()
        sent = max(sent, vector.numel() * vector.element_size())
        total = vector if total is None else total + vector
    held = sum(state.numel() * state.element_size() for state in (metrics.counts, metrics.sums))
    metrics.reduce(lambda _: total)
    assert metrics.collectives == 1
    assert metrics.result().n == ranks * per_rank
    assert int(metrics.result().support.sum()) == ranks * per_rank
    assert sent < 250_000
    assert held < 250_000


class Spoiled(Toy):
    """Its best weights are those of the first epochs."""

    def on_train_epoch_start(self):
        if self.current_epoch == 3:
            torch.nn.init.zeros_(self.head.weight)
            self.lr = self.trainer.optimizers[0].param_groups[0]["lr"] = 0.0


class LeaveLast(Callback):
    """Writes the weights of each rank when all hooks of the fit have run."""

    def __init__(self, folder):
        self.folder = folder

    def teardown(self, trainer, pl_module, stage):
        torch.save(pl_module.state_dict(), self.folder / f"last{trainer.global_rank}.pt")


def restoring(folder):
    stopper = lightning_diag.AdaptiveEarlyStop("val/loss", restore_best=True, dry_run=True, dirpath=folder)
    return [stopper, LeaveLast(folder)]


@pytest.mark.parametrize("fault", ["the disk of rank 1 is another", "the disk of rank 0 is gone", "our part on rank 1"])
def test_the_best_weights_are_put_back_on_all_ranks_or_on_none(tmp_path, monkeypatch, fault):
    rank = int("rank 1" in fault)
    decide = StoppingPart.interval_closed

    class NoDisk:
        """In the place of torch where the best weights are read."""

        def __getattr__(self, name):
            if name == "load" and torch.distributed.get_rank() == rank:
                raise FileNotFoundError("no such file on this machine")
            return getattr(torch, name)

    def fails(self, run):
        if torch.distributed.get_rank() == rank and run.epoch == 1:
            raise ZeroDivisionError("injected")
        decide(self, run)

    if "disk" in fault:
        monkeypatch.setattr(best_weights, "torch", NoDisk())
    else:
        monkeypatch.setattr(StoppingPart, "interval_closed", fails)
    found = record(tmp_path / "run", 2, module=Spoiled, epochs=5, callbacks=restoring)
    monkeypatch.undo()
    told = "could not be read" if rank == 0 else "put back"
    assert any(told in note for note in found.context.notes), found.context.notes
    first, second = (torch.load(tmp_path / "run" / f"last{n}.pt") for n in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert bool(first["head.weight"].abs().sum()) is (rank == 1)


def grouping(folder):
    """The writer of a sample follows from its first feature, so that each process meets the groups in another order."""
    return [
        lightning_diag.GapMonitor(dirpath=folder, groups=lambda batch: [f"w{int(3 + x[0]) // 2}" for x in batch[0]])
    ]


def test_groups_are_those_of_one_process(tmp_path):
    one = record(tmp_path / "one", samples=31, callbacks=grouping)
    many = record(tmp_path / "many", 2, samples=31, callbacks=grouping)
    for mine, theirs in zip(many.epochs, one.epochs, strict=True):
        for stage in ("train", "val"):
            expected = {row.group: row.correct for row in theirs.stages[stage].groups}
            assert len(expected) > 1
            assert {row.group: row.correct for row in mine.stages[stage].groups} == expected
