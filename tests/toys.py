"""Small trainings for the tests: real enough to learn, over in a fraction of a second."""

import logging
import math

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

CLASSES = 3


class Toy(LightningModule):
    """A linear classifier as anybody would write it."""

    def __init__(self, features=4, classes=CLASSES, lr=0.1, dropout=0.0):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Linear(features, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(8, classes)
        self.lr = lr

    def forward(self, x):
        return self.head(self.encoder(x))

    def training_step(self, batch, batch_idx):
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


def blobs(n=60, seed=0, classes=CLASSES, features=4):
    """Gaussian blobs, one per class."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    centres = 2 * torch.eye(classes, features)
    return centres[y] + torch.randn(n, features, generator=generator), y


def loader(n=60, seed=0, batch_size=10, shuffle=False, **kwargs):
    """A loader of blobs."""
    order = torch.Generator().manual_seed(seed) if shuffle else None
    return DataLoader(TensorDataset(*blobs(n, seed, **kwargs)), batch_size, shuffle=shuffle, generator=order)


def trainer(root, callbacks=(), epochs=2, cls=Trainer, **kwargs):
    """A quiet Trainer."""
    settings = {
        "max_epochs": epochs,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": str(root),
        "callbacks": list(callbacks),
    }
    return cls(**(settings | kwargs))


def fit(root, callbacks=(), module=None, epochs=2, train=None, val=None, seed=0, ckpt_path=None, **kwargs):
    """Fit a toy; returns the Trainer."""
    torch.manual_seed(seed)
    module = module or Toy()
    run = trainer(root, callbacks, epochs, **kwargs)
    more = {"ckpt_path": ckpt_path} if ckpt_path else {}
    run.fit(module, train or loader(60, 1, shuffle=True), val or loader(31, 2), **more)
    return run


class StatefulLoader:
    """Shuffles each epoch anew and remembers where it was, as a loader that can be resumed in mid-epoch does."""

    def __init__(self, n=60, seed=1, batch_size=10):
        self.dataset, self.batch_size, self.seed = TensorDataset(*blobs(n, seed)), batch_size, seed
        self.epoch = self.position = 0
        self.sampler = self  # where Lightning looks for set_epoch

    def __len__(self):
        return math.ceil(len(self.dataset) / self.batch_size)

    def __iter__(self):
        order = torch.randperm(len(self.dataset), generator=torch.Generator().manual_seed(self.seed + self.epoch))
        for batch in order.split(self.batch_size)[self.position :]:
            self.position = (self.position + 1) % len(self)
            yield self.dataset[batch]

    def set_epoch(self, epoch):
        self.epoch = epoch

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]
