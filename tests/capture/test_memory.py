"""What the capture holds of a step which would have freed it."""

import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_diag.capture import StepCapture, interception
from lightning_diag.capture.holding import LAST, MOST_BYTES, Holding
from lightning_diag.capture.taps import Visit
from lightning_diag.signals.visits import VisitWatch

WIDTH, ROWS = 1024, 2048
BYTES = 4 * WIDTH * ROWS
LAYERS = 4 * MOST_BYTES // BYTES


class Deep(nn.Module):
    """Counts at the end of each step how many of its activations live; each is 8 MiB."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.LeakyReLU() for _ in range(LAYERS))
        self.out = nn.Linear(WIDTH, 3)
        self.alive = []

    def block(self, hidden):
        for layer in self.layers:
            hidden = layer(hidden)
            self.refs.append(weakref.ref(hidden))
        return hidden

    def training_step(self, batch, batch_idx):
        self.refs = []
        logits = self.out(self.block(batch[0]))
        loss = F.cross_entropy(logits.view(-1, 3), batch[1])
        self.alive.append(sum(ref() is not None for ref in self.refs))
        return loss

    validation_step = training_step


class Checkpointed(Deep):
    def training_step(self, batch, batch_idx):
        self.refs = []
        hidden = checkpoint(self.block, batch[0].requires_grad_(), use_reentrant=False)
        loss = F.cross_entropy(self.out(hidden), batch[1])
        self.alive.append(sum(ref() is not None for ref in self.refs))
        return loss


def run(module, stage, steps=3):
    batch = torch.randn(ROWS, WIDTH), torch.arange(ROWS) % 3
    capture, seen = StepCapture(module), []
    capture.install()
    for index in range(steps):
        capture.begin(stage, batch, index)
        seen.append(
            capture.end(getattr(module, {"train": "training_step", "val": "validation_step"}[stage])(batch, index))
        )
    capture.remove()
    assert capture.faults.first is None
    return seen


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_validation_does_not_hold_the_activations_that_it_frees(mode):
    module = Deep()
    with mode():
        seen = run(module, "val")
    assert [s.task for s in seen] == ["multiclass"] * 3
    assert module.alive[-1] == 0
    assert max(module.alive) <= max(MOST_BYTES // BYTES, LAST) + 1


def test_activations_that_are_recomputed_are_freed():
    module = Checkpointed()
    seen = run(module, "train")
    assert [s.task for s in seen] == ["multiclass"] * 3
    assert max(module.alive) <= max(MOST_BYTES // BYTES, LAST) + 1


def test_what_the_step_keeps_alive_is_found_again_at_its_end():
    holding, visits = Holding(), []
    kept = torch.empty(ROWS, WIDTH)
    holding.begin([])
    for index in range(LAYERS):
        output = kept if index == 1 else torch.empty(ROWS, WIDTH)
        visits.append(Visit(f"layer{index}", "module", (visits[-1].output,) if visits else (), {}, output))
        holding.add(visits[-1])
        del output
    assert visits[1].output is None
    holding.end()
    assert visits[1].output is kept
    assert visits[2].args == (kept,)
    assert [visit.name for visit in visits if visit.output is None] == [
        f"layer{n}" for n in range(LAYERS - MOST_BYTES // BYTES) if n != 1
    ]


def test_the_probe_does_not_hold_activations_either():
    module, batch = Deep().requires_grad_(requires_grad=False), (torch.randn(ROWS, WIDTH), torch.arange(ROWS) % 3)
    watch = VisitWatch(module)
    module.training_step(batch, 0)
    assert watch.remove()[-1].name == "out"
    assert module.alive[0] <= max(MOST_BYTES // BYTES, LAST) + 1


class Heads(nn.Module):
    """Two heads; the first is read. Counts how many of the logits live when the step ends."""

    def __init__(self):
        super().__init__()
        self.main, self.aux = nn.Linear(4, 3), nn.Linear(4, 2)
        self.alive = []

    def training_step(self, batch, batch_idx):
        x, y, z = batch
        logits, aux = self.main(x), self.aux(x)
        F.cross_entropy(logits, y).backward()
        F.cross_entropy(aux, z).backward()
        refs = [weakref.ref(logits), weakref.ref(aux)]
        del logits, aux
        self.alive.append([ref() is not None for ref in refs])


def feed(module, batch, steps=4):
    capture, seen = StepCapture(module), []
    capture.install()
    for index in range(steps):
        capture.begin("train", batch, index)
        seen.append(capture.end(module.training_step(batch, index)))
    capture.remove()
    assert capture.faults.first is None
    return seen, capture.facts("train")


def test_a_loss_call_that_is_not_read_holds_nothing():
    module = Heads()
    seen, _ = feed(module, (torch.randn(12, 4), torch.arange(12) % 3, torch.arange(12) // 2 % 2))
    assert [(s.task, s.num_classes) for s in seen] == [("multiclass", 3)] * 4
    assert module.alive[-1] == [True, False]


class MicroBatches(Heads):
    """Sixteen losses of one head, each with its own backward pass."""

    def training_step(self, batch, batch_idx):
        refs = []
        for x, y in zip(*(part.split(2) for part in batch), strict=True):
            logits = self.main(x)
            F.cross_entropy(logits, y).backward()
            refs.append(weakref.ref(logits))
            del logits
        self.alive.append(sum(ref() is not None for ref in refs))


@pytest.mark.parametrize(("scores", "read"), [(2**26, [16] * 4), (20, [8, 8, 4, 4])])
def test_large_pieces_of_a_loop_are_let_go(monkeypatch, scores, read):
    """Those that are held are read, and the report says how many more there were."""
    monkeypatch.setattr(interception, "HELD_SCORES", scores)
    module = MicroBatches()
    batch = torch.randn(32, 4), torch.arange(32) % 3
    seen, facts = feed(module, batch)
    assert module.alive == [16, 16, *read[2:]]  # outputs as small as these are held while calibrating
    assert [len(s.target) for s in seen] == [2 * n for n in read]
    assert [s.partial for s in seen] == [n < 16 for n in read]
    assert all(torch.equal(s.target, batch[1][: len(s.target)]) for s in seen)
    assert ("12" in facts.source) is (scores == 20)


def test_an_extractor_sees_all_calls(monkeypatch):
    monkeypatch.setattr(interception, "HELD_SCORES", 20)
    module, seen = MicroBatches(), []
    capture = StepCapture(module, extractor=lambda step: seen.append(len(step.seen)))
    capture.install()
    for index in range(3):
        capture.begin("train", (torch.randn(32, 4), torch.arange(32) % 3), index)
        module.training_step((torch.randn(32, 4), torch.arange(32) % 3), index)
        capture.end(None)
    capture.remove()
    assert seen == [16] * 3
