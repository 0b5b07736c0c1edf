import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import lightning_diag.checkpoints
from lightning_diag.checkpoints import compare, comparison_table, verify_files
from lightning_diag.checkpoints.table import exit_code
from tests.checkpoints.networks import Encoder, Holder, seeded, trained


def run(fix, model):
    """Do what a user does with the printed line."""
    for call in fix.split("; "):
        eval(call, {"torch": torch, "safetensors": safetensors, "lightning_diag": lightning_diag, "model": model})


def facts_for(tmp_path, tree, model, **settings):
    torch.save(tree, tmp_path / "stage1.pt")
    torch.save(model.state_dict(), tmp_path / "now.pt")
    return verify_files(tmp_path / "stage1.pt", tmp_path / "now.pt", **settings)


def source_state(classes=10):
    return trained(seeded(lambda: Encoder(classes))).state_dict()


def tree_state(tree):
    """What the tree was made of, after the cast that it made."""
    return tree(source_state()) if tree is TREES["half precision"] else source_state()


def rename(state, old, new):
    return {name.replace(old, new): tensor for name, tensor in state.items()}


def add(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


TREES = {
    "as it is": lambda s: s,
    "nested": lambda s: {"encoder_state_dict": s, "epoch": 3},
    "two levels": lambda s: {"model": {"ema": s}},
    "module.": lambda s: {"state_dict": add(s, "module.")},
    "module._orig_mod.": lambda s: add(s, "module._orig_mod."),
    "student.backbone.": lambda s: {
        "state_dict": {**add(s, "student.backbone."), "student.head.weight": torch.randn(9, 9)}
    },
    "inner wrapper": lambda s: add(rename(s, "stem.", "stem._orig_mod."), "model."),
    "all renamed": lambda s: {f"t{i:03}": t for i, t in enumerate(s.values())},
    "half precision": lambda s: {n: t.half() if t.is_floating_point() else t for n, t in s.items()},
    "quotes in names": lambda s: add(s, 'it\'s "x".'),
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())
@pytest.mark.parametrize("classes", [10, 3])
def test_the_printed_line_loads(tmp_path, tree, classes):
    model = seeded(lambda: Holder(Encoder(classes)), 4)
    facts = facts_for(tmp_path, tree(source_state()), model, module="encoder")
    assert facts.verdict == "not loaded"
    run(facts.fix, model)
    at_least = 0.95 if classes == 10 else 0.90  # without names the new head is counted
    assert compare(tree_state(tree), model.encoder.state_dict()).equal >= at_least


def test_parts_that_lie_elsewhere_need_two_calls(tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = (
                nn.Sequential(nn.Linear(9, 8), nn.Linear(8, 9)),
                nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 7)),
            )

    first, model = seeded(Two, 1), seeded(Two, 2)
    state = {**add(first.encoder.state_dict(), "enc.net."), **add(first.decoder.state_dict(), "dec.")}
    facts = facts_for(tmp_path, state, model)
    assert facts.fix.count("load_state_dict") == 2
    run(facts.fix, model)
    assert compare(first.state_dict(), model.state_dict()).equal == 1


def test_weight_norm_names_are_translated(tmp_path):
    def make():
        return nn.Sequential(weight_norm(nn.Linear(6, 5)), nn.Linear(5, 4))

    first, model = seeded(make, 1), seeded(make, 2)
    old = rename(
        rename(first.state_dict(), "parametrizations.weight.original0", "weight_g"),
        "parametrizations.weight.original1",
        "weight_v",
    )
    facts = facts_for(tmp_path, old, model)
    run(facts.fix, model)
    assert compare(first.state_dict(), model.state_dict()).equal == 1


def test_safetensors_and_dicts_of_dicts(tmp_path):
    first, model = trained(seeded(Encoder)), seeded(Encoder, 2)
    safetensors.torch.save_file(add(first.state_dict(), "net."), tmp_path / "a.safetensors")
    torch.save(model.state_dict(), tmp_path / "now.pt")
    facts = verify_files(tmp_path / "a.safetensors", tmp_path / "now.pt")
    assert "safetensors.torch.load_file" in facts.fix
    run(facts.fix, model)
    assert compare(first.state_dict(), model.state_dict()).equal == 1
    model = seeded(lambda: Holder(Encoder()), 4)
    trees = {"encoder": first.state_dict(), "decoder": {"weight": torch.randn(7, 5), "bias": torch.randn(7)}}
    facts = facts_for(tmp_path, trees, model)
    assert "read_state_dict" in facts.fix
    run(facts.fix, model)
    assert compare(first.state_dict(), model.encoder.state_dict()).equal == 1


def test_no_line_where_none_works(tmp_path):
    assert facts_for(tmp_path, source_state(), seeded(lambda: Encoder(width=4), 4)).fix is None


def test_the_table_shows_blocks_and_exit_code(tmp_path):
    model = seeded(lambda: Holder(Encoder(3)), 4)
    facts = facts_for(tmp_path, {"state_dict": add(source_state(), "module.")}, model)
    text = comparison_table(facts)
    assert "not loaded" in text
    assert "encoder.project" in text
    assert facts.fix in text
    assert exit_code(facts) == 1
    run(facts.fix, model)
    good = facts_for(tmp_path, {"state_dict": add(source_state(), "module.")}, model)
    assert (good.verdict, exit_code(good), good.fix) == ("loaded", 0, None)
    assert "another number of outputs" in comparison_table(good)


def test_the_table_names_both_files_and_says_once_that_nothing_can_be_compared(tmp_path):
    torch.save(nn.Linear(77, 33).state_dict(), tmp_path / "other.pt")
    torch.save(source_state(), tmp_path / "stage1.pt")
    facts = verify_files(tmp_path / "stage1.pt", tmp_path / "other.pt")
    assert (facts.verdict, exit_code(facts)) == ("cannot tell", 1)
    *head, _, reason = comparison_table(facts, "other.pt").splitlines()
    assert head == [
        "verdict     cannot tell",
        f"checkpoint  {tmp_path}/stage1.pt",
        "against     other.pt",
    ]
    assert reason.count("look unrelated") == 1
    assert "No weight of the two" not in reason


def test_files_are_called_by_their_names_where_no_module_is(tmp_path):
    """Two files hold no module: what is compared is the other file."""
    torch.save(nn.Linear(9, 4).state_dict(), tmp_path / "first.pt")
    torch.save(nn.Linear(9, 4).state_dict(), tmp_path / "second.pt")
    facts = verify_files(tmp_path / "first.pt", tmp_path / "second.pt")
    assert "weights of second.pt equal the checkpoint" in facts.reason
    assert "\nmodule " not in comparison_table(facts, "second.pt")


def two_files(tmp_path, first, second):
    torch.save(first, tmp_path / "first.pt")
    torch.save({"state_dict": second}, tmp_path / "second.ckpt")
    return verify_files(tmp_path / "first.pt", tmp_path / "second.ckpt")


def test_two_networks_that_share_a_head_by_chance_are_called_unrelated_and_no_line_loads_the_head(tmp_path):
    digits = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).state_dict()
    images = nn.ModuleDict({"conv": nn.Conv2d(16, 32, 3), "norm": nn.BatchNorm2d(32), "fc": nn.Linear(32, 10)})
    facts = two_files(tmp_path, digits, add(images.state_dict(), "backbone."))
    assert "look unrelated: of the 4 tensors of the checkpoint and the 6 of second.ckpt, 2 agree" in facts.reason
    assert "0.weight" in facts.reason
    assert "backbone.conv.weight" in facts.reason
    assert "wrong path" in facts.reason
    assert (facts.fix, facts.blocks, exit_code(facts)) == (None, (), 1)


@pytest.mark.parametrize(
    "related",
    [
        lambda: nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),  # the same network, another training
        lambda: nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 100)),  # another size of it
        lambda: nn.ModuleDict({"a": nn.Linear(64, 32), "b": nn.Linear(32, 10)}),  # other names for it
        lambda: nn.ModuleDict({"0": nn.Linear(64, 32), "more": nn.Linear(500, 500)}),  # a part of it
    ],
)
def test_what_shares_names_or_shapes_is_not_called_unrelated(tmp_path, related):
    digits = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).state_dict()
    facts = two_files(tmp_path, digits, related().state_dict())
    assert "unrelated" not in facts.reason


def test_one_tensor_of_another_shape_is_counted_as_one(tmp_path):
    facts = two_files(tmp_path, {"a.weight": torch.randn(8, 9)}, {"a.weight": torch.randn(8, 8)})
    assert "1 tensor has another shape in the checkpoint" in facts.reason
