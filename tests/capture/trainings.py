"""Twelve kinds of training whose outcome must not depend on being observed."""

import random
import warnings

import numpy as np
import pytorch_lightning
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import GradientAccumulationScheduler, StochasticWeightAveraging
from lightning.pytorch.loggers.logger import DummyLogger
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset

N, FEATURES, CLASSES = 24, 8, 4


class Noisy(Dataset):
    """A data set that augments with random numbers of the worker."""

    def __init__(self):
        g = torch.Generator().manual_seed(3)
        self.x, self.y = torch.randn(N, FEATURES, generator=g), torch.randint(CLASSES, (N,), generator=g)

    def __len__(self):
        return N

    def __getitem__(self, i):
        return self.x[i] + 0.1 * torch.randn(FEATURES), self.y[i]


def plain_step(self, batch, batch_idx):
    x, y = batch
    logits = self(x)
    loss = F.cross_entropy(logits, y)
    self.log("loss", loss, on_epoch=True)
    self.log("acc", (logits.argmax(1) == y).float().mean())
    return loss


class Module(LightningModule):
    def __init__(self, dropout=0.0):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x):
        return self.head(self.net(x))

    training_step = plain_step

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Manual(Module):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = plain_step(self, batch, batch_idx)
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


class Averaged(Module):
    """Keeps an exponential average of its weights."""

    def __init__(self):
        super().__init__()
        self.ema = torch.optim.swa_utils.AveragedModel(self.head)

    def on_before_zero_grad(self, optimizer):
        self.ema.update_parameters(self.head)


class Checkpointed(Module):
    def forward(self, x):
        return self.head(checkpoint(self.net, x, use_reentrant=False))


class OwnLoss(Module):
    """No loss call that can be seen: the search with taps on every part runs."""

    def training_step(self, batch, batch_idx):
        return -self(batch[0]).log_softmax(1).gather(1, batch[1][:, None]).mean()

    def validation_step(self, batch, batch_idx):
        self.log("acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())


class Closure(Module):
    """LBFGS runs the step several times for one batch."""

    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), max_iter=3)


class Mixup(Module):
    def training_step(self, batch, batch_idx):
        x, y = batch
        order, share = torch.randperm(len(x)), random.betavariate(1, 1)
        logits = self(share * x + (1 - share) * x[order])
        return share * F.cross_entropy(logits, y) + (1 - share) * F.cross_entropy(logits, y[order])


class PytorchLightning(pytorch_lightning.LightningModule):
    """The same under the other import name."""

    __init__ = Module.__init__
    forward, training_step = Module.forward, Module.training_step
    validation_step, configure_optimizers = Module.validation_step, Module.configure_optimizers


def _init(self):
    pytorch_lightning.LightningModule.__init__(self)
    self.net = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Dropout(0.1))
    self.head = nn.Linear(16, CLASSES)


PytorchLightning.__init__ = _init


class Silent(Module):
    """Logs nothing: Lightning's ``log`` cannot be traced by every version of torch."""

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])


def compiled():
    from lightning.pytorch.utilities.compile import from_compiled

    return from_compiled(torch.compile(Silent(), backend="eager"))


def compiled_net():
    module = Module()
    module.net = torch.compile(module.net, backend="eager")
    return module


KINDS = {
    "dropout": (lambda: Module(0.5), {}),
    "accumulation": (Module, {"accumulate_grad_batches": 2}),
    "scheduled accumulation": (Module, {"callbacks": lambda: [GradientAccumulationScheduler({1: 2})]}),
    "clipping": (Module, {"gradient_clip_val": 0.1}),
    "bf16": (Module, {"precision": "bf16-mixed"}),
    "compiled module": (compiled, {}),
    "compiled net": (compiled_net, {}),
    "manual optimisation": (Manual, {}),
    "moving average": (Averaged, {}),
    "stochastic weight averaging": (Module, {"callbacks": lambda: [StochasticWeightAveraging(0.01, 1)]}),
    "checkpointing": (Checkpointed, {}),
    "own loss": (OwnLoss, {}),
    "closure": (Closure, {}),
    "mixup": (Mixup, {}),
    "pytorch_lightning": (PytorchLightning, {}),
}


class Values(DummyLogger):
    """Keeps what was logged."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))


def train(kind, callbacks, workers=0):
    """One fit; everything that must be equal."""
    make, options = KINDS[kind]
    seed_everything(7)
    module, values = make(), Values()
    package = pytorch_lightning.Trainer if isinstance(module, pytorch_lightning.LightningModule) else Trainer
    extra = options.get("callbacks", list)()
    options = {key: value for key, value in options.items() if key != "callbacks"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = package(
            max_epochs=2,
            logger=values if package is Trainer else False,
            callbacks=[*extra, *callbacks],
            accelerator="cpu",
            log_every_n_steps=1,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
        loader = DataLoader(Noisy(), batch_size=8, shuffle=True, num_workers=workers)
        trainer.fit(module, loader, DataLoader(Noisy(), batch_size=8))
    return {
        "weights": {name: t.clone() for name, t in module.state_dict().items()},
        "optimizers": [o.state_dict() for o in trainer.optimizers],
        "random": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1]),  # noqa: NPY002 the global state that users use
        "logged": values.rows,
        "attributes": sorted(vars(module)),
    }
