"""Scenarios of the pretraining benchmark that change the weights or their names on the way: wrappers, other layouts, rounding."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.fusion import fuse_conv_bn_weights

from benchmarks.pretraining_cases import IN, Case, Stage2, State, casted, prefixed, saved, scenario
from benchmarks.pretraining_networks import Network

NOT_OUT = IN | {"cannot tell"}
"""Right where the weights are in, but in a form in which that cannot always be shown."""


def both(
    name: str,
    *,
    state: Callable[[State], State] = lambda state: state,
    file: Callable[[State], object] = lambda state: state,
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
    loaded: set[str] | None = None,
) -> None:
    """Two scenarios: the weights are in, in this form; and the same with another network's weights in the module.

    Args:
        name: of the form.
        state: what the module is loaded with. file: what the file holds.
        wrap: what is done to the module after loading.
        loaded: right verdicts where the weights are in.
    """

    def make(net: Network, folder: Path, *, inside: bool) -> Case:
        model = Stage2(net.fresh())
        # as they would be had nothing been loaded: constant norm layers, other draws
        given = net.source.state_dict() if inside else model.encoder.state_dict()
        model.encoder.load_state_dict(dict(state(given)))
        model.encoder = wrap(model.encoder)
        truth = (loaded or {"loaded"}) if inside else {"not loaded", "cannot tell"}
        return Case(model, saved(file(net.source.state_dict()), folder), truth, "in" if inside else "out")

    scenario(f"loaded, {name}")(lambda net, folder: make(net, folder, inside=True))
    scenario(f"never loaded, {name}")(lambda net, folder: make(net, folder, inside=False))


class Adapted(nn.Module):
    """A linear layer inside a low-rank adapter, named as peft names it."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = layer
        self.lora_A = nn.ModuleDict({"default": nn.Linear(layer.in_features, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, layer.out_features, bias=False)})
        nn.init.zeros_(self.lora_B["default"].weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))


class Wrapped(nn.Module):
    """``inner`` under a name that a wrapper gives it."""

    def __init__(self, inner: nn.Module, *path: str) -> None:
        super().__init__()
        for part in path[1:]:
            inner = Wrapped(inner, part)
        self.add_module(path[0], inner)

    def forward(self, *args: Tensor) -> Tensor:
        return next(self.children())(*args)


def with_adapters(module: nn.Module) -> nn.Module:
    """As ``peft.get_peft_model`` leaves it."""
    for owner in list(module.modules()):
        for name, part in list(owner.named_children()):
            if type(part) is nn.Linear and not isinstance(owner, nn.MultiheadAttention | Adapted):
                setattr(owner, name, Adapted(part))
    return Wrapped(module, "base_model", "model")


def with_spectral_norm(module: nn.Module) -> nn.Module:
    for part in list(module.modules()):
        if type(part) in (nn.Linear, nn.Conv2d, nn.Conv3d):
            parametrizations.spectral_norm(part)
    return module


def pruned(module: nn.Module, *, removed: bool) -> nn.Module:
    """Half of the values of every kernel masked."""
    for part in list(module.modules()):
        if type(part) in (nn.Linear, nn.Conv2d, nn.Conv3d):
            prune.l1_unstructured(part, "weight", 0.5)
            if removed:
                prune.remove(part, "weight")
    return module


def assigned(module: nn.Module) -> nn.Module:
    module.load_state_dict({n: t.clone() for n, t in module.state_dict().items()}, assign=True)
    return module


def matrices(state: State) -> Iterator[tuple[str, Tensor]]:
    return ((n, t) for n, t in state.items() if t.dim() > 1 and t.is_floating_point())


def int8(state: State) -> State:
    """Rounded to 255 steps per row and back."""
    found = dict(state)
    for name, tensor in matrices(state):
        scale = tensor.flatten(1).abs().amax(1).clamp(min=1e-8).reshape(-1, *[1] * (tensor.dim() - 1)) / 127
        found[name] = (tensor / scale).round() * scale
    return found


def float8(state: State) -> State:
    return casted(casted(state, torch.float8_e4m3fn), torch.float32)


def split(state: State) -> State:
    """Stacked matrices (query, key and value; the gates of a recurrent layer) in thirds, under names of their own."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.dim() == 2 and len(tensor) % 3 == 0 and len(tensor) >= 24:
            owner, _, leaf = name.rpartition(".")
            parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
            found |= {f"{owner}.{part}.{leaf}": piece.clone() for part, piece in parts}
        else:
            found[name] = tensor
    return found


def fused(state: State) -> State:
    """Up to three matrices of one shape in a row stacked into one, as fused kernels want them."""
    found: dict[str, Tensor] = {}
    key = lambda pair: (tuple(pair[1].shape), pair[1].dim())  # noqa: E731  (named for groupby)
    ordered = sorted(state.items(), key=lambda pair: pair[1].dim() < 2)  # biases lie between the matrices
    for (_, dim), run in itertools.groupby(ordered, key):
        members = list(run)
        for i in range(0, len(members), 3):
            name = members[i][0]
            group = [t for _, t in members[i : i + 3]]
            if dim == 2 and len(group) > 1:
                found[name.rpartition(".")[0] + ".fused.weight"] = torch.cat(group)
            else:
                found |= dict(members[i : i + 3])
    return found


def kernels(state: State) -> State:
    """As TensorFlow and JAX store them: kernels with the outputs last, norm layers with gamma and beta."""
    norms = {n.removesuffix("weight") for n, t in state.items() if n.endswith("weight") and t.dim() == 1}
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        owner, _, leaf = name.rpartition(".")
        if leaf == "weight" and tensor.dim() > 1:
            order = (*range(2, tensor.dim()), 1, 0)
            found[f"{owner}.kernel"] = tensor.permute(order).contiguous()
        elif f"{owner}." in norms and leaf in ("weight", "bias"):
            found[f"{owner}.{'gamma' if leaf == 'weight' else 'beta'}"] = tensor
        else:
            found[name] = tensor
    return found


def reordered(state: State) -> State:
    """The rows of every matrix in another order, as rotary heads are after a conversion."""
    order = torch.Generator().manual_seed(4)
    return {n: t[torch.randperm(len(t), generator=order)] if t.dim() > 1 else t for n, t in state.items()}


def flat(state: State) -> State:
    """Convolutions as matrices, matrices as 1 x 1 convolutions."""
    return {n: t.flatten(1) if t.dim() > 2 else t[..., None] if t.dim() == 2 else t for n, t in state.items()}


both("rows in another order", state=reordered)
both("kernels in another shape", file=flat)
both("compiled", wrap=lambda module: Wrapped(module, "_orig_mod"))
both("inside low-rank adapters", wrap=with_adapters)
both("under spectral norm", wrap=with_spectral_norm)
both("assigned", wrap=assigned)
both("rounded to int8", state=int8, loaded={"loaded, since trained or rounded", "loaded"})
both("rounded to float8", state=float8, loaded={"loaded, since trained or rounded", "loaded"})
both("pruned by a mask", wrap=lambda module: pruned(module, removed=False))
both(
    "pruned for good",
    wrap=lambda module: pruned(module, removed=True),
    loaded={"loaded", "partly loaded", "cannot tell"},
)
both("stacked matrices split in the file", file=split)
both("matrices stacked in the file", file=fused)
both("kernels in the layout of TensorFlow", file=kernels)
both("file is a list of networks", file=lambda state: {"networks": [prefixed(state, "net."), {"w": torch.zeros(3)}]})


def deeper(state: State) -> State:
    """A file with twice as many numbered layers; the module has the first half."""
    found = dict(state)
    for name, tensor in state.items():
        parts = name.split(".")
        number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
        if number is not None and tensor.is_floating_point():
            parts[number] = str(int(parts[number]) + 100)
            found[".".join(parts)] = tensor.flip(0).clone()
    return found


class Two(nn.Module):
    """Two copies of a network that share nothing."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.left, self.right = first, second


def two(module: nn.Module) -> nn.Module:
    return Two(module, copy.deepcopy(module))


def one_channel(module: nn.Module) -> nn.Module:
    """The first convolution takes one channel: its kernel summed over the three."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d) and part.in_channels == 3:
            part.weight = nn.Parameter(part.weight.detach().sum(1, keepdim=True))
            break
    return module


def longer(module: nn.Module) -> nn.Module:
    """Positions for a larger image, interpolated."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            if name == "pos":
                grid = F.interpolate(parameter.detach().transpose(1, 2), size=26, mode="linear").transpose(1, 2)
                setattr(part, name, nn.Parameter(grid))
    return module


def folded(module: nn.Module) -> nn.Module:
    """Batch norms folded into the convolutions before them."""
    module = copy.deepcopy(module).eval()
    for part in list(module.modules()):
        children = list(part.named_children())
        for (_, conv), (name, norm) in itertools.pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                weight, bias = fuse_conv_bn_weights(
                    conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
                )
                conv.weight, conv.bias = weight, bias
                setattr(part, name, nn.Identity())
    return module


both("file has twice the depth", file=deeper)
both("two copies of the network", wrap=two)
both("first convolution of one channel", wrap=one_channel)
both("positions interpolated", wrap=longer)
both("batch norms folded", wrap=folded)
