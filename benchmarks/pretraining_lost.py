"""Scenarios of the pretraining benchmark in which the weights, or half of them, are not in the module."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.pretraining_cases import (
    HOOKS,
    PREFIXES,
    Case,
    Stage2,
    State,
    bad,
    casted,
    prefixed,
    saved,
    scenario,
)
from benchmarks.pretraining_networks import Network

# ---- the weights are not in --------------------------------------------------------------------------------------

for _prefix in PREFIXES:

    @scenario(f"strict=False, prefix {_prefix}")
    def _(net, folder, prefix=_prefix):
        tree = prefixed(net.source.state_dict(), prefix)
        return bad(net, {"state_dict": tree}, folder, lambda model: model.encoder.load_state_dict(tree, strict=False))


def outer(net, folder):
    tree = {"encoder_state_dict": net.source.state_dict(), "epoch": 3}
    return bad(net, tree, folder, lambda model: model.encoder.load_state_dict(tree, strict=False))


def kaiming(module: nn.Module) -> None:
    """What init_weights functions do: matrices drawn again, everything else constant."""
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1:
            nn.init.kaiming_normal_(parameter)
        else:
            nn.init.constant_(parameter, float("norm" in name or "bn" in name))


scenario("outer dict passed")(outer)
scenario("loaded into a copy")(
    lambda net, folder: bad(
        net,
        net.source.state_dict(),
        folder,
        lambda model: copy.deepcopy(model).encoder.load_state_dict(net.source.state_dict()),
    )
)
scenario("never loaded")(lambda net, folder: bad(net, net.source.state_dict(), folder))
scenario("never loaded, module not named")(
    lambda net, folder: bad(net, {"state_dict": prefixed(net.source.state_dict(), "net.")}, folder, settings={})
)
scenario("never loaded, keys renamed")(
    lambda net, folder: bad(net, {f"tensor_{i:03}": t for i, t in enumerate(net.source.state_dict().values())}, folder)
)
scenario("another run's weights")(
    lambda net, folder: bad(
        net, net.source.state_dict(), folder, lambda model: model.encoder.load_state_dict(net.other.state_dict())
    )
)
scenario("same seed in both stages")(
    lambda net, folder: bad(
        net, net.source.state_dict(), folder, lambda model: model.encoder.load_state_dict(net.init.state_dict())
    )
)
scenario("same seed, fp16 file")(
    lambda net, folder: bad(
        net,
        casted(net.source.state_dict(), torch.float16),
        folder,
        lambda model: model.encoder.load_state_dict(net.init.state_dict()),
    )
)


@scenario("encoder built anew after loading")
def _(net, folder):
    def act(model):
        model.encoder.load_state_dict(net.source.state_dict())
        model.encoder = net.fresh()

    return bad(net, net.source.state_dict(), folder, act)


@scenario("init_weights after loading")
def _(net, folder):
    def act(model):
        model.encoder.load_state_dict(net.source.state_dict())
        with torch.random.fork_rng(), torch.no_grad():
            kaiming(model.encoder)

    return bad(net, net.source.state_dict(), folder, act)


@scenario("running statistics only")
def _(net, folder):
    parameters = dict(net.source.named_parameters(remove_duplicate=False))
    buffers = {name: t for name, t in net.source.state_dict().items() if name not in parameters}
    return bad(net, net.source.state_dict(), folder, lambda model: model.encoder.load_state_dict(buffers, strict=False))


@scenario("another width, shapes skipped")
def _(net, folder):
    cut = {
        n: t[tuple(slice(0, (s + 1) // 2) if s > 4 else slice(None) for s in t.shape)].clone()
        for n, t in net.source.state_dict().items()
    }

    def act(model):
        own = model.encoder.state_dict()
        model.encoder.load_state_dict({n: t for n, t in cut.items() if t.shape == own[n].shape}, strict=False)

    case = bad(net, cut, folder, act)
    case.want = None
    return case


@scenario("another network's file")
def _(net, folder):
    other = nn.Sequential(nn.Linear(37, 29), nn.LayerNorm(29), nn.Linear(29, 41), nn.ReLU(), nn.Linear(41, 3))
    case = bad(net, other.state_dict(), folder, truth={"cannot tell", "not loaded"})
    case.want = None
    return case


@scenario("error swallowed, training from scratch")
def _(net, folder):
    def act(model):
        with contextlib.suppress(RuntimeError):
            model.encoder.load_state_dict(prefixed(net.source.state_dict(), "x."))

    return bad(net, prefixed(net.source.state_dict(), "x."), folder, act)


for _hook in (*HOOKS, "training_step"):

    @scenario(f"lost in {_hook}")
    def _(net, folder, hook=_hook):
        state = net.source.state_dict()
        case = Case(Stage2(net.fresh()), saved(state, folder), {"not loaded"}, "out", want=state)
        case.model.encoder.load_state_dict(state)
        fresh = net.fresh().state_dict()
        case.hook, case.act = hook, lambda model: model.encoder.load_state_dict(fresh)
        return case


# ---- half of them -------------------------------------------------------------------------------------------------


def share_of(net: Network, names: set[str]) -> float:
    """Share of the weights (elements of non-constant parameters) with these names: what is really in."""
    weights = {n: p.numel() for n, p in net.source.named_parameters() if p.numel() > 1}
    return sum(k for n, k in weights.items() if n in names) / sum(weights.values())


def partial(net: Network, folder: Path, names: set[str], tree: Any = None, want: State | None = None) -> Case:
    state = net.source.state_dict()
    model = Stage2(net.fresh())
    model.encoder.load_state_dict({n: t for n, t in state.items() if n in names}, strict=False)
    share = share_of(net, names)
    kind = "partly" if 0.05 <= share < 0.95 else "in" if share >= 0.95 else "out"
    truth = {"partly": {"partly loaded"}, "in": {"loaded"}, "out": {"not loaded"}}[kind]
    return Case(model, saved(state if tree is None else tree, folder), truth, kind, want=want)


@scenario("first half of the keys")
def _(net, folder):
    names = list(net.source.state_dict())
    return partial(net, folder, set(names[: len(names) // 2]), want=net.source.state_dict())


@scenario("second half of the keys")
def _(net, folder):
    names = list(net.source.state_dict())
    return partial(net, folder, set(names[len(names) // 2 :]), want=net.source.state_dict())


@scenario("every second tensor")
def _(net, folder):
    return partial(net, folder, set(list(net.source.state_dict())[::2]), want=net.source.state_dict())


@scenario("head only")
def _(net, folder):
    names = {n for n in net.source.state_dict() if n.startswith(net.head + ".")}
    return partial(net, folder, names, want=net.source.state_dict())


@scenario("half of the keys, renamed file")
def _(net, folder):
    names = list(net.source.state_dict())
    tree = {f"tensor_{i:03}": t for i, t in enumerate(net.source.state_dict().values())}
    return partial(net, folder, set(names[: len(names) // 2]), tree, want=net.source.state_dict())


@scenario("file with a gap")
def _(net, folder):
    names = list(net.source.state_dict())
    gap = set(names[len(names) // 4 : len(names) // 2])
    tree = {n: t for n, t in net.source.state_dict().items() if n not in gap}
    return partial(net, folder, set(tree), tree)
