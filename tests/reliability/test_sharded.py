"""Sharded models: FSDP2 on two gloo processes for real, DeepSpeed through a double (it was not run)."""

import os

import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy, SingleDeviceStrategy
from processes import in_own_process
from toys import Toy, loader, trainer

from lightning_diag import all_callbacks, diagnosis_of
from lightning_diag.store import read_history

pytestmark = pytest.mark.reliability


class Sharded(Toy):
    def configure_model(self):
        from torch.distributed.fsdp import fully_shard

        mesh = self.device_mesh["data_parallel"]
        fully_shard(self.encoder[0], mesh=mesh)
        fully_shard(self, mesh=mesh)


def as_torchrun(rank, processes):
    """The environment that ``torchrun`` gives to a process; ``MASTER_PORT`` is there already."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "GROUP_RANK": 0}
    names |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test"}
    os.environ.update({name: str(value) for name, value in names.items()})


def sharded(folder, data_parallel):
    child = os.fork()
    as_torchrun(int(child == 0), 2)
    status = 1
    try:
        strategy = ModelParallelStrategy(data_parallel, 2 // data_parallel, process_group_backend="gloo")
        run = trainer(folder, all_callbacks(dirpath=folder), strategy=strategy, devices=2)
        run.fit(Sharded(), loader(60, 1, batch_size=5), loader(31, 2, batch_size=5))
        status = 0
    finally:
        if child == 0:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("data_parallel", [2, 1])
def test_fsdp2_on_two_processes(tmp_path, data_parallel):
    """Processes that only share the model (tensor parallel) see the same batches: these count once."""
    status = in_own_process(sharded, tmp_path, data_parallel, log=tmp_path / "log")
    assert status == 0, (tmp_path / "log").read_text()[-3000:]
    history = read_history(tmp_path / "history.jsonl")
    assert history.context.notes == ()
    assert history.context.strategy == "ModelParallelStrategy"
    counted = [(r.stages["train"].n, r.stages["val"].n, r.stages["val"].padded) for r in history.epochs]
    assert counted == [(60, 31, data_parallel - 1)] * 2
    assert (tmp_path / "diagnosis.md").exists()


class DeepSpeedStrategy(SingleDeviceStrategy):
    """What is known of DeepSpeed's ZeRO-3 from outside: its name, and parameters that are empty between the steps."""


class Partitioned(Toy):
    def on_fit_start(self):
        self.whole = {}
        self.partition()

    def partition(self):
        for name, parameter in self.named_parameters():
            self.whole[name], parameter.data = parameter.data, torch.empty(0)

    def gather(self):
        for name, parameter in self.named_parameters():
            parameter.data = self.whole[name]

    def training_step(self, batch, batch_idx):
        self.gather()
        return super().training_step(batch, batch_idx)

    def on_before_zero_grad(self, optimizer):
        for parameter in self.parameters():
            parameter.grad = None

    def on_train_batch_end(self, *_):
        self.partition()

    def validation_step(self, batch, batch_idx):
        self.gather()
        super().validation_step(batch, batch_idx)
        self.partition()


def test_deepspeed_through_a_double(tmp_path):
    run = trainer(tmp_path, all_callbacks(), strategy=DeepSpeedStrategy(device=torch.device("cpu")))
    run.fit(Partitioned(), loader(shuffle=True), loader(31, 2))
    history = diagnosis_of(run).history
    assert history.context.notes == ()
    assert [(r.stages["train"].n, r.stages["val"].n) for r in history.epochs] == [(60, 31)] * 2
    assert not any(name.startswith("probe/") for name in history.signals())  # its forward would be collective
    assert not [
        f for f in diagnosis_of(run).findings if f.code.startswith(("LD1", "LD5"))
    ]  # nothing about empty weights
