"""``kill -9`` at any moment: no file is half-written, no finished epoch is lost, the record gives a report."""

import json
import os
import random
import signal
import time

import pytest
from processes import PATIENCE, one_thread
from toys import fit

from lightning_diag import all_callbacks
from lightning_diag.engine import diagnose
from lightning_diag.output import write_report
from lightning_diag.store import read_history

pytestmark = pytest.mark.reliability

RUNS = 50
EPOCHS = 200


def train_forever(folder, done):
    """In a child: short epochs; after each, its number is written before the next one starts."""
    from lightning.pytorch import Callback

    class Count(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            os.pwrite(done, f"{trainer.current_epoch:6d}".encode(), 0)

    one_thread()
    fit(folder, [*all_callbacks(dirpath=folder), Count()], epochs=EPOCHS)
    os._exit(0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fifty_runs_killed_at_random_moments(tmp_path):
    fit(tmp_path / "warm", all_callbacks(), epochs=1)  # everything is imported before the forks
    clock = random.Random(0)
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
        wait_for(done, epochs=number % 25)  # then at any moment of the epoch, or of the next one
        time.sleep(clock.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        finished = finished_epochs(done)
        os.close(done)
        history = read_history(folder / "history.jsonl")
        assert len(history.epochs) >= finished >= number % 25
        if history.epochs:
            write_report(folder, history, diagnose(history))
            json.loads((folder / "diagnosis.json").read_text())
        assert not [p for p in folder.iterdir() if p.name.startswith(".diagnosis") and p.suffix == ".md"]


def finished_epochs(done):
    """Epochs that were over for good; -1 before the first one has begun."""
    return int(os.pread(done, 6, 0).decode().strip() or -1)


def wait_for(done, epochs):
    limit = time.monotonic() + PATIENCE
    while finished_epochs(done) < epochs:
        assert time.monotonic() < limit
        time.sleep(0.001)
