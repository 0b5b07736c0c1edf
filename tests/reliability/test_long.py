"""10,000 epochs of 1,000 classes, and 2,000 that keep all their rows: file, memory, time to diagnose and report stay small."""

import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightning_diag.engine import diagnose
from lightning_diag.history import ClassRow, Confusion, Count, EpochRecord, Paired, RunContext, StageRecord
from lightning_diag.report import render_markdown
from lightning_diag.store import history_to_lines
from lightning_diag.store.writing import append_context
from lightning_diag.thinning import CLASS_ROWS
from tests.seeds import NINE

pytestmark = pytest.mark.reliability

EPOCHS, FULL, CLASSES, VARIANTS = 10_000, 2_000, 1_000, 64
NAMES = ("acc", "balanced_acc", "macro_f1", "confidence", "entropy", "ece")


def stages(rng, share):
    """Both stages of one epoch, with counts as they come: different in each class."""
    made = {}
    for stage, support in (("train", 1_200), ("val", 50)):
        hits = rng.binomial(support, np.clip(share + 0.05 * rng.standard_normal(CLASSES), 0, 1))
        predicted = hits + rng.poisson(support - hits)
        rows = zip(hits.tolist(), predicted.tolist(), strict=True)
        n, k = support * CLASSES, int(hits.sum())
        made[stage] = StageRecord(
            n=n,
            correct=Count(k=k, n=n),
            classes=tuple(ClassRow(index=i, support=support, predicted=p, correct=h) for i, (h, p) in enumerate(rows)),
            confusions=tuple(Confusion(target=i, predicted=i + 1, count=30 - i) for i in range(20)),
            paired=Paired(reference_epoch=0, both=k - 100, gained=120, lost=100, neither=n - k - 120),
        )
    return made


def values(rng, progress):
    """Fifty scalars; their names are those of a real run."""
    fall = math.exp(-8 * progress)
    noise = iter(rng.standard_normal(64).tolist())
    found = {"lr": 0.1 * (1 - progress), "time/epoch": 60.0}
    for stage in ("train", "val"):
        found |= {f"{stage}/loss": 6.9 * fall + 0.9 + 0.02 * next(noise)}
        found |= {f"{stage}/{name}": 0.75 * (1 - fall) + 0.01 * abs(next(noise)) for name in NAMES}
    found |= {f"update/ratio/layer{i}": 0.01 + 0.001 * abs(next(noise)) for i in range(12)}
    more = (
        "grad/norm",
        "grad/norm_max",
        "grad/cosine",
        "update/ratio",
        "param/norm",
        "probe/train_loss",
        "batch/purity",
    )
    found |= {name: 1.0 + 0.1 * next(noise) for name in (*more, "loss/step_min", "loss/step_max", "relu/dead_share")}
    return found | {f"logged/{name}": 1.0 + 0.1 * next(noise) for name in ("val_loss", "val_acc", "train_loss")}


@pytest.fixture(scope="module")
def variants():
    """The counts of 64 epochs, as a line holds them."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(VARIANTS):
        record = EpochRecord(epoch=0, stages=stages(rng, 0.75 * number / VARIANTS))
        line = json.loads(history_to_lines(type("H", (), {"context": RunContext(), "epochs": (record,)})())[-1])
        made.append(json.dumps(line["stages"]))
    return made


def written(folder, epochs, variants):
    """A run folder; epochs share the counts of 64 stages, all else is their own."""
    rng = np.random.default_rng(0)
    append_context(folder / "history.jsonl", RunContext(task="multiclass", classes=CLASSES))
    with (folder / "history.jsonl").open("a") as file:
        for epoch in range(epochs):
            scalars = values(rng, epoch / epochs)
            head = {"type": "epoch", "version": 1, "epoch": epoch, "step": 1_000 * epoch, "values": scalars}
            counts = variants[min(VARIANTS - 1, int(VARIANTS * (1 - math.exp(-8 * epoch / epochs))))]
            file.write(json.dumps(head)[:-1] + f', "stages": {counts}}}\n')
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, variants):
    """Five times as many rows as are kept."""
    return written(tmp_path_factory.mktemp("run"), EPOCHS, variants)


@pytest.fixture(scope="module")
def full(tmp_path_factory, variants):
    """As many rows as are kept: two million class-epochs."""
    return written(tmp_path_factory.mktemp("full"), FULL, variants)


def measured(code, *args):
    """(CPU seconds, peak memory in MB beyond the imports) of ``code``.

    The peak is ``VmHWM``: that of ``getrusage`` begins, in a process that was just started, with its parent's.
    """
    script = f"""
import sys, time
import pydantic, pydantic_core
from lightning_diag.store import read_history
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024
before = peak()
{code}
print(time.process_time(), peak() - before, file=sys.stderr)
"""
    command = [sys.executable, "-c", script, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    return tuple(map(float, done.stderr.split()[-2:]))


def kept(folder, epochs):
    """(epochs that keep their rows, peak memory in MB) of the record."""
    code = f"""
history = read_history(sys.argv[1])
assert len(history.epochs) == {epochs}
with open(sys.argv[2], "w") as file:
    file.write(str(sum(bool(record.stages["val"].classes) for record in history.epochs)))
"""
    _, megabytes = measured(code, folder / "history.jsonl", folder / "kept.txt")
    return int((folder / "kept.txt").read_text()), megabytes


def test_the_record_on_disk_and_in_memory(run):
    assert (run / "history.jsonl").stat().st_size < 400e6
    epochs, megabytes = kept(run, EPOCHS)
    assert 1_250 <= epochs <= 1_252  # every eighth, the best and the last
    assert megabytes < 200


def test_a_record_at_the_limit_keeps_every_row(full):
    epochs, megabytes = kept(full, FULL)
    assert epochs == FULL
    assert 2 * FULL * CLASSES == CLASS_ROWS
    assert megabytes < 200


@pytest.mark.parametrize(("folder", "thinned"), [("run", True), ("full", False)])
def test_the_time_to_diagnose_and_the_report(request, folder, thinned):
    folder = request.getfixturevalue(folder)
    seconds, _ = measured("from lightning_diag.cli import main\nmain(['diagnose', sys.argv[1]])", folder)
    assert seconds < 8  # under 5 on a quiet core; a core that others share makes up to twice of that
    report = (folder / "diagnosis.md").read_text()
    assert len(report) < 300_000
    assert (folder / "diagnosis.json").stat().st_size < 300_000 * 1.5
    assert ("per-class rows are kept for 1,25" in report) == thinned


def long_run(make):
    """The curve of a short run drawn out over all epochs, with the counts and classes of its evaluations."""
    short = make()
    each = EPOCHS // len(short.epochs)
    noise = iter(np.random.default_rng(0).standard_normal(60 * EPOCHS).tolist())
    epochs = [
        replace(
            record,
            epoch=each * at + i,
            values={name: value * (1 + 0.01 * next(noise)) for name, value in record.values.items()},
        )
        for at, record in enumerate(short.epochs)
        for i in range(each)
    ]
    return replace(short, epochs=tuple(epochs))


@pytest.mark.parametrize("curve", NINE)
def test_no_judgement_takes_longer_than_the_run_is_long(curve):
    """Whatever is found in it: a rule that compares each epoch with each needs a minute and gigabytes here."""
    history = long_run(NINE[curve])
    start = time.process_time()
    diagnosis = diagnose(history)
    assert len(render_markdown(history, diagnosis)) < 300_000
    assert diagnosis.crashed == ()
    assert time.process_time() - start < 8
