import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from lightning_diag.checkpoints import compare
from lightning_diag.checkpoints.verdict import judge
from tests.checkpoints.networks import Encoder, Holder, seeded, trained


@pytest.fixture(scope="module")
def source():
    return trained(seeded(Encoder))


def fresh(**settings):
    return seeded(lambda: Holder(Encoder(**settings)), seed=5)


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


def verdict(checkpoint, model, **settings):
    return judge(compare(checkpoint, model.state_dict(), lightning_module=True, **settings), untrained=False)


def test_a_stranger_shares_nothing(source):
    found = compare(source.state_dict(), fresh().state_dict())
    assert found.equal == 0
    assert found.aligned == 1
    assert abs(found.distance.cosine) < 0.2
    assert found.alignment.prefixes == (("", "encoder"),)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "model.",
        "encoder.",
        "_orig_mod.",
        "net.",
        "backbone.",
        "model.encoder.",
        "module._orig_mod.",
        "a.b.",
    ],
)
@pytest.mark.parametrize("loaded", [False, True])
def test_prefixes_do_not_matter(source, prefix, loaded):
    model = fresh()
    if loaded:
        model.encoder.load_state_dict(source.state_dict())
    found = compare(prefixed(source.state_dict(), prefix), model.state_dict(), lightning_module=True)
    assert found.equal == float(loaded)
    assert found.aligned == 1


def test_names_that_were_all_changed_are_matched_by_content(source):
    model = fresh()
    renamed = {f"t{i}": tensor for i, tensor in enumerate(source.state_dict().values())}
    assert verdict(renamed, model) == "not loaded"
    model.encoder.load_state_dict(source.state_dict())
    assert verdict(renamed, model) == "loaded"


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("used", [torch.float32, torch.float16, torch.bfloat16])
def test_casts_are_compared_at_the_lower_precision(source, stored, used):
    state = {name: t.to(stored) if t.is_floating_point() else t for name, t in source.state_dict().items()}
    model = fresh()
    assert verdict(state, model.to(used)) == "not loaded"
    model.encoder.load_state_dict(state)
    found = compare(state, model.state_dict(), lightning_module=True)
    assert found.equal == 1
    assert all(row.exact for row in found.having("equal"))


def test_a_model_that_was_rounded_and_widened_again(source):
    model = fresh()
    model.encoder.load_state_dict(source.state_dict())
    model.bfloat16().float()
    assert verdict(source.state_dict(), model) == "loaded"


def test_noise_is_since_rounded(source):
    model = fresh()
    model.encoder.load_state_dict(source.state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1e-6 * torch.randn_like(parameter))
    assert verdict(source.state_dict(), model) == "loaded, since trained or rounded"


def test_other_class_count_is_a_head_and_normal(source):
    model = fresh(classes=3)
    kept = {name: t for name, t in source.state_dict().items() if not name.startswith("head")}
    model.encoder.load_state_dict(kept, strict=False)
    found = compare(source.state_dict(), model.state_dict())
    assert found.equal == 1
    assert [row.name for row in found.having("head")] == ["encoder.head.weight", "encoder.head.bias"]


def test_a_checkpoint_without_head_and_a_new_part(source):
    model = fresh()
    kept = {name: t for name, t in source.state_dict().items() if not name.startswith("head")}
    model.encoder.load_state_dict(kept, strict=False)
    found = compare(kept, model.state_dict(), lightning_module=True)
    assert found.equal == 1
    assert {row.name.rpartition(".")[0] for row in found.having("new")} == {"encoder.head", "decoder"}


def test_a_checkpoint_with_a_gap_is_only_partly_loaded(source):
    model = fresh()
    kept = {name: t for name, t in source.state_dict().items() if not name.startswith("body")}
    model.encoder.load_state_dict(kept, strict=False)
    found = compare(kept, model.state_dict())
    assert {row.name.rpartition(".")[0] for row in found.having("missing")} == {"encoder.body.0", "encoder.body.1"}
    assert judge(found, untrained=False) == "partly loaded"


def test_half_of_the_keys_is_partly_loaded(source):
    model = fresh()
    half = dict(list(source.state_dict().items())[: len(source.state_dict()) // 2])
    model.encoder.load_state_dict(half, strict=False)
    found = compare(source.state_dict(), model.state_dict())
    assert 0.05 < found.equal < 0.95
    assert judge(found, untrained=False) == "partly loaded"


def test_running_statistics_alone_are_no_proof(source):
    model = fresh()
    statistics = {name: t for name, t in source.state_dict().items() if "running" in name or "num_batches" in name}
    model.encoder.load_state_dict(statistics, strict=False)
    assert verdict(source.state_dict(), model) == "not loaded"


def test_another_width_is_not_loaded_and_another_network_cannot_be_told(source):
    assert verdict(source.state_dict(), fresh(width=4)) == "not loaded"
    other = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 3))
    assert verdict(source.state_dict(), Holder(other)) == "cannot tell"


def test_constants_on_both_sides_prove_nothing():
    first, second = seeded(Encoder, 1), seeded(Encoder, 2)
    found = compare(first.state_dict(), second.state_dict())
    assert {row.name for row in found.having("uninformative")} == {
        f"{block}.1.{leaf}" for block in ("stem", "body") for leaf in ("weight", "bias")
    }
    assert found.equal == 0


def test_the_same_seed_in_both_stages_is_not_taken_for_loaded():
    first = seeded(Encoder)
    model = Holder(copy.deepcopy(first))
    with torch.no_grad():
        for name, parameter in first.named_parameters():
            generator = torch.Generator().manual_seed(len(name))
            parameter.add_(
                0.005
                * float(parameter.std() if parameter.std() > 0 else 1)
                * torch.randn(parameter.shape, generator=generator)
            )
    found = compare(first.state_dict(), model.state_dict())
    assert found.distance.relative_l2 < 0.01
    assert judge(found, untrained=False) == "not loaded"


def test_a_student_and_a_teacher_in_one_file(source):
    teacher = trained(seeded(Encoder, 3), seed=9)
    both = {**prefixed(teacher.state_dict(), "teacher."), **prefixed(source.state_dict(), "student.")}
    model = fresh()
    model.encoder.load_state_dict(source.state_dict())
    found = compare(both, model.state_dict())
    assert found.alignment.prefixes[0] == ("student", "encoder")
    assert found.equal == 1


def test_tied_weights_count_once_and_one_alias_is_enough():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(50, 8)
            self.mix = nn.Linear(8, 8)
            self.lm_head = nn.Linear(8, 50, bias=False)
            self.lm_head.weight = self.embed.weight

    stage_one, model = seeded(Tied, 1), seeded(Tied, 2)
    state = {name: t for name, t in stage_one.state_dict().items() if name != "lm_head.weight"}
    model.load_state_dict(state, strict=False)
    found = compare(state, model.state_dict())
    assert found.equal == 1
    assert found.expected == 50 * 8 + 8 * 8 + 8


def test_weight_norm_old_and_new_names_and_folded():
    torch.manual_seed(0)
    modern = nn.Sequential(weight_norm(nn.Linear(6, 5)), nn.ReLU(), nn.Linear(5, 4))
    state = modern.state_dict()
    old = {
        n.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): t
        for n, t in state.items()
    }
    assert compare(old, state).equal == 1
    folded = {"0.weight": modern[0].weight.detach(), **{n: t for n, t in state.items() if "param" not in n}}
    assert compare(folded, state).equal == 1


def test_a_matrix_stored_the_other_way_round_and_a_table_that_grew(source):
    state = source.state_dict()
    turned = {**state, "project.weight": state["project.weight"].t().contiguous()}
    assert compare(turned, state).equal == 1
    small = nn.Sequential(nn.Embedding(20, 4), nn.Linear(4, 4))
    grown = nn.Sequential(nn.Embedding(25, 4), copy.deepcopy(small[1]))
    with torch.no_grad():
        grown[0].weight[:20] = small[0].weight
    assert compare(small.state_dict(), grown.state_dict()).equal == 1


def test_layers_in_the_wrong_order_are_not_loaded_and_every_second_layer_is():
    def deep(n):
        return nn.Sequential(*[nn.Linear(8, 8) for _ in range(n)])

    first = seeded(lambda: deep(6), 1)
    reversed_, student = seeded(lambda: deep(6), 2), seeded(lambda: deep(3), 3)
    for i in range(6):
        reversed_[i].load_state_dict(first[5 - i].state_dict())
    found = compare(first.state_dict(), reversed_.state_dict())
    assert judge(found, untrained=None) == "not loaded"
    assert sum(row.misplaced for row in found.rows) == 12
    for i in range(3):
        student[i].load_state_dict(first[2 * i].state_dict())
    assert compare(first.state_dict(), student.state_dict()).equal == 1


def test_wrappers_inside_names(source):
    state = {n.replace("stem.", "stem._fsdp_wrapped_module._orig_mod."): t for n, t in source.state_dict().items()}
    model = fresh()
    model.encoder.load_state_dict(source.state_dict())
    assert compare(prefixed(state, "module."), model.state_dict()).equal == 1


def test_full_comparison_finds_what_samples_miss():
    torch.manual_seed(0)
    big = {"w": torch.randn(300, 300)}
    near = {"w": big["w"].clone()}
    near["w"][7, 7] += 1
    assert compare(big, big).rows[0].exact
    assert not compare(big, near).rows[0].exact
    assert not compare(big, big, full=False).rows[0].exact


def test_nothing_is_changed_and_non_contiguous_tensors_are_read(source):
    model = fresh().to(memory_format=torch.channels_last)
    model.encoder.load_state_dict(source.state_dict())
    before = copy.deepcopy(model.state_dict())
    assert compare(source.state_dict(), model.state_dict()).equal == 1
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_not_a_number_equals_itself(source):
    state = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    state["head.weight"][0] = float("nan")
    assert compare(state, copy.deepcopy(state)).equal == 1


def test_empty_sides_cannot_be_told():
    assert judge(compare({}, {}), untrained=None) == "cannot tell"
    assert judge(compare({"w": torch.zeros(3)}, {"w": torch.zeros(3)}), untrained=None) == "cannot tell"
