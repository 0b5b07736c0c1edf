"""No step waits for the device: on the CPU by the operations that would read it, on a GPU by torch's own check."""

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from lightning_diag import all_callbacks

READS = {
    "aten._local_scalar_dense.default",
    "aten.nonzero.default",
    "aten.item.default",
    "aten.masked_select.default",
    "aten.equal.default",
    "aten.is_nonzero.default",
    "aten.unique_dim.default",
    "aten._unique2.default",
}
"""Operations that a GPU cannot do without telling the host something."""
CALIBRATION = 2
"""Steps of a stage that are looked at closely; only they may read a value."""


class Net(LightningModule):
    """A classifier, a tagger or a language model: one loss call per step."""

    def __init__(self, classes, tokens=0):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, classes))
        self.tokens = tokens

    def step(self, batch):
        x, y = batch
        return F.cross_entropy(self.net(x).flatten(0, -2), y.flatten())

    def training_step(self, batch, batch_idx):
        return self.step(batch)

    def validation_step(self, batch, batch_idx):
        return self.step(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def loader(self, batch_size=8):
        shape = (batch_size, self.tokens) if self.tokens else (batch_size,)
        generator = torch.Generator().manual_seed(0)
        classes = self.net[-1].out_features
        batches = [
            (torch.randn(*shape, 8, generator=generator), torch.randint(0, classes, shape, generator=generator))
            for _ in range(12)
        ]
        return DataLoader(batches, batch_size=None)


class Reads(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if str(func) in READS:
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


class Around(Callback):
    """Watches each step from its first hook to its last."""

    def __init__(self, make):
        self.make, self.watch, self.found = make, None, {"train": [], "val": []}

    def _begin(self):
        self.watch = self.make()
        self.watch.__enter__()

    def _end(self, stage, batch_idx):
        self.watch.__exit__(None, None, None)
        if batch_idx >= CALIBRATION:
            self.found[stage] += getattr(self.watch, "seen", [])

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._begin()

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self._begin()


class After(Callback):
    """The last callback of the Trainer ends what :class:`Around` began."""

    def __init__(self, around):
        self.around = around

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.around._end("train", batch_idx)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.around._end("val", batch_idx)


def run(module, make, own, accelerator="cpu", batch_size=8):
    around = Around(make)
    trainer = Trainer(
        max_epochs=2,
        callbacks=[around, *own, After(around)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator=accelerator,
        devices=1,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, module.loader(batch_size), module.loader(batch_size))
    return around.found


@pytest.mark.parametrize("tokens", [0, 6])
def test_steps_read_nothing_that_the_bare_step_does_not_read(tmp_path, tokens):
    bare = run(Net(5, tokens), Reads, [])
    seen = run(Net(5, tokens), Reads, all_callbacks(dirpath=tmp_path))
    assert seen == bare


class Strict:
    """torch raises where an operation waits for the GPU."""

    def __enter__(self):
        torch.cuda.set_sync_debug_mode("error")

    def __exit__(self, *_):
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.cuda
@pytest.mark.parametrize("tokens", [0, 6])
def test_no_step_synchronises_a_gpu(tmp_path, tokens):
    run(Net(5, tokens), Strict, all_callbacks(dirpath=tmp_path), accelerator="gpu")


@pytest.mark.cuda
def test_a_large_vocabulary_costs_no_copy_of_the_logits_on_a_gpu(tmp_path):
    """64 x 512 positions of 50,000 classes are 6.5 GB of logits; a copy of them would show."""

    def peak(own):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        module = Net(50_000, 512)
        run(module, _nothing, own, accelerator="gpu", batch_size=64)
        return torch.cuda.max_memory_allocated()

    logits = 64 * 512 * 50_000 * 4
    assert peak(all_callbacks(dirpath=tmp_path)) - peak([]) < 0.1 * logits


class Kernels:
    """Names of the GPU kernels of a step, in order."""

    def __init__(self):
        self.profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])

    def __enter__(self):
        self.profile.__enter__()

    def __exit__(self, *error):
        self.profile.__exit__(*error)
        events = sorted(self.profile.events(), key=lambda event: event.time_range.start)
        self.seen = [event.name for event in events if event.device_type.name == "CUDA"]


@pytest.mark.cuda
def test_the_kernels_of_the_users_step_are_the_same_on_a_gpu(tmp_path):
    bare = run(Net(5), Kernels, [], accelerator="gpu")["train"]
    seen = iter(run(Net(5), Kernels, all_callbacks(dirpath=tmp_path), accelerator="gpu")["train"])
    assert bare
    assert all(name in seen for name in bare), "the bare step's kernels, in their order, with others between"


class _nothing:  # noqa: N801
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None
