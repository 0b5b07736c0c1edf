"""A log without weight updates: a loss that has levelled is no learning rate that is too low."""

import pytest

from lightning_diag.history import EpochRecord, OptimFacts, RunContext, RunHistory
from lightning_diag.rules.learning_rate_too_low import LearningRateTooLow


def log(losses):
    records = tuple(EpochRecord(epoch=e, values={"train/loss": v}) for e, v in enumerate(losses))
    return RunHistory(context=RunContext(task="multiclass", classes=10, optim=OptimFacts()), epochs=records)


@pytest.mark.parametrize("epochs", [40, 400])
def test_a_plateau_is_none(epochs):
    levelled = [1.87 + 0.09 * 0.8**e - 1e-6 * e for e in range(epochs)]
    assert LearningRateTooLow().check(log(levelled)) is None


def test_a_steady_crawl_is_one():
    crawl = [2.30 - 0.002 * e for e in range(40)]
    finding = LearningRateTooLow().check(log(crawl))
    assert finding is not None
    assert finding.code == "LD103"
