"""The one line of code that would load a checkpoint, tried on tensors without memory before it is shown."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_diag.checkpoints.comparison import Comparison, Row, Status
from lightning_diag.checkpoints.names import ADAPTED, ADAPTERS, WRAPPERS, parent
from lightning_diag.checkpoints.nested import Candidate
from lightning_diag.checkpoints.sides import Side

ENOUGH = 0.95
"""Share of the fitting weights that the line must fill, else it is not shown (the share that counts as *loaded*)."""

_FEW = 0.5
"""Share of names that fit below which their order is trusted more."""

_NORMS = (("weight_g", "parametrizations.weight.original0"), ("weight_v", "parametrizations.weight.original1"))


@dataclass(frozen=True, kw_only=True)
class Situation:
    """All that a line of code depends on.

    Attributes:
        path: of the file, or of the folder or index that its reader takes; format: as in ``CheckpointFile``.
        candidate: the state dict that fits best; comparison: of it with the module.
        checkpoint, model: both sides (for the original names).
        names: shapes of all parameters and persistent buffers of the root module by full name; root: dotted path from
            the variable ``model`` to the module that the comparison's names start at.
    """

    path: str
    format: str
    candidate: Candidate
    comparison: Comparison
    checkpoint: Side
    model: Side
    names: Mapping[str, tuple[int, ...]]
    root: str = ""


def suggest_fix(situation: Situation) -> str | None:
    """A line that fills at least :data:`ENOUGH` of the weights of ``model`` whose shape allows it, or None when none does.

    The line is evaluated, as it stands, on a copy of the module's names and shapes on the meta device. Where the checkpoint
    lacks some names, it is enough to fill those that it has; where it lacks most, tensors go by order and shape. There is no
    line where most weights have another shape, or where all that it could load is in.
    """
    found = situation.comparison
    named = sum(row.numel for row in found.having("equal", "different") if not (row.reshaped or row.by_content))
    fitting = found.expected - sum(row.numel for row in found.rows if row.status == "shape" or row.reshaped)
    if 2 * fitting < found.expected or not found.having("different", "missing", "new"):
        return None
    by_name = [(line, _fills(line, situation)) for line in _by_name(situation)]
    by_order = _by_order(situation)
    choices = [line for line, filled in by_name if filled >= ENOUGH * fitting]
    if not choices and found.aligned < _FEW and _fills(by_order, situation) >= ENOUGH * fitting:
        choices = [by_order]
    if found.having("different"):
        choices += [line for line, filled in by_name if filled >= max(ENOUGH * named, 0.5 * found.expected)]
    return choices[0] if choices else None


def _by_name(situation: Situation) -> Iterable[str]:
    groups = _groups(situation)
    source = _source(situation)
    for strict in ("", ", strict=False") if groups else ():
        yield "; ".join(_line(group, source, situation, strict) for group in groups)


def _by_order(situation: Situation) -> str:
    target = _access(situation.root)
    pairs = f"zip({target}.state_dict().items(), {_source(situation)}.values()) if old.shape == v.shape"
    return f"{target}.load_state_dict({{k: v for (k, old), v in {pairs}}}, strict=False)"


@dataclass(frozen=True)
class _Group:
    """Weights that one call can load: all under one module, all with one prefix in the checkpoint."""

    target: str
    prefix: str
    rows: tuple[Row, ...]


def _groups(situation: Situation) -> list[_Group]:
    groups = []
    for theirs, ours in situation.comparison.alignment.prefixes[:4]:
        rows = tuple(row for row in _named(situation) if _belongs(row, theirs, ours, situation))
        if rows:
            target = _real_prefix(
                [situation.model.original[row.name] for row in rows], [row.name for row in rows], ours
            )
            sources = [str(row.source) for row in rows]
            prefix = _real_prefix([situation.checkpoint.original[s] for s in sources], sources, theirs)
            groups.append(_Group(target, prefix, rows))
    return groups


def _named(situation: Situation) -> tuple[Row, ...]:
    return situation.comparison.having("equal", "different", "uninformative")


def _belongs(row: Row, theirs: str, ours: str, situation: Situation) -> bool:
    if row.by_content or situation.comparison.alignment.pairs.get(row.name) != row.source:
        return False
    rest = row.name[len(ours) + 1 :] if ours else row.name
    return row.name.startswith(ours) and row.source == (f"{theirs}.{rest}" if theirs else rest)


def _real_prefix(originals: Sequence[str], canonical: Sequence[str], prefix: str) -> str:
    """The prefix with its wrappers (``encoder._orig_mod.``), when all names have it; else with the wrappers dropped."""
    skip = len(prefix) + 1 if prefix else 0
    found = {o[: len(o) - len(c) + skip] for o, c in zip(originals, canonical, strict=True) if o.endswith(c[skip:])}
    return found.pop() if len(found) == 1 else (prefix + "." if prefix else "")


def _source(situation: Situation) -> str:
    label = situation.candidate.label
    if situation.candidate.joined or situation.format in {"sharded", "distributed"}:
        key = ".".join(map(str, situation.candidate.path))
        return f"lightning_diag.checkpoints.read_state_dict({situation.path!r}, key={key!r})"
    if situation.format == "safetensors":
        return f"safetensors.torch.load_file({situation.path!r})"
    return f'torch.load({situation.path!r}, map_location="cpu", weights_only=True){label}'


def _access(path: str) -> str:
    parts = path.split(".") if path else []
    if all(part.isidentifier() for part in parts):
        return ".".join(("model", *parts))
    return f"model.get_submodule({path!r})"


def _line(group: _Group, source: str, situation: Situation, strict: str) -> str:
    path = ".".join(part for part in (situation.root, group.target.rstrip(".")) if part)
    key, kept = _key(group, situation), _condition(group, situation)
    if key == "k" and not kept:
        return f"{_access(path)}.load_state_dict({source}{strict})"
    return f"{_access(path)}.load_state_dict({{{key}: v for k, v in {source}.items(){kept}}}{strict})"


def _key(group: _Group, situation: Situation) -> str:
    key = f"k.removeprefix({group.prefix!r})" if group.prefix else "k"
    theirs = [situation.checkpoint.original[str(row.source)].removeprefix(group.prefix) for row in group.rows]
    ours = [situation.model.original[row.name].removeprefix(group.target) for row in group.rows]
    for wrapper in sorted(WRAPPERS):
        if _has_token(theirs, wrapper) and not _has_token(ours, wrapper):
            key += f".replace({wrapper + '.'!r}, '')"
    there, here = _adapted(theirs), _adapted(ours)
    for layer, between in sorted(here if not there else ()):
        key += f".replace({layer + '.'!r}, {f'{layer}.{between}.'!r})"
    for layer, between in sorted(there if not here else ()):
        key += f".replace({f'{layer}.{between}.'!r}, {layer + '.'!r})"
    for old, new in (*_NORMS, *((new, old) for old, new in _NORMS)):
        if any(name.endswith(old) for name in theirs) and any(name.endswith(new) for name in ours):
            key += f".replace({old!r}, {new!r})"
    return key


def _adapted(names: Iterable[str]) -> set[tuple[str, str]]:
    """``("q_proj", "base_layer")``, ``("lora_A", "default")``: what adapters put between a layer and its weight."""
    pairs = {pair for name in names for pair in itertools.pairwise(name.split(".")[:-1])}
    return {(a, b) for a, b in pairs if b in ADAPTED or a in ADAPTERS}


def _has_token(names: Iterable[str], token: str) -> bool:
    return any(token in name.split(".") for name in names)


def _condition(group: _Group, situation: Situation) -> str:
    """Leave out what is not under the prefix, and the tensors that would not fit."""
    names = situation.checkpoint.original
    misshapen = [r for r in situation.comparison.rows if r.status in ("head", "shape") or r.reshaped]
    unfit = [names[str(row.source)] for row in misshapen if row.source in names]
    fit = [names[str(row.source)] for row in group.rows]
    starts = tuple(dict.fromkeys(_exclusion(name, fit) for name in unfit if name.startswith(group.prefix)))
    conditions = []
    if group.prefix and not all(name.startswith(group.prefix) for name in situation.candidate.state):
        conditions.append(f"k.startswith({group.prefix!r})")
    if starts:
        conditions.append(f"not k.startswith({(starts[0] if len(starts) == 1 else starts)!r})")
    return " if " + " and ".join(conditions) if conditions else ""


def _exclusion(name: str, fit: Sequence[str]) -> str:
    """The whole layer (``head.``), or the tensor alone where the layer holds others that fit."""
    owner = parent(name) + "."
    return name if owner == "." or any(other.startswith(owner) for other in fit) else owner


def _fills(line: str, situation: Situation) -> int:
    """Expected elements that the line loads into a copy of the module without memory; 0 when it raises."""
    loaded: set[str] = set()
    try:
        stand_ins = _stand_ins(_shell(situation.names, loaded), situation)
        for call in line.split("; "):
            # The text was built above from fixed parts and repr() of names, and sees nothing but stand-ins.
            eval(call, {"__builtins__": {"zip": zip}}, stand_ins)  # noqa: S307  (a line that we wrote)
    except Exception:  # noqa: BLE001  (a line that does not work is not shown)
        return 0
    path = situation.root + "." if situation.root else ""
    statuses: tuple[Status, ...] = ("equal", "different", "shape", "missing")
    if not situation.comparison.alignment.prefixes:  # no name fits, so nothing says what is new
        statuses = (*statuses, "new")
    wanted = [row for row in situation.comparison.having(*statuses) if not row.reshaped]
    return sum(row.numel for row in wanted if path + situation.model.original[row.name] in loaded)


def _stand_ins(shell: nn.Module, situation: Situation) -> dict[str, Any]:
    """``model``, ``torch``, ... as the line sees them: every reader returns the names and shapes of the checkpoint."""
    state = {name: tensor.to("meta") for name, tensor in situation.candidate.state.items()}

    def read(*_args: object, **_kwargs: object) -> dict[str, Tensor]:
        return state

    def load(*_args: object, **_kwargs: object) -> Any:
        tree: Any = state
        for part in reversed(situation.candidate.path):
            tree = {part: tree}
        return tree

    return {
        "model": shell,
        "torch": SimpleNamespace(load=load),
        "safetensors": SimpleNamespace(torch=SimpleNamespace(load_file=read)),
        "lightning_diag": SimpleNamespace(checkpoints=SimpleNamespace(read_state_dict=read)),
    }


class _Shell(nn.Module):
    """A module with names and shapes only, which notes what ``load_state_dict`` fills."""

    def __init__(self, path: str, loaded: set[str]) -> None:
        super().__init__()
        self._path, self._loaded = path, loaded

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        keys = super().load_state_dict(state_dict, strict=strict, assign=assign)
        filled = {name for name, _ in self.named_parameters()} - set(keys.missing_keys)
        self._loaded.update(self._path + name for name in filled)
        return keys


def _shell(names: Mapping[str, tuple[int, ...]], loaded: set[str]) -> nn.Module:
    root = _Shell("", loaded)
    for name, shape in names.items():
        *path, leaf = name.split(".")
        owner: nn.Module = root
        for depth, part in enumerate(path):
            if part not in dict(owner.named_children()):
                owner.add_module(part, _Shell(".".join(path[: depth + 1]) + ".", loaded))
            owner = owner.get_submodule(part)
        owner.register_parameter(leaf, nn.Parameter(torch.empty(shape, device="meta"), requires_grad=False))
    return root
