"""How often a comparison waits for the device that the model is on: once, whatever there is to compare."""

import warnings

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from lightning_diag.checkpoints import LoadVerification
from lightning_diag.checkpoints.best import Target, best_match
from lightning_diag.checkpoints.nested import Candidate
from lightning_diag.checkpoints.samples import row_sums
from tests.checkpoints.networks import Encoder, Holder, seeded, trained


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
    """Counts what the host would wait for: copies from and to it, and single values read."""

    READING = ("_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select")

    def __init__(self):
        super().__init__()
        self.waits, self.sums = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        remote = any(isinstance(x, Remote) for x in given)
        target = kwargs.get("device")
        there = torch.device(target).type == "xla" if target is not None else remote
        if target is not None:
            kwargs["device"] = "cpu"
        name = func.overloadpacket.__name__
        if (remote and (not there or name in self.READING)) or (there and given and not remote):
            self.waits.append(name)
        self.sums += remote and name == "sum"
        inside = tree_map(lambda x: x.inner if isinstance(x, Remote) else x, (args, kwargs))
        result = func(*inside[0], **inside[1])
        keep = there and name not in self.READING
        return tree_map(lambda x: Remote(x) if keep and isinstance(x, torch.Tensor) else x, result)


def network():
    return nn.ModuleDict(
        {
            "layers": nn.Sequential(*[nn.Linear(40 + i, 41 + i) for i in range(8)]),
            "image": nn.Sequential(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16)).to(memory_format=torch.channels_last),
            "bfloat16_layer": nn.Linear(60, 60).bfloat16(),
            "attention": nn.MultiheadAttention(40, 4),
            "table": nn.Embedding(90, 40),
        }
    )


def as_saved(state):
    """The same weights with fewer rows in the table, and query, key and value apart."""
    file = {n: t for n, t in state.items() if "in_proj" not in n}
    file["table.weight"] = file["table.weight"][:70]
    for leaf in ("weight", "bias"):
        parts = state[f"attention.in_proj_{leaf}"].chunk(3)
        file |= {f"attention.{name}_proj.{leaf}": part.clone() for name, part in zip("qkv", parts, strict=True)}
    return file


def compared(candidates, state, **settings):
    with Device() as device:
        remote = {n: Remote(t.clone(memory_format=torch.preserve_format)) for n, t in state.items()}
        found = best_match(candidates, Target(state=remote, names={}), **settings)
    return found, device


@pytest.mark.parametrize("full", [False, True])
def test_a_device_is_waited_for_once(full):
    """However many tensors, dtypes, layouts and dicts in the file there are, and with every value compared."""
    state = {n: t.detach() for n, t in trained(seeded(network)).named_parameters()}
    files = [Candidate(path=("ema",), state={n: t + 1 for n, t in state.items()})]
    files += [Candidate(path=("model",), state=as_saved(state))]
    found, device = compared(files, state, full=full)
    assert found.comparison.equal == 1
    assert found.candidate.path == ("model",)
    assert sum(row.stacked for row in found.comparison.rows) == 2  # weight and bias of the attention
    assert device.waits == ["_to_copy"]
    large = [name for name, tensor in state.items() if tensor.numel() > 1024]
    assert device.sums == (len(large) if full else 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kept", [torch.float32, torch.bfloat16])
def test_one_other_value_is_found_on_a_device(dtype, kept):
    file = {"a.weight": torch.randn(60, 600).to(kept), "b.weight": torch.randn(700, 30).to(kept)}
    state = {name: tensor.to(dtype, copy=True) for name, tensor in file.items()}
    state["a.weight"].view(-1)[20] += 1  # between the samples
    found, device = compared([Candidate(path=(), state=file)], state)
    assert {row.name: row.exact for row in found.comparison.rows} == {"a.weight": False, "b.weight": True}
    assert device.waits == ["_to_copy"]


def test_two_rows_that_changed_places_are_found_on_a_device():
    file = {"a.weight": torch.randn(3000, 64)}
    state = {"a.weight": file["a.weight"].clone()}
    first, second = 5, 6
    state["a.weight"][[first, second]] = file["a.weight"][[second, first]]
    found, _ = compared([Candidate(path=(), state=file)], state)
    assert [(row.status, row.exact) for row in found.comparison.rows] == [("equal", False)]


def test_weights_that_the_file_was_rounded_from_are_read_twice():
    state = {"a.weight": torch.randn(60, 600), "b.weight": torch.randn(700, 30)}
    file = {name: tensor.half() for name, tensor in state.items()}
    found, device = compared([Candidate(path=(), state=file)], state)
    assert [row.exact for row in found.comparison.rows] == [True, True]
    assert device.waits == ["_to_copy"] * 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.float8_e5m2])
def test_sums_do_not_depend_on_the_layout_in_memory(dtype):
    image = torch.randn(6, 3, 5, 5).to(dtype)
    last = image.contiguous(memory_format=torch.channels_last)
    assert torch.equal(row_sums(image), row_sums(last))
    assert row_sums(image).shape == (6,)
    assert row_sums(image.reshape(-1)).shape == (1,)


@pytest.fixture
def path(tmp_path):
    torch.save(trained(seeded(Encoder)).state_dict(), tmp_path / "stage1.pt")
    return tmp_path / "stage1.pt"


def model_with(path):
    model = seeded(lambda: Holder(Encoder()), 5)
    model.encoder.load_state_dict(torch.load(path, weights_only=True))
    return model


def test_a_verdict_waits_once_running_statistics_included(path):
    model = model_with(path)
    with Device() as device:
        for part in model.modules():
            for name, parameter in list(part.named_parameters(recurse=False)):
                setattr(part, name, nn.Parameter(Remote(parameter.detach()), requires_grad=False))
            for name, buffer in list(part.named_buffers(recurse=False)):
                part.register_buffer(name, Remote(buffer))
        verification = LoadVerification(path, module="encoder")
        facts = verification.verify(model)
        assert (facts.verdict, facts.statistics_equal) == ("loaded", True), facts.reason
        assert device.waits == ["_to_copy"]
        assert verification.drift(model)["pretrain/relative_l2"] == 0
        assert device.waits == ["_to_copy"] * 2


@pytest.mark.cuda
def test_a_verdict_waits_for_a_gpu_once(path):
    model = model_with(path).cuda()
    LoadVerification(path, module="encoder").verify(model)  # what is only done once per process
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            facts = LoadVerification(path, module="encoder").verify(model)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (facts.verdict, facts.statistics_equal) == ("loaded", True)
    assert len([w for w in caught if "synchronizing" in str(w.message)]) == 1


@pytest.mark.parametrize("reordered", [False, True])
def test_rows_in_another_order_cost_no_further_wait(reordered):
    file = {"a.weight": torch.randn(60, 600)}
    state = {"a.weight": file["a.weight"].flip(0) if reordered else torch.randn(60, 600)}
    found, device = compared([Candidate(path=(), state=file)], state)
    assert [row.reordered for row in found.comparison.rows] == [reordered]
    assert device.waits == ["_to_copy"]
