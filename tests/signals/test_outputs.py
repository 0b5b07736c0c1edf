import pytest
import torch

from lightning_diag.signals.outputs import Outputs, OutputWatch

LOGITS = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))


def read(scores, kind):
    watch = OutputWatch()
    for _ in range(6):
        watch.step(scores, kind, 1)
    return watch.read()


def test_logits_are_not_probabilities_and_probabilities_are():
    assert read(LOGITS, "logits") == Outputs(are_probabilities=False)
    assert read(LOGITS.softmax(1), "logits") == Outputs(are_probabilities=True)
    assert read(LOGITS.log_softmax(1), "logits") == Outputs(are_probabilities=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_axis_of_log_probabilities_is_seen(dtype):
    assert read(LOGITS.log_softmax(1).to(dtype), "log_probs").class_axis_ok is True
    assert read(LOGITS.log_softmax(0).to(dtype), "log_probs").class_axis_ok is False
    assert read(LOGITS.to(dtype), "log_probs").class_axis_ok is None


def test_nothing_seen_says_nothing():
    assert OutputWatch().read() == Outputs()
    assert read(torch.randn(4), "logits") == Outputs()
    assert read(torch.full((4, 3), torch.nan), "logits") == Outputs(are_probabilities=False)


def bounded(steps):
    watch = OutputWatch()
    for values in steps:
        watch.widen(values)
    return watch.read().are_probabilities


def test_a_sigmoid_before_a_loss_that_wants_logits_is_seen():
    raw = [torch.randn(32, 1, generator=torch.Generator().manual_seed(i)) for i in range(6)]
    assert bounded([torch.sigmoid(r) for r in raw]) is True
    assert bounded(raw) is False
    assert bounded([0.1 * r.abs() for r in raw]) is False, "small positive logits do not begin around one half"
    assert bounded([torch.sigmoid(r) for r in raw[:3]]) is False, "too few steps"
    assert bounded([]) is None
