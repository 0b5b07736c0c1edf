"""Modes of dropout and normalisation layers per stage."""

import pytest
from torch import nn

from lightning_diag.history import Count
from lightning_diag.signals.modes import ModeSignals


def look(module, stage, *, training):
    signals = ModeSignals(module)
    module.train(training)
    signals.start()
    for _ in range(5):
        signals.step(stage)
    return signals.count(stage)


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(4)])
def test_each_stage_wants_its_mode(layer):
    module = nn.Sequential(nn.Linear(4, 4), layer)
    assert look(module, "train", training=True) == Count(k=2, n=2)
    assert look(module, "train", training=False) == Count(k=0, n=2)
    assert look(module, "val", training=False) == Count(k=2, n=2)
    assert look(module, "val", training=True) == Count(k=0, n=2)


def test_a_plain_module_is_judged_by_its_own_flag():
    assert look(nn.Linear(4, 4), "train", training=False) == Count(k=0, n=2)


def test_frozen_normalisation_in_eval_mode_is_meant():
    module = nn.ModuleDict({"backbone": nn.BatchNorm1d(4).requires_grad_(False), "head": nn.Dropout(0.1)})
    signals = ModeSignals(module)
    module.train()
    module["backbone"].eval()
    signals.start()
    signals.step("train")
    assert signals.count("train") == Count(k=1, n=1)


def test_dropout_of_nothing_is_not_watched():
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.0), nn.BatchNorm1d(4))
    signals = ModeSignals(module)
    module.eval()
    module[1].train()
    signals.start()
    signals.step("val")
    assert signals.count("val") == Count(k=1, n=1)


def test_not_looked_at_is_unknown():
    assert ModeSignals(nn.Linear(2, 2)).count("val") is None
