"""Load scenarios of the pretraining benchmark: what a case is, and how one is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.pretraining_networks import Network, batch

State = Mapping[str, Tensor]
IN = {"loaded", "loaded, since trained or rounded", "checkpoint untrained", "resumed"}
OUT = {"not loaded", "cannot tell"}

PREFIXES = (
    "module.",
    "model.",
    "encoder.",
    "_orig_mod.",
    "net.",
    "backbone.",
    "model.encoder.",
    "module._orig_mod.",
    "student.backbone.",
)
HOOKS = (
    "setup",
    "configure_model",
    "configure_optimizers",
    "on_fit_start",
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
)


class Stage2(pl.LightningModule):
    """What a user fine-tunes: the encoder, and a part of its own."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, nn.Linear(6, 6)

    def training_step(self, pair, index):
        return F.cross_entropy(self.encoder(pair[0]), pair[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


@dataclass
class Case:
    """One scenario on one network.

    Attributes:
        model: with whatever its loading code left in it. truth: verdicts that are right.
        kind: ``in``, ``out`` or ``partly``: what is really in the model. want: the state that a working fix must leave.
        hook, act: something the module does in one of its own hooks; then a real Trainer runs.
    """

    model: Stage2
    path: Path
    truth: set[str]
    kind: str
    want: State | None = None
    settings: dict[str, Any] = field(default_factory=lambda: {"module": "encoder"})
    hook: str | None = None
    act: Callable[[Any], None] | None = None
    resume: bool = False


Maker = Callable[[Network, Path], Case]
SCENARIOS: dict[str, Maker] = {}


def scenario(name: str) -> Callable[[Maker], Maker]:
    def register(maker: Maker) -> Maker:
        SCENARIOS[name] = maker
        return maker

    return register


def saved(tree: Any, folder: Path, name: str = "stage1.pt", **settings: Any) -> Path:
    torch.save(tree, folder / name, **settings)
    return folder / name


def prefixed(state: State, prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def good(
    net: Network, tree: Any, folder: Path, state: State | None = None, truth: set[str] | None = None, **more: Any
) -> Case:
    """The weights are in; the file holds ``tree``."""
    model = Stage2(net.fresh())
    model.encoder.load_state_dict(dict(state or net.source.state_dict()))
    path = tree if isinstance(tree, Path) else saved(tree, folder)
    return Case(model, path, truth or {"loaded"}, "in", **more)


def bad(net: Network, tree: Any, folder: Path, act: Callable[[Stage2], Any] = lambda model: None, **more: Any) -> Case:
    """The weights are not in, whatever ``act`` tried."""
    model = Stage2(net.fresh())
    act(model)
    path = tree if isinstance(tree, Path) else saved(tree, folder)
    return Case(model, path, more.pop("truth", {"not loaded"}), "out", want=net.source.state_dict(), **more)


def casted(state: State, dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def without(state: State, part: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith(part + ".")}


def loader() -> DataLoader:
    return DataLoader(TensorDataset(*batch(3, 4)), batch_size=4)
