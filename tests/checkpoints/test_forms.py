"""Weights that are in, but in another form than that of the checkpoint; and how often a device is waited for."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_diag.checkpoints import compare
from lightning_diag.checkpoints.best import Target, best_match
from lightning_diag.checkpoints.nested import Candidate
from lightning_diag.checkpoints.verdict import explain, judge
from tests.checkpoints.networks import Encoder, seeded, trained


@pytest.fixture(scope="module")
def state():
    return {name: tensor.clone() for name, tensor in trained(seeded(Encoder)).state_dict().items()}


def fresh():
    return seeded(Encoder, seed=5).state_dict()


def judged(checkpoint, model):
    found = compare(checkpoint, model)
    verdict = judge(found, untrained=False)
    return verdict, explain(verdict, found, "encoder", untrained=False)


def matrices(state):
    return [name for name, tensor in state.items() if tensor.dim() > 1]


def turned(state):
    return {n.replace("weight", "kernel") if t.dim() > 1 else n: t.permute(*range(2, t.dim()), 1, 0) if t.dim() > 1 else t
            for n, t in state.items()}  # fmt: skip


def in_thirds(state):
    found = {}
    for name, tensor in state.items():
        parts = tensor.chunk(2) if tensor.dim() > 1 and len(tensor) % 2 == 0 else [tensor]
        found |= {f"{name}.part{i}" if len(parts) > 1 else name: part.clone() for i, part in enumerate(parts)}
    return found


def pruned(state):
    return {n: torch.where(t.abs() > t.abs().median(), t, 0.0) if t.dim() > 1 else t for n, t in state.items()}


def scaled(state):
    factor = {
        n: torch.linspace(0.2, 3.0, len(t)).reshape(-1, *[1] * (t.dim() - 1)) for n, t in state.items() if t.dim() > 1
    }
    return {n: t * factor[n] if n in factor else t for n, t in state.items()}


def in_float8(state):
    return {n: t.to(torch.float8_e4m3fn).float() if t.dim() > 1 else t for n, t in state.items()}


def in_four_bits(state):
    found = dict(state)
    for name in matrices(state):
        scale = state[name].abs().max() / 15  # a fine step for one tensor: relative error about 0.05
        found[name] = (state[name] / scale).round() * scale
    return found


FORMS = {
    "file turned": (turned, lambda s: s, "loaded", "the other way round"),
    "file in parts": (in_thirds, lambda s: s, "loaded", "stacked on one side"),
    "model in parts": (lambda s: s, in_thirds, "loaded", "stacked on one side"),
    "pruned": (lambda s: s, pruned, "loaded", "or zero"),
    "scaled": (lambda s: s, scaled, "loaded", "factor per output"),
    "float8": (lambda s: s, in_float8, "loaded", "equal the checkpoint"),
    "few bits": (lambda s: s, in_four_bits, "loaded, since trained or rounded", "relative L2"),
}


@pytest.mark.parametrize("form", FORMS)
def test_weights_in_another_form_are_in(state, form):
    file, model, verdict, text = FORMS[form]
    said, why = judged(file(state), model(state))
    assert said == verdict, why
    assert text in why


@pytest.mark.parametrize("form", FORMS)
def test_another_form_proves_nothing_for_a_stranger(state, form):
    file, model, *_ = FORMS[form]
    assert judged(file(state), model(fresh()))[0] in {"not loaded", "cannot tell"}


def test_a_same_seed_is_no_rounded_copy():
    """Near, but its vectors are not those of the checkpoint."""
    before = seeded(Encoder).state_dict()
    after = trained(seeded(Encoder)).state_dict()
    assert judged(after, before)[0] == "not loaded"


def test_values_that_samples_miss_are_told():
    file = {"a.weight": torch.randn(600, 600), "b.weight": torch.randn(30, 30)}
    model = {name: tensor.clone() for name, tensor in file.items()}
    model["a.weight"].view(-1)[20] += 1  # runs of eight, 2,813 apart
    verdict, why = judged(file, model)
    assert verdict == "loaded"
    assert "1 tensor is equal in all sampled values, but not in every value" in why


# ---------------------------------------------------------------- synchronisation


class Remote(torch.Tensor):
    """A tensor that says it is on a GPU; its values are kept on the CPU."""

    @staticmethod
    def __new__(cls, inner):
        # xla: torch asks for no driver before an operator runs
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device="xla:0"
        )

    def __init__(self, inner):
        self.inner = inner

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise AssertionError("only inside Device()")


class Device(TorchDispatchMode):
    """Counts what the host would wait for: copies to it and single values read."""

    WAITING = ("_local_scalar_dense", "equal", "is_nonzero", "nonzero")

    def __init__(self):
        super().__init__()
        self.waits, self.reductions = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        flat = torch.utils._pytree.tree_leaves((args, kwargs))
        remote = any(isinstance(x, Remote) for x in flat)
        target = kwargs.get("device")
        there = torch.device(target).type == "xla" if target is not None else remote
        if target is not None:
            kwargs["device"] = "cpu"
        plain = lambda x: x.inner if isinstance(x, Remote) else x  # noqa: E731
        name = func.overloadpacket.__name__
        if remote and (not there or name in self.WAITING):
            self.waits.append(name)
        self.reductions += remote and name == "any"
        result = func(*torch.utils._pytree.tree_map(plain, args), **torch.utils._pytree.tree_map(plain, kwargs))
        keep = there and name not in self.WAITING
        return torch.utils._pytree.tree_map(lambda x: Remote(x) if keep and isinstance(x, torch.Tensor) else x, result)


@pytest.mark.parametrize(("full", "waits"), [(False, 1), (True, 2)])
def test_a_device_is_waited_for_once_per_question(full, waits):
    """One transfer brings all samples, one all answers of the full comparison: however many tensors, and dicts in the file."""
    network = nn.Sequential(*[nn.Linear(40 + i, 41 + i) for i in range(12)])
    state = network.state_dict()
    files = [
        Candidate(path=("ema",), state={n: t + 1 for n, t in state.items()}),
        Candidate(path=("model",), state=state),
    ]
    with Device() as device:
        target = Target(state={n: Remote(t.clone()) for n, t in state.items()}, names={})
        match = best_match(files, target, full=full)
    assert match.comparison.equal == 1
    assert match.candidate.path == ("model",)
    assert len(device.waits) == waits, device.waits
    assert device.reductions == (len(state) if full else 0)


@pytest.mark.parametrize(("start", "spread"), [(0.0, 1e-4), (1.0, 0.01)])
def test_eight_bits_do_not_turn_trained_vectors_into_fresh_ones(start, spread):
    file = {f"{i}.bias": start + spread * torch.randn(64) for i in range(6)}
    assert judged(file, {name: torch.full((64,), start) for name in file})[0] == "not loaded"
