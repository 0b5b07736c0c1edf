"""However a run ends: the record and the report are there, ``lightning-diag diagnose`` reads them, and resuming goes on."""

import json
import os
import signal
import time

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from processes import in_own_process
from toys import StatefulLoader, Toy, loader, trainer

from lightning_diag import all_callbacks
from lightning_diag.cli import main
from lightning_diag.store import read_history

pytestmark = pytest.mark.reliability


class Ends(Toy):
    """Does something in the third step of the second epoch."""

    act = None

    def training_step(self, batch, batch_idx):
        if self.act is not None and self.current_epoch == 1 and batch_idx == 2:
            self.act()
        return super().training_step(batch, batch_idx)


def raises(error):
    def act():
        raise error

    return act


def sigterm():
    os.kill(os.getpid(), signal.SIGTERM)


def sigint():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)  # interrupted by the signal


ENDINGS = {
    "an exception": (raises(ZeroDivisionError("the user's own")), "exception", "ZeroDivisionError"),
    "Ctrl-C": (sigint, "interrupted", "Ctrl-C"),
    "no memory": (raises(MemoryError()), "exception", "MemoryError"),
    "no GPU memory": (
        raises(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")),
        "exception",
        "CUDA",
    ),
    "no GPU memory in older torch": (raises(RuntimeError("CUDA out of memory.")), "exception", "out of memory"),
    "SIGTERM": (sigterm, "exception", "SIGTERM"),
    "sys.exit": (raises(SystemExit(3)), "exception", "SystemExit"),
    "os._exit": (lambda: os._exit(9), "running", ""),
}


def fit(folder, act, resume=None):
    torch.manual_seed(0)
    keep = ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=1, filename="last", enable_version_counter=False)
    run = trainer(folder, [*all_callbacks(dirpath=folder), keep], epochs=3, enable_checkpointing=True)
    module = Ends()
    module.act = act
    run.fit(module, StatefulLoader(), loader(31, 2), ckpt_path=resume)


@pytest.mark.parametrize("ending", ENDINGS)
def test_however_a_run_ends_its_record_is_read_and_resuming_goes_on(tmp_path, capsys, ending):
    act, status, word = ENDINGS[ending]
    folder, log = tmp_path / "run", tmp_path / "log"
    code = in_own_process(lambda: fit(folder, act), log=log)
    assert code != 0, log.read_text()
    history = read_history(folder / "history.jsonl")
    assert [r.epoch for r in history.epochs] == [0]
    assert history.context.stop.status == status
    assert word in history.context.stop.reason
    assert main(["diagnose", str(folder)]) == 0
    assert word in (folder / "diagnosis.md").read_text()
    assert json.loads((folder / "diagnosis.json").read_text())["epochs"]
    code = in_own_process(lambda: fit(tmp_path / "rest", None, folder / "last.ckpt"), log=log)
    assert code == 0, log.read_text()
    rest = read_history(tmp_path / "rest" / "history.jsonl")
    assert [(r.epoch, r.stages["train"].n, r.stages["val"].n) for r in rest.epochs] == [(e, 60, 31) for e in range(3)]
    assert rest.context.stop.status == "finished"
    assert rest.context.notes == ()
