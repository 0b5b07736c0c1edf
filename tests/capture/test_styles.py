"""Every style, in both stages: the captured pair is the true pair, and nothing of the module changed."""

import copy
import warnings

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from lightning_diag.capture import StepCapture
from tests.capture.styles import REGISTRY


class Observer(Callback):
    """Collects (stage, observation, true pair), compared right after the step, before the weights change."""

    def __init__(self, style=None, **options):
        self.style, self.options = style, options
        self.seen, self.batch, self.capture = [], None, None

    def on_fit_start(self, trainer, pl_module):
        self.capture = StepCapture(pl_module, consumer=self.consume, **self.options)
        self.module = pl_module
        self.capture.install()

    def consume(self, stage, seen, *_):
        if seen is None:
            return
        rng = torch.get_rng_state()
        truth = self.style.pair(self.module, self.batch, stage.partition(":")[0]) if self.style else None
        torch.set_rng_state(rng)
        seen.preds, seen.target = seen.preds.clone(), seen.target.clone()
        self.seen.append((stage, seen, truth))

    def _begin(self, stage, trainer, batch, batch_idx, dataloader_idx=0):
        self.batch = copy.copy(batch)
        self.capture.begin(stage, batch, batch_idx, dataloader_idx, enabled=not trainer.sanity_checking)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._begin("train", trainer, batch, batch_idx)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        assert self.capture.end(outputs) is None

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self._begin("val", trainer, batch, batch_idx, dataloader_idx)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.capture.end(outputs)

    def on_fit_end(self, trainer, pl_module):
        self.capture.remove()


MADE: dict[str, frozenset] = {}
"""Attributes that an instance of the style had before the fit."""


def run(style, **options):
    seed_everything(1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*torch.jit.*")
        module, observer = style.module(), Observer(style, **options)
    MADE[style.name] = frozenset(vars(module))
    trainer = Trainer(
        max_epochs=2,
        callbacks=[observer],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*torch.jit.*")
        trainer.fit(module, style.loader("train"), style.val_loaders())
    return module, observer


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_true_pair_in_both_stages(name):
    style = REGISTRY[name]
    module, observer = run(style)
    assert observer.capture.faults.first is None
    for stage in ("train", "val", "val:1")[: 1 + style.loaders]:
        task, source = style.expected(stage)
        facts = observer.capture.facts(stage)
        pairs = [(seen, truth) for where, seen, truth in observer.seen if where == stage]
        assert len(pairs) == 8 - (style.proof if stage == "train" else 0), facts
        for seen, (preds, target) in pairs:
            assert seen.task == task, facts
            assert torch.allclose(seen.preds.float(), preds.float(), atol=1e-6), facts
            assert torch.equal(seen.target.double(), target.double()), facts
        assert facts.source.startswith(source), facts
    assert not {"training_step", "validation_step"} & (vars(module).keys() - MADE[name])


def test_scripted_loss_is_named():
    _, observer = run(REGISTRY["ScriptedLoss"])
    assert "TorchScript" in observer.capture.facts("train").source
