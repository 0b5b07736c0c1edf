"""Runs with one fault: each is accepted by torch, and the call checks name what shows in the arguments."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lightning_diag.demo.lines import FAULTS, HEALTHY, line_run
from lightning_diag.errors import ConfigError
from lightning_diag.metrics.ctc import CTCCollector

SHOWS = {
    "raw-scores": "raw-scores",
    "softmax": "probabilities",
    "wrong-axis": "wrong-axis",
    "reshaped": "axes-mixed",
    "blank-of-loss": "blank-in-targets",
    "blank-in-targets": "blank-in-targets",
    "blank-of-decoder": "decoder-blank",
    "padding-counted": "padding-counted",
    "lengths-halved": "lengths-wrong",
    "lengths-quartered": "lengths-wrong",
    "lengths-eighth": "lengths-wrong",
    "lengths-constant": "lengths-wrong",
    "infeasible": "infeasible",
    "infeasible-hidden": "infeasible",
}
"""Fault -> code word that the first calls must show; the other faults do not show in the arguments."""


def words(name, monkeypatch, batches=3):
    """What the call checks say of the first training steps of a run."""
    run = line_run(name, train_lines=12 * batches, val_lines=1, batch_size=12)
    collector = CTCCollector("train", decoder_blank=run.decoder_blank)
    real = F.ctc_loss

    def watched(log_probs, targets, frames, lengths, **options):
        loss = real(log_probs, targets, frames, lengths, **options)
        collector.observe(log_probs, targets, frames, lengths, loss=loss, **options)
        return loss

    monkeypatch.setattr(F, "ctc_loss", watched)
    module = run.module()
    module.log = lambda *a, **k: None
    optimizer = module.configure_optimizers()
    with torch.no_grad():  # the arguments of the first calls are enough
        for i, batch in enumerate(run.loaders()[0]):
            module.training_step(batch, i)
    collector.checks.finish()
    assert optimizer.param_groups
    return set(collector.checks.found)


@pytest.mark.parametrize("name", [n for n in FAULTS if "pairs" not in n])
def test_first_calls_show_the_fault(name, monkeypatch):
    found = words(name, monkeypatch)
    assert SHOWS[name] in found if name in SHOWS else not found


@pytest.mark.parametrize("name", [n for n in HEALTHY if "pairs" not in n])
def test_first_calls_of_a_healthy_run_are_quiet(name, monkeypatch):
    assert words(name, monkeypatch) == set()


def test_an_unknown_run_is_refused():
    with pytest.raises(ConfigError, match="No line run is called"):
        line_run("nonsense")
