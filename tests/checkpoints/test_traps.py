"""Ways to load, and not to load, that were called wrong once."""

import math

import pytest
import safetensors.torch
import torch
from torch import nn

import lightning_diag.checkpoints
from lightning_diag.checkpoints import LoadVerification, compare, read_state_dict
from lightning_diag.checkpoints.verdict import explain, judge
from lightning_diag.errors import CheckpointError
from tests.checkpoints.networks import seeded, trained


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.v_proj, self.norm = nn.Linear(32, 32), nn.Linear(32, 32), nn.LayerNorm(32)


class Model(nn.Module):
    """Like a small language model."""

    def __init__(self, vocabulary=40, layers=2):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, 32)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))


class Adapted(nn.Module):
    """A layer inside an adapter, with the names of peft."""

    def __init__(self, layer):
        super().__init__()
        self.base_layer = layer
        self.lora_A = nn.ModuleDict({"default": nn.Linear(32, 4, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(4, 32, bias=False)})


class Stage2(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def training_step(self):
        """Makes the parts modules of their own."""


def adapted(model):
    for layer in model.layers:
        layer.q_proj, layer.v_proj = Adapted(layer.q_proj), Adapted(layer.v_proj)
    return model


@pytest.fixture
def source():
    return trained(seeded(Model, 1))


def fresh(**settings):
    return seeded(lambda: Model(**settings), 5)


def judged(checkpoint, model):
    found = compare(checkpoint, model)
    verdict = judge(found, untrained=False)
    return verdict, explain(verdict, found, "encoder", untrained=False)


def verified(state, encoder, tmp_path):
    torch.save(state, tmp_path / "stage1.pt")
    model = Stage2(encoder)
    return model, LoadVerification(tmp_path / "stage1.pt").verify(model)


def run(facts, model):
    for call in facts.fix.split("; "):
        eval(call, {"torch": torch, "safetensors": safetensors, "lightning_diag": lightning_diag, "model": model})


def sines(length, width):
    angles = torch.arange(length)[:, None] / 10_000 ** (torch.arange(width // 2) / (width // 2))
    return torch.cat([angles.sin(), angles.cos()], 1)


@pytest.mark.parametrize("class_token", [False, True])
def test_computed_positions_are_no_proof(source, class_token):
    positions = sines(300, 32)
    if class_token:
        positions = torch.cat([torch.zeros(1, 32), positions])
    file = {**source.state_dict(), "positions": positions}
    model = {**fresh().state_dict(), "positions": positions.clone()}
    verdict, why = judged(file, model)
    assert (verdict, "0 % of" in why) == ("not loaded", True)
    assert judged(file, {**source.state_dict(), "positions": positions.clone()})[0] == "loaded"


def test_learned_positions_of_the_size_of_sines_are_a_proof():
    torch.manual_seed(0)
    file = {"positions": torch.rand(300, 32) * math.sqrt(1.5), "positions2": torch.randn(300, 32) / math.sqrt(2)}
    assert compare(file, {n: t.clone() for n, t in file.items()}).equal == 1


def test_kernels_of_a_spectrogram_are_no_proof():
    kernel = torch.randn(65, 1, 128)
    file = {"stft.conv_real.weight": kernel, "melW": torch.rand(65, 16), "net.weight": torch.randn(20, 20)}
    model = {"stft.conv_real.weight": kernel, "melW": file["melW"], "net.weight": torch.randn(20, 20)}
    assert judged(file, model)[0] == "not loaded"


def test_rows_in_another_order_are_in_and_columns_are_not(source):
    state, order = source.state_dict(), torch.randperm(32, generator=torch.Generator().manual_seed(0))
    rows = {n: t[order] if "proj.weight" in n else t for n, t in state.items()}
    verdict, why = judged(state, rows)
    assert verdict == "loaded"
    assert "4 tensors are the checkpoint's, the rows in another order" in why
    columns = {n: t[:, order] if t.dim() > 1 else t for n, t in state.items()}
    assert compare(state, columns).numel("equal") == sum(t.numel() for t in state.values() if t.dim() == 1)


def test_the_same_values_in_another_shape_are_in():
    """A linear layer as a 1 x 1 convolution, patches as vectors, positions without the batch dimension."""
    torch.manual_seed(0)
    file = {"a.weight": torch.randn(64, 32), "patch.weight": torch.randn(32, 48), "pos": torch.randn(1, 17, 32)}
    shapes = {"a.weight": (64, 32, 1), "patch.weight": (32, 3, 4, 4), "pos": (17, 32)}
    verdict, why = judged(file, {name: tensor.reshape(shapes[name]).clone() for name, tensor in file.items()})
    assert verdict == "loaded"
    assert "3 tensors are stored in another shape in the checkpoint" in why
    assert judged(file, {name: torch.randn(shapes[name]) for name in file})[0] == "not loaded"


def test_layers_that_repeat_those_of_the_file_are_in(source):
    model = fresh(layers=4)
    model.embed.load_state_dict(source.embed.state_dict())
    for i, layer in enumerate(model.layers):
        layer.load_state_dict(source.layers[i % 2].state_dict())
    assert judged(source.state_dict(), model.state_dict())[0] == "loaded"


def test_the_line_for_a_base_inside_adapters(source, tmp_path):
    model, facts = verified(source.state_dict(), adapted(fresh()), tmp_path)
    assert facts.verdict == "not loaded"
    run(facts, model)
    assert LoadVerification(tmp_path / "stage1.pt").verify(model).verdict == "loaded"


def test_the_file_of_an_adapter_says_nothing_about_the_base(tmp_path):
    stage_one = trained(adapted(fresh()), 3).state_dict()
    file = {n.replace(".default", ""): t.clone() for n, t in stage_one.items() if "lora_" in n}
    model, facts = verified(file, adapted(fresh()), tmp_path)
    assert (facts.verdict, facts.parameters) == ("not loaded", 4 * 2 * 4 * 32)
    run(facts, model)
    assert torch.equal(model.encoder.layers[1].v_proj.lora_B["default"].weight, file["layers.1.v_proj.lora_B.weight"])
    assert LoadVerification(tmp_path / "stage1.pt").verify(model).verdict == "loaded"


def test_the_line_loads_what_fits_beside_a_table_of_another_length(source, tmp_path):
    model, facts = verified(source.state_dict(), fresh(vocabulary=50), tmp_path)
    assert facts.verdict == "not loaded"
    assert "encoder.embed has another shape in the checkpoint: no line of code loads that." in facts.reason
    run(facts, model)
    assert torch.equal(model.encoder.layers[1].v_proj.weight, source.layers[1].v_proj.weight)
    again = LoadVerification(tmp_path / "stage1.pt").verify(model)
    assert (again.verdict, again.fix) == ("partly loaded", None)  # nothing is left that a line could load
    assert again.reason.endswith(
        "not in: encoder.embed. It has another shape in the checkpoint: no line of code loads that."
    )


def test_two_layers_that_end_alike_are_not_exchanged(source, tmp_path):
    """The head of a masked language model is no pooler, though both have a ``dense`` of one shape."""
    file = {
        **source.state_dict(),
        "cls.transform.dense.weight": torch.randn(32, 32),
        "cls.transform.dense.bias": torch.randn(32),
    }
    encoder = fresh()
    encoder.pooler = nn.ModuleDict({"dense": nn.Linear(32, 32)})
    before = encoder.pooler["dense"].weight.clone()
    model, facts = verified(file, encoder, tmp_path)
    run(facts, model)
    assert torch.equal(model.encoder.pooler["dense"].weight, before)


def test_parts_under_different_names_are_told_as_their_whole(tmp_path):
    stage_one = trained(seeded(lambda: nn.ModuleDict({"layer1": Layer(), "layer2": Layer()}), 1))
    encoder = nn.ModuleDict({"down1": Layer(), "down2": Layer(), "up": nn.Linear(8, 8)})
    encoder["down1"].load_state_dict(stage_one["layer1"].state_dict())
    encoder["down2"].load_state_dict(stage_one["layer2"].state_dict())
    assert verified(stage_one.state_dict(), encoder, tmp_path)[1].module == "encoder"


def test_the_line_names_the_file_in_a_folder(source, tmp_path):
    (tmp_path / "hf").mkdir()
    safetensors.torch.save_file(source.state_dict(), tmp_path / "hf" / "model.safetensors")
    model = Stage2(fresh())
    facts = LoadVerification(tmp_path / "hf").verify(model)
    assert facts.checkpoint == str(tmp_path / "hf")
    run(facts, model)
    assert LoadVerification(tmp_path / "hf").verify(model).verdict == "loaded"


def test_one_tensor_without_a_name_is_refused_with_a_way_out(tmp_path):
    torch.save(torch.zeros(3, 2), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"one tensor of shape \(3, 2\) without a name; save a dict"):
        read_state_dict(tmp_path / "a.pt")


def test_a_table_in_another_order_and_nothing_else(tmp_path):
    table = torch.randn(60, 32)
    torch.save({"weight": table}, tmp_path / "a.pt")
    model = nn.Embedding.from_pretrained(table[torch.randperm(60, generator=torch.Generator().manual_seed(0))])
    assert LoadVerification(tmp_path / "a.pt").verify(model).verdict == "loaded"


def test_the_first_look_claims_nothing_about_flattened_parameters(source, tmp_path):
    torch.save(source.state_dict(), tmp_path / "a.pt")
    model = fresh()
    model.embed.weight._fsdp_flattened = True  # what FSDP 1 leaves on a parameter
    facts = LoadVerification(tmp_path / "a.pt").early_check(model)
    assert (facts.verdict, facts.provisional) == ("cannot tell", True)
    assert facts.reason.startswith("The parameters are flattened by FSDP version 1")
