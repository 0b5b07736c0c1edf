"""Weights that are in, but in another form than that of the checkpoint."""

import pytest
import torch

from lightning_diag.checkpoints import compare
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


@pytest.mark.parametrize(("start", "spread"), [(0.0, 1e-4), (1.0, 0.01)])
def test_eight_bits_do_not_turn_trained_vectors_into_fresh_ones(start, spread):
    file = {f"{i}.bias": start + spread * torch.randn(64) for i in range(6)}
    assert judged(file, {name: torch.full((64,), start) for name in file})[0] == "not loaded"
