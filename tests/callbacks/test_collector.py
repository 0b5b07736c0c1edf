"""Which loss stands for a step."""

import pytest
import torch

from lightning_diag.callbacks.collector import StageCollector
from lightning_diag.callbacks.options import Options
from lightning_diag.capture.observation import Observation


@pytest.mark.parametrize(("task", "expected"), [("mixup", 0.5), ("multiclass", 2.0)])
def test_a_call_that_is_part_of_the_loss_does_not_stand_for_it(task, expected):
    """Mixup weighs two calls: the one against the first targets alone jumps with the weights of each batch."""
    observation = Observation(
        task=task, preds=torch.randn(4, 3), kind="logits", target=torch.tensor([0, 1, 2, 0]), num_classes=3, loss=torch.tensor(2.0)
    )  # fmt: skip
    collector = StageCollector("train", Options(), with_ctc=False)
    collector.observe(observation, None, torch.tensor(0.5))
    assert collector.values()["train/loss"] == pytest.approx(expected)
