"""What every style shares: data, registry, and the true pair as the style recomputes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

CLASSES, FEATURES, BATCH, STEPS = 5, 8, 6, 4
REGISTRY: dict[str, "Style"] = {}


@dataclass(frozen=True)
class Style:
    """One way to write a module.

    Attributes:
        name: of the style.
        module: the LightningModule class.
        batch: makes a batch from a generator and the stage.
        pair: (module, batch, stage) -> the true predictions and targets, in the shapes of an observation.
        task: expected in both stages, or (train, val).
        source: start of the expected source, for both stages or (train, val).
        loaders: validation loaders.
        proof: training steps that pass before a pair is proven.
    """

    name: str
    module: Callable[[], LightningModule]
    batch: Callable[[torch.Generator, str], Any]
    pair: Callable[[Any, Any, str], tuple[Tensor, Tensor]]
    task: str | tuple[str, str] = "multiclass"
    source: str | tuple[str, str] = "loss call"
    loaders: int = 1
    proof: int = 0

    def expected(self, stage: str) -> tuple[str, str]:
        index = 0 if stage == "train" else 1
        one = [value if isinstance(value, str) else value[index] for value in (self.task, self.source)]
        return one[0], one[1]

    def loader(self, stage: str, seed: int = 0) -> DataLoader:
        generator = torch.Generator().manual_seed(seed + (stage != "train"))
        return DataLoader([self.batch(generator, stage) for _ in range(STEPS)], batch_size=None)

    def val_loaders(self) -> Any:
        found = [self.loader("val", 10 * i) for i in range(self.loaders)]
        return found[0] if len(found) == 1 else found


def style(**options: Any) -> Callable[[type], type]:
    """Register a module class under its own name."""

    def register(cls: type) -> type:
        defaults = {"batch": xy, "pair": lambda m, b, s: (m.net(b[0]), b[1])}
        REGISTRY[cls.__name__] = Style(**{**defaults, "name": cls.__name__, "module": cls, **options})
        return cls

    return register


class Base(LightningModule):
    """A linear net with an optimiser; the styles add their steps."""

    def __init__(self, outputs: int = CLASSES):
        super().__init__()
        self.net = nn.Linear(FEATURES, outputs)

    def forward(self, x):
        return self.net(x)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Both(Base):
    """The same step in both stages."""

    def step(self, batch):
        raise NotImplementedError

    def training_step(self, batch, batch_idx):
        return self.step(batch)

    def validation_step(self, batch, batch_idx):
        return self.step(batch)


def floats(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*(shape or (BATCH, FEATURES)), generator=g)


def classes(g: torch.Generator, *shape: int, high: int = CLASSES) -> Tensor:
    return torch.randint(high, shape or (BATCH,), generator=g)


def xy(g: torch.Generator, stage: str) -> tuple[Tensor, Tensor]:
    return floats(g), classes(g)


def xy_dict(g: torch.Generator, stage: str) -> dict[str, Tensor]:
    return {"image": floats(g), "label": classes(g)}


def x_yesno(*shape: int) -> Callable[..., Any]:
    def make(g: torch.Generator, stage: str) -> tuple[Tensor, Tensor]:
        return floats(g), classes(g, *shape, high=2).float()

    return make
