"""A live module as the other side of a comparison: its parameters, shards included, and what training does with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_diag.checkpoints.best import Target
from lightning_diag.checkpoints.names import is_statistic
from lightning_diag.checkpoints.nested import Candidate
from lightning_diag.errors import ConfigError


def target_of(root: nn.Module, path: str | None) -> Target:
    """The module at a dotted path as a comparison target; None takes the whole root and lets names find the part.

    Raises:
        ConfigError: the root has no such module.
    """
    module = submodule(root, path)
    return Target(
        state={name: local(parameter) for name, parameter in parameters(module).items()},
        names={name: tuple(tensor.shape) for name, tensor in {**parameters(root), **_persistent_buffers(root)}.items()},
        module=path or "",
        lightning_module=not path and hasattr(root, "training_step"),
    )


def submodule(root: nn.Module, path: str | None) -> nn.Module:
    """The module at a dotted path.

    Raises:
        ConfigError: there is none; the message names those that are.
    """
    try:
        return root.get_submodule(path or "")
    except AttributeError:
        there = ", ".join(name for name, _ in root.named_children()) or "none"
        raise ConfigError(
            f"module={path!r}: {type(root).__name__} has no such module (its parts are: {there})."
        ) from None


def parameters(module: nn.Module) -> dict[str, Tensor]:
    """All parameters by name, tied ones under each of their names; lazy ones only when they have a shape."""
    named = module.named_parameters(remove_duplicate=False)
    return {name: p.detach() for name, p in named if not nn.parameter.is_lazy(p)}


def _persistent_buffers(module: nn.Module) -> dict[str, Tensor]:
    buffers: dict[str, Tensor] = {}
    for path, part in module.named_modules():
        left_out = part._non_persistent_buffers_set  # noqa: SLF001  (there is no public way to ask)
        for name, buffer in part.named_buffers(recurse=False):
            if name not in left_out and not nn.parameter.is_lazy(buffer):
                buffers[f"{path}.{name}" if path else name] = buffer.detach()
    return buffers


def statistics_of(module: nn.Module) -> dict[str, Tensor]:
    """Running statistics, and the buffers that the code computes, by name."""
    return {name: buffer for name, buffer in _persistent_buffers(module).items() if is_statistic(name)}


def obstacle(root: nn.Module) -> str | None:
    """Why the parameters of this process cannot be compared; None when they can."""
    # the mark is on the parameters: the only wrapper may be around the root, out of sight from here
    if any(getattr(parameter, "_fsdp_flattened", False) for parameter in root.parameters()):
        return (
            "the parameters are flattened by FSDP version 1; use fully_shard (FSDP 2), or compare the saved file with "
            "`lightning-diag verify`"
        )
    if any(hasattr(parameter, "ds_id") for parameter in root.parameters()):
        return "the parameters are partitioned by DeepSpeed ZeRO 3; compare the saved file with `lightning-diag verify`"
    if any(parameter.device.type == "meta" for parameter in root.parameters()):
        return "the parameters are on the meta device and hold no values yet"
    return None


def local(tensor: Tensor) -> Tensor:
    """The shard of a DTensor that this rank holds; other tensors as they are."""
    to_local = getattr(tensor, "to_local", None)
    return to_local() if to_local is not None else tensor


def localise(candidates: Sequence[Candidate], root: nn.Module) -> list[Candidate]:
    """Cut the checkpoint's tensors like the shards that this rank holds, without any communication.

    A tensor is cut where a DTensor of its global shape exists; sharding follows from shape, mesh and placement, which
    one network shares.
    """
    cuts = _cuts(root)
    if not cuts:
        return list(candidates)
    return [replace(c, state={n: _cut(t, cuts) for n, t in c.state.items()}) for c in candidates]


def _cuts(root: nn.Module) -> dict[tuple[int, ...], tuple[slice, ...]]:
    cuts: dict[tuple[int, ...], tuple[slice, ...]] = {}
    for parameter in root.parameters():
        if hasattr(parameter, "device_mesh"):
            cuts.setdefault(tuple(parameter.shape), _region(parameter))
    return cuts


def _region(parameter: Any) -> tuple[slice, ...]:
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset  # no public equivalent

    shape, offset = compute_local_shape_and_global_offset(parameter.shape, parameter.device_mesh, parameter.placements)
    return tuple(slice(o, o + n) for o, n in zip(offset, shape, strict=True))


def _cut(tensor: Tensor, cuts: Mapping[tuple[int, ...], tuple[slice, ...]]) -> Tensor:
    region = cuts.get(tuple(tensor.shape))
    return tensor[region] if region is not None else tensor


def frozen_share(module: nn.Module) -> float | None:
    """Share of the parameters that do not require a gradient; None without parameters."""
    return _share(_shaped(module), lambda p: not p.requires_grad)


def outside_share(module: nn.Module, optimizers: Iterable[torch.optim.Optimizer]) -> float | None:
    """Share of the trainable parameters that no optimizer updates; None without trainable parameters or optimizers."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    held = {id(parameter) for group in groups for parameter in group["params"]}
    trainable = [p for p in _shaped(module) if p.requires_grad]
    return _share(trainable, lambda p: id(p) not in held) if groups else None


def _shaped(module: nn.Module) -> list[Tensor]:
    return [p for p in module.parameters() if not nn.parameter.is_lazy(p)]


def _share(parameters: Sequence[Tensor], chosen: Callable[[Tensor], bool]) -> float | None:
    total = sum(p.numel() for p in parameters)
    return sum(p.numel() for p in parameters if chosen(p)) / total if total else None
