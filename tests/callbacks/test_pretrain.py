import pickle

import pytest
import pytorch_lightning
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lightning_diag import PretrainLoadVerifier
from lightning_diag.callbacks import pretrain
from lightning_diag.callbacks.observer import Observer
from lightning_diag.errors import WeightsNotLoadedError
from tests.checkpoints.networks import seeded, trained
from tests.toys import Toy, fit, loader, trainer

HOOKS = ("setup", "configure_model", "on_fit_start", "on_train_start", "on_train_epoch_start", "on_train_batch_start")


@pytest.fixture
def stage1(tmp_path):
    encoder = trained(seeded(Toy).encoder)
    torch.save({"encoder_state_dict": encoder.state_dict()}, tmp_path / "stage1.pt")
    return str(tmp_path / "stage1.pt")


def load(module, path):
    module.encoder.load_state_dict(torch.load(path, weights_only=True)["encoder_state_dict"])


def acting(hook, action):
    """A module that does ``action`` once, in its own hook of this name."""

    class Acting(Toy):
        done = False

    def run(self, *args, **kwargs):
        if not self.done:
            self.done = True
            action(self)

    setattr(Acting, hook, run)
    return seeded(Acting, 3)


def verdict_of(tmp_path, module, stage1, **settings):
    callback = PretrainLoadVerifier(stage1, **{"module": "encoder", "on_not_loaded": "warn", **settings})
    run = fit(tmp_path, [callback], module, epochs=1)
    facts = Observer.find(run).run.recorder.context.pretrain
    assert facts == callback.verification.facts
    return facts


@pytest.mark.parametrize("hook", HOOKS)
def test_loading_in_any_hook_is_seen(tmp_path, stage1, hook):
    facts = verdict_of(tmp_path, acting(hook, lambda module: load(module, stage1)), stage1)
    assert (facts.verdict, facts.statistics_equal) == ("loaded", True)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.filterwarnings("ignore:Pretrained weights:RuntimeWarning")
def test_losing_the_weights_in_any_hook_is_seen(tmp_path, stage1, hook):
    module = acting(
        hook, lambda module: [m.reset_parameters() for m in module.encoder if hasattr(m, "reset_parameters")]
    )
    load(module, stage1)
    assert verdict_of(tmp_path, module, stage1).verdict == "not loaded"


@pytest.mark.filterwarnings("ignore:Pretrained weights:RuntimeWarning")
def test_losing_the_weights_in_the_first_training_step_is_seen(tmp_path, stage1):
    class Late(Toy):
        def training_step(self, batch, batch_idx):
            if self.global_step == 0:
                self.encoder[0].reset_parameters()
            return super().training_step(batch, batch_idx)

    module = Late()
    load(module, stage1)
    assert verdict_of(tmp_path, module, stage1).verdict != "loaded"


def test_not_loaded_raises_before_the_first_update_with_the_fix(tmp_path, stage1):
    module = seeded(Toy, 3)
    before = {name: tensor.clone() for name, tensor in module.named_parameters()}
    with pytest.raises(WeightsNotLoadedError, match="encoder_state_dict") as caught:
        fit(tmp_path, [PretrainLoadVerifier(stage1, module="encoder")], module)
    assert all(torch.equal(before[name], parameter) for name, parameter in module.named_parameters())
    line = next(row for row in str(caught.value).splitlines() if row.startswith("model."))
    eval(line, {"torch": torch, "model": module})
    assert verdict_of(tmp_path, module, stage1).verdict == "loaded"
    assert (tmp_path / "diagnosis.md").exists()


@pytest.mark.filterwarnings("ignore:Pretrained weights:RuntimeWarning")
def test_stop_ends_after_the_first_step(tmp_path, stage1):
    run = fit(tmp_path, [PretrainLoadVerifier(stage1, on_not_loaded="stop")], seeded(Toy, 3), epochs=3)
    assert run.global_step == 1
    stop = Observer.find(run).run.recorder.context.stop
    assert (stop.status, stop.stopper) == ("stopped", "PretrainLoadVerifier")
    assert "The run was stopped for it" in (tmp_path / "diagnosis.md").read_text()


def test_a_file_that_cannot_be_read_is_told_before_training(tmp_path):
    with pytest.raises(MisconfigurationException, match="no such file"):
        fit(tmp_path, [PretrainLoadVerifier(str(tmp_path / "absent.pt"))])
    with pytest.warns(RuntimeWarning, match="no such file"):
        run = fit(tmp_path, [PretrainLoadVerifier(str(tmp_path / "absent.pt"), on_not_loaded="warn")])
    assert Observer.find(run).run.recorder.context.pretrain.verdict == "cannot tell"


def test_misuse_is_told_in_setup(tmp_path, stage1):
    with pytest.raises(MisconfigurationException, match=r"on_not_loaded='ignore'.*raise"):
        fit(tmp_path, [PretrainLoadVerifier(stage1, on_not_loaded="ignore")])
    with pytest.raises(MisconfigurationException, match="its parts are: encoder, head"):
        fit(tmp_path, [PretrainLoadVerifier(stage1, module="encodr")])


def test_a_resumed_fit_is_resumed(tmp_path, stage1):
    module = seeded(Toy, 3)
    load(module, stage1)
    fit(tmp_path / "a", [], module, epochs=1).save_checkpoint(tmp_path / "last.ckpt")
    callback = PretrainLoadVerifier(stage1, module="encoder")
    trainer(tmp_path / "b", [callback], epochs=2).fit(
        seeded(Toy, 4), loader(), loader(), ckpt_path=str(tmp_path / "last.ckpt")
    )
    assert callback.verification.facts.verdict == "resumed"


@pytest.mark.filterwarnings("ignore:Pretrained weights:RuntimeWarning")
def test_drift_is_recorded_each_epoch(tmp_path, stage1):
    module = seeded(Toy, 3)
    load(module, stage1)
    run = fit(tmp_path, [PretrainLoadVerifier(stage1, module="encoder")], module, epochs=3)
    drift = Observer.find(run).run.recorder.history().series("pretrain/relative_l2").values
    assert len(drift) == 3
    assert 0 < drift[0] < drift[2]


@pytest.mark.filterwarnings("ignore:Pretrained weights:RuntimeWarning")
def test_an_optimizer_that_lightning_does_not_see_is_judged_after_the_epoch(tmp_path, stage1):
    class Raw(Toy):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers(use_pl_optimizer=False)
            optimizer.zero_grad()
            super().training_step(batch, batch_idx).backward()
            optimizer.step()

    module = seeded(Raw, 3)
    module.lr = 1e-6
    load(module, stage1)
    assert verdict_of(tmp_path, module, stage1).verdict == "loaded, since trained or rounded"


def test_both_packages_and_pickling(tmp_path, stage1):
    class Old(pytorch_lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.encoder = Toy().encoder
            load(self, stage1)

        def training_step(self, batch, batch_idx):
            return self.encoder(batch[0]).pow(2).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    callback = pickle.loads(pickle.dumps(PretrainLoadVerifier(stage1)))
    trainer(tmp_path, [callback], epochs=1, cls=pytorch_lightning.Trainer).fit(Old(), loader())
    assert callback.verification.facts.verdict == "loaded"


def test_without_a_checkpoint_a_fresh_model_is_said_to_be_fresh(tmp_path):
    callback = PretrainLoadVerifier()
    fit(tmp_path, [callback], seeded(Toy, 3), epochs=1)
    assert callback.verification.facts.looks_fresh is True


def broken(*args, **kwargs):
    raise ZeroDivisionError("injected")


@pytest.mark.parametrize("place", ["record_pretraining", "message", "warn", "LoadVerification.verify"])
@pytest.mark.parametrize("action", ["warn", "stop"])
def test_a_fault_of_ours_around_the_verdict_does_not_end_the_run(tmp_path, monkeypatch, stage1, place, action):
    class Injects(Toy):
        def on_train_start(self):
            owner, _, name = place.rpartition(".")
            monkeypatch.setattr(getattr(pretrain, owner) if owner else pretrain, name, broken)

    callback = PretrainLoadVerifier(stage1, module="encoder", on_not_loaded=action)
    with pytest.warns(RuntimeWarning, match="injected") as told:
        run = fit(tmp_path, [callback], seeded(Injects, 3), epochs=3)
    assert run.global_step == (1 if action == "stop" and place != "LoadVerification.verify" else 18)
    if place == "LoadVerification.verify":
        assert sum("Training goes on without this check" in str(warning.message) for warning in told) == 1


def test_a_fault_in_the_record_does_not_hide_that_nothing_was_loaded(tmp_path, monkeypatch, stage1):
    class Injects(Toy):
        def on_train_start(self):
            monkeypatch.setattr(pretrain, "record_pretraining", broken)

    with pytest.raises(WeightsNotLoadedError), pytest.warns(RuntimeWarning, match="injected"):
        fit(tmp_path, [PretrainLoadVerifier(stage1, module="encoder")], seeded(Injects, 3))


def test_a_terminal_that_fails_costs_nothing(tmp_path, monkeypatch, stage1):
    class Rich:
        class progress:  # noqa: N801  (as Lightning calls it)
            class live:  # noqa: N801
                is_started = True

            class console:  # noqa: N801
                print = staticmethod(broken)

    module = seeded(Toy, 3)
    load(module, stage1)
    monkeypatch.setattr(Trainer, "progress_bar_callback", Rich)
    callback = PretrainLoadVerifier(stage1, module="encoder")
    run = fit(tmp_path, [callback], module)
    assert (callback.verification.facts.verdict, run.global_step) == ("loaded", 12)
