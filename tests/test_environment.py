"""``LIGHTNING_DIAG=1``: what a user's script sees who changes nothing in it."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import lightning.pytorch
import pytest
import pytorch_lightning
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from toys import trainer

from lightning_diag import AdaptiveEarlyStop, GapMonitor
from lightning_diag.callbacks.factory import callbacks_from_environment
from lightning_diag.callbacks.observer import Observer

ROOT = Path(__file__).parents[1]
NAMES = {"GapMonitor", "ClassCollapseDetector", "CTCBlankMonitor", "PretrainLoadVerifier", "AdaptiveEarlyStop"}
SCRIPT = """
import sys
import torch
from {package} import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

class Model(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

data = DataLoader(TensorDataset(torch.randn(40, 2), torch.arange(40) % 2), 8)
trainer = Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
trainer.fit(Model(), data, data)
print("loaded:", *sorted(name for name in sys.modules if name.startswith("lightning_diag")))
"""


def run_script(folder, package, **variables):
    (folder / "train.py").write_text(SCRIPT.format(package=package))
    bare = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTNING_DIAG")}
    env = {**bare, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_a_script_without_an_edit_leaves_a_report(tmp_path, package):
    (tmp_path / "pyproject.toml").write_text('[tool.lightning_diag]\ntarget = 0.5\nclass-names = ["hen", "owl"]\n')
    run_script(tmp_path, package, LIGHTNING_DIAG="1", LIGHTNING_DIAG_TARGET="0.93")
    report = (tmp_path / "diagnosis.md").read_text()
    assert "93 %" in report  # the variable wins over the file
    assert "owl" in report


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_off_by_default_and_nothing_is_loaded(tmp_path, package):
    loaded = run_script(tmp_path, package)
    assert not (tmp_path / "diagnosis.md").exists()
    assert loaded.split("loaded:")[1].split() == [
        "lightning_diag",
        "lightning_diag.callbacks",
        "lightning_diag.callbacks.factory",
    ]


def test_both_packages_find_the_factory():
    for group in ("lightning.pytorch.callbacks_factory", "pytorch_lightning.callbacks_factory"):
        assert [entry.value for entry in entry_points(group=group)].count(
            "lightning_diag.callbacks.factory:callbacks_from_environment"
        ) == 1


@pytest.mark.parametrize("value", ["0", "", "false", "No", "off"])
def test_words_for_off(monkeypatch, value):
    monkeypatch.setenv("LIGHTNING_DIAG", value)
    assert callbacks_from_environment() == []


@pytest.mark.parametrize("package", [lightning.pytorch, pytorch_lightning])
def test_monitors_of_the_script_win(tmp_path, monkeypatch, package):
    monkeypatch.setenv("LIGHTNING_DIAG", "1")
    monkeypatch.chdir(tmp_path)
    own = [GapMonitor(target=0.7), AdaptiveEarlyStop(dry_run=True)]
    run = trainer(tmp_path, own, cls=package.Trainer)
    monitors = [callback for callback in run.callbacks if type(callback).__name__ in NAMES]
    assert len(monitors) == 7
    for callback in monitors:
        callback.setup(run, None, "fit")
    members = Observer.find(run).members
    assert {type(member).__name__ for member in members} == NAMES
    assert all(any(member is mine for member in members) for mine in own)


def test_an_option_that_does_not_exist_is_told_before_training(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTNING_DIAG", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIGHTNING_DIAG_TARGT", "0.8")
    with pytest.raises(MisconfigurationException, match=r"'targt' is not an option .* LIGHTNING_DIAG_TARGT .* target"):
        callbacks_from_environment()
    monkeypatch.delenv("LIGHTNING_DIAG_TARGT")
    (tmp_path / "pyproject.toml").write_text("[tool.lightning_diag\n")
    with pytest.raises(MisconfigurationException, match=r"pyproject.toml cannot be read"):
        callbacks_from_environment()
