import copy
import pickle

import pytest
import torch
from torch import nn

from lightning_diag.checkpoints import LoadVerification, compare
from lightning_diag.errors import CheckpointError, ConfigError
from tests.checkpoints.networks import Encoder, Holder, seeded, trained


@pytest.fixture
def source():
    return trained(seeded(Encoder))


@pytest.fixture
def path(source, tmp_path):
    torch.save({"state_dict": {f"module.{name}": t for name, t in source.state_dict().items()}}, tmp_path / "stage1.pt")
    return tmp_path / "stage1.pt"


def model_with(source=None):
    model = seeded(lambda: Holder(Encoder()), 5)
    if source is not None:
        model.encoder.load_state_dict(source.state_dict())
    return model


def step(model, train=True):
    model.train(train)
    model.encoder(torch.randn(4, 1, 8, 8)).sum().backward()


def verified(path, model, run=step, **settings):
    verification = LoadVerification(path, **settings)
    verification.early_check(model)
    verification.watch(model)
    run(model)
    return verification, verification.verify(model, optimizers=[torch.optim.SGD(model.encoder.parameters())])


@pytest.mark.parametrize("module", ["encoder", None])
@pytest.mark.parametrize("full", [True, False])
def test_loaded_is_said_with_everything_around_it(path, source, module, full):
    model = model_with(source)
    verification, facts = verified(path, model, module=module, full=full)
    assert facts.verdict == "loaded"
    assert (facts.equal, facts.aligned, facts.checkpoint_key, facts.module) == (1, 1, "state_dict", "encoder")
    assert (facts.used, facts.frozen, facts.not_in_optimizer) == (True, 0, 0)
    assert facts.statistics_equal is True  # noted before the first training forward moved them
    assert verification.drift(model)["pretrain/relative_l2"] == 0
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_not_loaded_comes_with_a_line_that_loads(path, source):
    model = model_with()
    _, facts = verified(path, model, module="encoder")
    assert (facts.verdict, facts.equal, facts.statistics_equal) == ("not loaded", 0, False)
    eval(facts.fix, {"torch": torch, "model": model})
    assert compare(source.state_dict(), model.encoder.state_dict()).equal == 1


def test_early_check_is_provisional_and_raises_for_bad_files_and_modules(path, tmp_path):
    facts = LoadVerification(path).early_check(model_with())
    assert (facts.provisional, facts.verdict) == (True, "not loaded")
    (tmp_path / "bad.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(CheckpointError, match="cut off"):
        LoadVerification(tmp_path / "bad.pt").early_check(model_with())
    with pytest.raises(ConfigError, match=r"no such module \(its parts are: encoder, decoder\)"):
        LoadVerification(path, module="encodr").early_check(model_with())


def test_verify_never_raises(tmp_path):
    def broken(_):
        raise KeyError("path")

    assert verified(None, model_with())[1].verdict == "cannot tell"
    gone = LoadVerification(tmp_path / "gone.pt").verify(model_with())
    assert (gone.verdict, "no such file" in gone.reason) == ("cannot tell", True)
    failed = LoadVerification(broken).verify(model_with())
    assert (failed.verdict, "KeyError" in failed.reason) == ("cannot tell", True)


def test_a_callable_may_name_no_checkpoint(path, source):
    facts = verified(lambda model: None, model_with())[1]
    assert facts.verdict == "cannot tell"
    assert facts.reason.startswith("No checkpoint was named.")
    assert verified(lambda model: path, model_with(source))[1].verdict == "loaded"


def test_without_a_checkpoint_only_fresh_norm_layers_tell(source):
    assert verified(None, model_with())[1].looks_fresh is True
    assert verified(None, model_with(source), module="encoder")[1].looks_fresh is False
    plain = Holder(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), extra=False)
    facts = verified(None, plain)[1]
    assert (facts.looks_fresh, facts.verdict) == (None, "cannot tell")


def test_a_checkpoint_of_a_fresh_model_is_said_to_be_untrained(tmp_path):
    fresh = seeded(Encoder)
    torch.save(fresh.state_dict(), tmp_path / "fresh.pt")
    facts = verified(tmp_path / "fresh.pt", model_with(fresh))[1]
    assert (facts.verdict, facts.checkpoint_untrained, facts.equal) == ("checkpoint untrained", True, 1)


def test_a_resumed_fit_is_no_failure(path):
    verification = LoadVerification(path)
    facts = verification.verify(model_with(), resumed_from="last.ckpt")
    assert (facts.verdict, facts.resumed_from, facts.fix) == ("resumed", "last.ckpt", None)


def test_a_module_that_is_loaded_but_not_used_is_found_until_it_is_used(path, source):
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = Encoder()
            self.other = nn.Linear(3, 3)

    model = Unused()
    model.encoder.load_state_dict(source.state_dict())
    verification, facts = verified(path, model, lambda m: m.other(torch.randn(2, 3)).sum().backward(), module="encoder")
    assert (facts.verdict, facts.used) == ("loaded", False)
    assert verification.after_epoch(model).used is False
    step(model)
    assert verification.after_epoch(model).used is True


def test_a_frozen_module_in_eval_mode_is_used_and_its_statistics_still_compared(path, source):
    model = model_with(source)
    model.encoder.requires_grad_(False)
    verification = LoadVerification(path, module="encoder")
    verification.watch(model)
    model.encoder.eval()
    with torch.no_grad():
        model.encoder(torch.randn(4, 1, 8, 8))
    facts = verification.verify(model)
    assert (facts.used, facts.frozen, facts.statistics_equal, facts.not_in_optimizer) == (True, 1, True, None)
    assert facts.reason.endswith("100 % of its parameters are frozen.")


def test_parameters_missing_from_the_optimizer_are_counted(path, source):
    model = model_with(source)
    verification = LoadVerification(path, module="encoder")
    facts = verification.verify(model, optimizers=[torch.optim.SGD(model.encoder.head.parameters(), lr=0.1)])
    assert 0.5 < facts.not_in_optimizer < 1
    assert "of its trainable parameters are in no optimizer." in facts.reason


def test_drift_is_measured_by_block_and_grows(path, source):
    model = model_with(source)
    verification, _ = verified(path, model)
    with torch.no_grad():
        model.encoder.project.weight.mul_(1.5)
    drift = verification.drift(model)
    assert drift["pretrain/encoder.project/relative_l2"] == pytest.approx(0.5, rel=1e-4)
    assert drift["pretrain/encoder.project/cosine"] == pytest.approx(1, rel=1e-6)
    assert drift["pretrain/encoder.stem/relative_l2"] == 0
    assert 0 < drift["pretrain/relative_l2"] < 0.5


def test_late_after_an_update_likeness_proves_nothing_for_sure(path, source):
    model = model_with(source)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    assert LoadVerification(path).verify(model, late=True).verdict == "cannot tell"
    assert LoadVerification(path).verify(model_with(), late=True).verdict == "not loaded"


def test_the_file_may_be_overwritten_while_training(path, source):
    model = model_with(source)
    verification, facts = verified(path, model)
    path.write_bytes(b"")
    assert facts.verdict == "loaded"
    assert verification.drift(model)["pretrain/cosine"] == pytest.approx(1)


def test_hooks_survive_copying_and_pickling_of_the_model(path, source):
    model = model_with(source)
    verification = LoadVerification(path)
    verification.watch(model)
    step(pickle.loads(pickle.dumps(copy.deepcopy(model))))
    verification.close()
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_a_compiled_module_gets_no_hooks(path, source):
    model = model_with(source)
    model.encoder = torch.compile(model.encoder, backend="eager")
    verification = LoadVerification(path)
    verification.watch(model)
    assert not any(m._forward_pre_hooks for m in model.modules())
    step(model)
    facts = verification.verify(model)
    assert (facts.verdict, facts.used) == ("loaded", True)


def test_parameters_without_values_cannot_be_told(path):
    facts = LoadVerification(path).verify(model_with().to("meta"))
    assert (facts.verdict, "meta device" in facts.reason) == ("cannot tell", True)


def test_key_picks_one_state_dict(source, tmp_path):
    other = trained(seeded(Encoder, 8), seed=4)
    torch.save({"state_dict": other.state_dict(), "ema": source.state_dict()}, tmp_path / "a.pt")
    assert verified(tmp_path / "a.pt", model_with(source))[1].checkpoint_key == "ema"
    assert verified(tmp_path / "a.pt", model_with(source), key="state_dict")[1].verdict == "not loaded"


@pytest.mark.cuda
def test_a_module_on_the_gpu_is_compared_there(path, source):
    model = model_with(source).cuda()
    verification = LoadVerification(path, module="encoder")
    assert verification.verify(model).verdict == "loaded"
    assert verification.drift(model)["pretrain/relative_l2"] == 0
    assert LoadVerification(path).verify(model_with().cuda()).verdict == "not loaded"


def test_lazy_parameters_are_left_out_until_they_have_a_shape(path, source):
    model = model_with(source)
    model.later = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    assert LoadVerification(path).early_check(model).verdict == "loaded"
    assert LoadVerification(path).verify(model).verdict == "loaded"
