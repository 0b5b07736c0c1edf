"""A fault of ours, or of the disk, never ends a run and never changes it."""

import errno
import warnings

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from toys import Toy, fit, loader

from lightning_diag import all_callbacks, diagnosis_of
from lightning_diag.callbacks.observer import Observer
from lightning_diag.callbacks.parts import default_parts
from lightning_diag.callbacks.parts.stopping import StoppingPart
from lightning_diag.callbacks.run import HOOKS, Part

pytestmark = pytest.mark.reliability

OVERRIDDEN = [
    (type(part).__name__, hook)
    for part in default_parts()
    for hook in HOOKS
    if getattr(type(part), hook) is not getattr(Part, hook)
]


def weights(tmp_path, callbacks, samples=60):
    torch.manual_seed(5)
    run = fit(tmp_path, callbacks, Toy(dropout=0.2), epochs=2, train=loader(samples, 1))
    return run, run.lightning_module.state_dict()


@pytest.mark.parametrize(("part", "hook"), OVERRIDDEN)
def test_a_fault_in_any_hook_leaves_the_training_as_it_is(tmp_path, monkeypatch, part, hook):
    samples = 300 if hook == "along" else 60  # which is called once the steps are alike
    _, expected = weights(tmp_path / "bare", [], samples)
    cls = next(type(p) for p in default_parts() if type(p).__name__ == part)

    def fail(*_, **__):
        raise ZeroDivisionError("injected")

    monkeypatch.setattr(cls, hook, fail)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run, found = weights(tmp_path / "watched", all_callbacks(), samples)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    told = [w for w in caught if "injected" in str(w.message)]
    stopper = issubclass(cls, StoppingPart)
    assert len(told) == 1 or (stopper and not told)
    assert any("injected" in note for note in diagnosis_of(run).history.context.notes) or not told
    if part not in ("OutputPart", "TimelinePart") and hook != "close":
        assert (tmp_path / "watched" / "diagnosis.md").exists()
    if (part, hook) != ("StagePart", "close"):  # nothing else gives the module its own step back
        assert "training_step" not in vars(run.lightning_module)


SAVING = [
    (type(part).__name__, hook)
    for part in default_parts()
    for hook in ("set_up", "state_dict", "load_state_dict")
    if getattr(type(part), hook) is not getattr(Part, hook)
]


@pytest.mark.parametrize(("part", "hook"), SAVING)
def test_a_fault_around_a_checkpoint_leaves_checkpoint_and_training_as_they_are(tmp_path, monkeypatch, part, hook):
    def run(folder, callbacks, **more):
        torch.manual_seed(5)
        keep = ModelCheckpoint(folder, filename="last", every_n_train_steps=8, enable_version_counter=False)
        return fit(folder, [*callbacks, keep], Toy(), epochs=2, enable_checkpointing=True, **more)

    expected = run(tmp_path / "bare", []).lightning_module.state_dict()
    cls = next(type(p) for p in default_parts() if type(p).__name__ == part)

    def fail(*_, **__):
        raise ZeroDivisionError("injected")

    monkeypatch.setattr(cls, hook, fail)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        found = run(tmp_path / "watched", all_callbacks()).lightning_module.state_dict()
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        again = run(tmp_path / "again", all_callbacks(), ckpt_path=tmp_path / "watched" / "last.ckpt")
    assert (tmp_path / "again" / "diagnosis.md").exists() == (part != "OutputPart")
    notes = diagnosis_of(again).history.context.notes
    unused = hook == "state_dict" or part == "StoppingPart"  # (without restore_best it has no state to take up)
    assert unused or any("injected" in note for note in notes)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("place", ["lightning_diag.store.append_epoch", "lightning_diag.output.replace_file"])
def test_a_disk_that_fails_gets_one_warning(tmp_path, monkeypatch, number, place):
    _, expected = weights(tmp_path / "bare", [])

    def fail(*_, **__):
        raise OSError(number, "injected")

    monkeypatch.setattr(place, fail)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run, found = weights(tmp_path / "watched", all_callbacks())
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert len([w for w in caught if "cannot write" in str(w.message)]) == 1
    assert len(diagnosis_of(run).history.epochs) == 2
    assert Observer.find(run) is not None
