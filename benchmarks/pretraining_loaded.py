"""Scenarios of the pretraining benchmark in which the weights are in the module."""

from __future__ import annotations

import json
import warnings

import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from torch import nn

from benchmarks.pretraining_cases import (
    HOOKS,
    Case,
    Stage2,
    bad,
    casted,
    good,
    prefixed,
    saved,
    scenario,
    without,
)

# ---- the weights are in ------------------------------------------------------------------------------------------

scenario("loaded")(lambda net, folder: good(net, net.source.state_dict(), folder))
scenario("loaded, module not named")(lambda net, folder: good(net, net.source.state_dict(), folder, settings={}))
scenario("loaded from a nested dict")(
    lambda net, folder: good(
        net,
        {
            "encoder_state_dict": net.source.state_dict(),
            "optimizer": torch.optim.SGD(net.source.parameters()).state_dict(),
        },
        folder,
    )
)
scenario("loaded from a Lightning file")(
    lambda net, folder: good(
        net,
        {
            "epoch": 3,
            "state_dict": prefixed(net.source.state_dict(), "model.encoder."),
            "callbacks": {"c": {"score": torch.tensor(0.5)}},
        },
        folder,
    )
)
scenario("loaded, DDP and compile names")(
    lambda net, folder: good(net, prefixed(net.source.state_dict(), "module._orig_mod."), folder)
)
scenario("loaded, keys renamed")(
    lambda net, folder: good(net, {f"tensor_{i:03}": t for i, t in enumerate(net.source.state_dict().values())}, folder)
)
scenario("loaded, blocks renamed")(
    lambda net, folder: good(
        net,
        {
            ".".join(f"b{len(p)}{p[-1]}" if i == 0 else p for i, p in enumerate(n.split("."))): t
            for n, t in net.source.state_dict().items()
        },
        folder,
    )
)
scenario("loaded, fp16 file")(
    lambda net, folder: good(
        net, casted(net.source.state_dict(), torch.float16), folder, casted(net.source.state_dict(), torch.float16)
    )
)
scenario("loaded, bf16 round trip")(
    lambda net, folder: good(
        net, net.source.state_dict(), folder, casted(casted(net.source.state_dict(), torch.bfloat16), torch.float32)
    )
)
scenario("loaded, EMA of a file with both")(
    lambda net, folder: good(
        net, {"state_dict": net.source.state_dict(), "ema": net.ema.state_dict()}, folder, net.ema.state_dict()
    )
)
scenario("loaded, raw of a file with both")(
    lambda net, folder: good(net, {"state_dict": net.source.state_dict(), "ema": net.ema.state_dict()}, folder)
)
scenario("loaded, student beside a teacher")(
    lambda net, folder: good(
        net, {**prefixed(net.other.state_dict(), "teacher."), **prefixed(net.source.state_dict(), "student.")}, folder
    )
)
scenario("loaded, legacy file")(
    lambda net, folder: good(net, saved(net.source.state_dict(), folder, _use_new_zipfile_serialization=False), folder)
)


@scenario("loaded, model in bf16")
def _(net, folder):
    case = good(net, net.source.state_dict(), folder)
    case.model.bfloat16()
    return case


@scenario("loaded, noise of 1e-6")
def _(net, folder):
    case = good(net, net.source.state_dict(), folder, truth={"loaded, since trained or rounded"})
    with torch.no_grad():
        for parameter in case.model.parameters():
            parameter.add_(1e-6 * torch.randn_like(parameter))
    return case


@scenario("loaded, safetensors")
def _(net, folder):
    state = {name: tensor.contiguous().clone() for name, tensor in net.source.state_dict().items()}
    safetensors.torch.save_file(state, folder / "a.safetensors")
    return good(net, folder / "a.safetensors", folder)


@scenario("loaded, sharded index")
def _(net, folder):
    state = {name: tensor.contiguous().clone() for name, tensor in net.source.state_dict().items()}
    names = list(state)
    half = len(names) // 2
    shards = {"model-1.safetensors": names[:half], "model-2.safetensors": names[half:]}
    for file, part in shards.items():
        safetensors.torch.save_file({name: state[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in shards.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return good(net, folder, folder)


@scenario("loaded, distributed folder")
def _(net, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": net.source.state_dict()}, checkpoint_id=folder / "dcp", no_dist=True)
    return good(net, folder / "dcp", folder)


@scenario("loaded, head with other classes")
def _(net, folder):
    model = Stage2(net.fresh(classes=7))
    model.encoder.load_state_dict(without(net.source.state_dict(), net.head), strict=False)
    return Case(model, saved(net.source.state_dict(), folder), {"loaded"}, "in")


@scenario("loaded, file without head")
def _(net, folder):
    model = Stage2(net.fresh())
    kept = without(net.source.state_dict(), net.head)
    model.encoder.load_state_dict(kept, strict=False)
    return Case(model, saved(kept, folder), {"loaded"}, "in")


@scenario("loaded, the file itself is untrained")
def _(net, folder):
    truth = {"checkpoint untrained"} if net.has_norm else {"loaded"}
    return good(net, net.init.state_dict(), folder, net.init.state_dict(), truth=truth)


@scenario("loaded, model wrapped by DataParallel")
def _(net, folder):
    case = good(net, net.source.state_dict(), folder)
    case.model.encoder = nn.DataParallel(case.model.encoder)
    return case


@scenario("loaded, channels last and frozen")
def _(net, folder):
    case = good(net, net.source.state_dict(), folder)
    if net.name != "3D convolution":  # channels last is for images
        case.model.to(memory_format=torch.channels_last)
    case.model.encoder.requires_grad_(False)
    return case


@scenario("resumed")
def _(net, folder):
    case = bad(net, net.source.state_dict(), folder, truth={"resumed"}, resume=True)
    case.kind, case.want = "in", None
    return case


for _hook in HOOKS:

    @scenario(f"loaded in {_hook}")
    def _(net, folder, hook=_hook):
        state = net.source.state_dict()
        case = Case(Stage2(net.fresh()), saved(state, folder), {"loaded"}, "in")
        case.hook, case.act = hook, lambda model: model.encoder.load_state_dict(state)
        return case
