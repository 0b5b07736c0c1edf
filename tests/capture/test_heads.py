"""One head per run: the same in all stages, and never the labels of two tasks in one table."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_diag.capture import StepCapture
from tests.capture.styles.base import BATCH, CLASSES, FEATURES, REGISTRY, Style, classes, floats, xy
from tests.capture.styles.multiple import Base, Both, LongDecoder, LoopOverPositions, LossInChunks, SecondHeadWeighsMore
from tests.capture.test_styles import run


def style(module, batch=xy):
    return Style(module.__name__, module, batch, pair=lambda m, b, s: None)


def test_a_validation_that_came_first_follows_training():
    module, g = SecondHeadWeighsMore(), torch.Generator().manual_seed(0)
    module.log = lambda *_: None
    capture = StepCapture(module)
    capture.install()

    def step(stage, index):
        batch = {"x": floats(g), "fine": classes(g), "coarse": classes(g, high=2)}
        capture.begin(stage, batch, index)
        with torch.set_grad_enabled(stage == "train"):
            result = getattr(module, "training_step" if stage == "train" else "validation_step")(batch, index)
        return capture.end(result).num_classes

    assert [step("val", i) for i in range(3)] == [CLASSES] * 3  # nothing tells yet which head counts
    assert [step("train", i) for i in range(4)] == [2] * 4
    assert [step("val", i) for i in range(3)] == [2] * 3
    capture.remove()


class InTurn(Both):
    """Two tasks on alternate steps."""

    def __init__(self):
        super().__init__()
        self.second, self.turn = nn.Linear(FEATURES, 3), 0

    def step(self, batch):
        x, y = batch
        self.turn += 1
        return F.cross_entropy(self.second(x), y % 3) if self.turn % 2 else F.cross_entropy(self(x), y)


class InTurnYesNo(InTurn):
    def step(self, batch):
        x, y = batch
        self.turn += 1
        if self.turn % 2:
            return F.cross_entropy(self(x), y)
        return F.binary_cross_entropy_with_logits(self.second(x)[:, 0], (y > 2).float())


@pytest.mark.parametrize("module", [InTurn, InTurnYesNo])
def test_tasks_in_turn_are_not_counted_in_one_table(module):
    _, observer = run(style(module))
    for stage in ("train", "val"):
        counted = [(s.task, s.num_classes) for where, s, _ in observer.seen if where == stage and s.counts]
        rest = [s for where, s, _ in observer.seen if where == stage and not s.counts]
        assert len(set(counted)) == 1, counted
        assert 3 <= len(counted) <= 4
        assert rest
        assert all(s.loss is not None for s in rest)
        assert any("classes)" in head for head in observer.capture.facts(stage).heads)
    tables = {(s.task, s.num_classes) for _, s, _ in observer.seen if s.counts}
    assert len(tables) == 1  # the same in both stages


class SoftNowAndThen(Base):
    """CutMix on every other step: fractions and classes for one loss."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        if batch_idx % 2:
            y = (F.one_hot(y, CLASSES) + F.one_hot(y.flip(0), CLASSES)) / 2
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])


def test_soft_targets_now_and_then_are_no_classes():
    _, observer = run(style(SoftNowAndThen))
    for _, seen, _ in observer.seen:
        assert seen.task == ("soft" if seen.target.is_floating_point() else "multiclass")


class Renamed(Both):
    """The classes are renamed in the step: no entry of the batch is the target."""

    def __init__(self):
        super().__init__()
        self.register_buffer("order", torch.tensor([3, 0, 4, 1, 2]))

    def step(self, batch):
        return F.cross_entropy(self(batch[0]), self.order[batch[1]])


def test_targets_that_are_all_alike_at_first_are_looked_at_again():
    made = []

    def batch(g, stage):
        made.append(stage)
        labels = classes(g)
        return floats(g), labels[:1].repeat(BATCH) if len(made) in (1, 2, 3, 4, 5) else labels

    module = Renamed()
    capture, g = StepCapture(module), torch.Generator().manual_seed(0)
    capture.install()
    tasks = []
    for index in range(12):
        given = batch(g, "train")
        capture.begin("train", given, index)
        tasks.append(capture.end(module.training_step(given, index)).task)
    capture.remove()
    assert tasks == ["other"] * 8 + ["multiclass"] * 4  # looked at again at steps that are powers of two


@pytest.mark.parametrize(("module", "calls"), [(LoopOverPositions, 4), (LongDecoder, 100), (LossInChunks, 1)])
def test_the_loss_of_a_loop_is_that_over_all_its_positions(module, calls):
    given, g = REGISTRY[module.__name__], torch.Generator().manual_seed(0)
    module = given.module()
    capture = StepCapture(module)
    capture.install()
    for index in range(4):
        batch = given.batch(g, "train")
        capture.begin("train", batch, index)
        returned = module.training_step(batch, index)
        seen = capture.end(returned)
        loss = seen.loss / len(seen.target) if seen.reduction == "sum" else seen.loss
        assert torch.isclose(loss, returned.detach() / calls, atol=1e-6)
    capture.remove()


def test_calls_that_are_too_many_to_be_kept_are_told(monkeypatch):
    monkeypatch.setattr("lightning_diag.capture.interception.MOST_CALLS", 64)
    _, observer = run(REGISTRY["LongDecoder"])
    assert all(seen.partial for _, seen, _ in observer.seen)
    assert "36 loss calls more" in observer.capture.facts("val").source
