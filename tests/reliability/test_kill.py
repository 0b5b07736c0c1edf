"""``kill -9`` at any moment: no file is half-written, no finished epoch is lost, the record gives a report."""

import json
import os
import random
import signal
import time

import pytest
import torch
from toys import fit

from lightning_diag import all_callbacks
from lightning_diag.engine import diagnose
from lightning_diag.output import write_report
from lightning_diag.store import read_history

pytestmark = pytest.mark.reliability

RUNS = 50


def train_forever(folder, done):
    """In a child: 200 short epochs; after each, its number is written before the next one starts."""
    from lightning.pytorch import Callback

    class Count(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            os.pwrite(done, f"{trainer.current_epoch:6d}".encode(), 0)

    torch.set_num_threads(1)
    fit(folder, [*all_callbacks(dirpath=folder), Count()], epochs=200)
    os._exit(0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fifty_runs_killed_at_random_moments(tmp_path):
    fit(tmp_path / "warm", all_callbacks(), epochs=1)  # everything is imported before the forks
    clock = random.Random(0)
    lost = []
    for number in range(RUNS):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = os.open(folder / "finished", os.O_RDWR | os.O_CREAT)
        child = os.fork()
        if child == 0:
            try:
                train_forever(folder, done)
            finally:
                os._exit(1)
        time.sleep(clock.uniform(0.1, 1.5))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        text = os.pread(done, 6, 0).decode().strip()
        os.close(done)
        finished = int(text) if text else 0
        if not (folder / "history.jsonl").exists():
            assert finished == 0
            continue
        history = read_history(folder / "history.jsonl")
        lost.append(max(0, finished - len(history.epochs)))
        if history.epochs:
            write_report(folder, history, diagnose(history))
            json.loads((folder / "diagnosis.json").read_text())
        assert not [p for p in folder.iterdir() if p.name.startswith(".diagnosis") and p.suffix == ".md"]
    assert len(lost) >= RUNS // 2
    assert sum(lost) == 0
