import pytest
import torch
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim import SGD, lr_scheduler

from lightning_diag.signals.schedule import planned_rates

MAKERS = {
    "step": lambda o: lr_scheduler.StepLR(o, 3, 0.1),
    "multi": lambda o: lr_scheduler.MultiStepLR(o, [2, 5], 0.5),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 12),
    "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4),
    "onecycle": lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=12),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda k: 1 / (k + 1)),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "linear": lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=5),
    "sequential": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=4), lr_scheduler.CosineAnnealingLR(o, 8)], [4]
    ),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=3),
}


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.filterwarnings("ignore:To get the last learning rate")
@pytest.mark.filterwarnings("ignore:The epoch parameter in")
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("done", [0, 3])
def test_the_plan_is_what_the_scheduler_then_does(name, done):
    optimizer = SGD([torch.zeros(1)], lr=0.5, momentum=0.9)
    scheduler = MAKERS[name](optimizer)
    for _ in range(done):
        optimizer.step()
        scheduler.step()
    before = (scheduler.state_dict(), [dict(g) for g in optimizer.param_groups])
    planned = planned_rates(LRSchedulerConfig(scheduler), range(1, 9), steps_per_epoch=1)
    after = (scheduler.state_dict(), [dict(g) for g in optimizer.param_groups])
    assert str(before) == str(after)
    real = []
    for _ in range(8):
        optimizer.step()
        scheduler.step()
        real.append(optimizer.param_groups[0]["lr"])
    assert planned == pytest.approx(real)


def test_a_plateau_scheduler_has_no_plan():
    optimizer = SGD([torch.zeros(1)], lr=0.5)
    config = LRSchedulerConfig(lr_scheduler.ReduceLROnPlateau(optimizer))
    assert planned_rates(config, range(1, 4), steps_per_epoch=1) is None


def test_a_scheduler_stepped_per_step_is_read_at_epochs():
    optimizer = SGD([torch.zeros(1)], lr=0.5)
    config = LRSchedulerConfig(lr_scheduler.StepLR(optimizer, 10, 0.1), interval="step")
    assert planned_rates(config, [1, 2, 3], steps_per_epoch=5) == pytest.approx([0.5, 0.05, 0.05])
