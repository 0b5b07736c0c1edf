"""The user's own function: the five examples of the documentation, and what it may not return."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import nn
from toys import blobs, fit

from lightning_diag import GapMonitor
from lightning_diag.capture import Pair, StepCapture
from lightning_diag.capture.extractor import Extractor, as_pair, form_of
from lightning_diag.capture.extractor import observe as observed
from lightning_diag.errors import ConfigError
from lightning_diag.store import read_history

DOCS = Path(__file__).parents[2] / "docs" / "capture.md"


class Net(nn.Module):
    """Keeps, returns and compares; three classes, a second head of two."""

    def __init__(self):
        super().__init__()
        self.net, self.second = nn.Linear(4, 3), nn.Linear(4, 2)

    def training_step(self, batch, batch_idx):
        logits = self.last_logits = self.net(batch["x"])
        loss = F.cross_entropy(logits, batch["label"]) + F.cross_entropy(self.second(batch["x"]), batch["sex"])
        frames = logits.log_softmax(-1)[:, None].expand(-1, 2, -1)
        return {
            "loss": loss,
            "logits": logits,
            "labels": batch.pop("label"),
            "path": logits.argmax(1)[None],
            "log_probs": frames,
            "frames": torch.tensor([6, 5]),
        }


def batch():
    x = torch.randn(6, 4)
    words = {"tokens": torch.tensor([[1, 2], [2, 1]]), "token_lengths": torch.tensor([2, 1])}
    return {"x": x, "label": torch.arange(6) % 3, "sex": torch.arange(6) % 2, "tags": torch.zeros(1, 6).long(), **words}


def examples():
    """The functions of the documentation, in order."""
    block = re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL).group(1)
    parts = re.split(r"\n# \d\. .*\n", block)
    found = []
    for part in parts[1:]:
        namespace = {"Pair": Pair}
        exec(compile(part, str(DOCS), "exec"), namespace)
        found.append(namespace["extractor"])
    return found


def observe(extractor, steps=1):
    module = Net()
    capture = StepCapture(module, extractor=extractor)
    capture.install()
    for index in range(steps):
        given = batch()
        capture.begin("train", given, index)
        result = module.training_step(given, index)
        seen = capture.end(result)
    capture.remove()
    return capture, seen, result


def test_there_are_five_examples_and_each_is_an_extractor():
    assert len(examples()) == 5
    assert all(isinstance(example, Extractor) for example in examples())


@pytest.mark.parametrize(
    ("index", "task", "kind", "shape"),
    [
        (0, "multiclass", "logits", (6, 3)),
        (1, "multiclass", "logits", (6, 3)),
        (2, "multiclass", "logits", (6, 2)),
        (3, "dense", "labels", (1, 6)),
        (4, "ctc", "log_probs", (6, 2, 3)),
    ],
)
def test_examples_of_the_documentation(index, task, kind, shape):
    capture, seen, result = observe(examples()[index])
    assert capture.faults.first is None
    assert (seen.task, seen.kind, tuple(seen.preds.shape)) == (task, kind, shape)
    assert not seen.preds.requires_grad
    if index < 2:
        assert torch.equal(seen.target, result["labels"])
        assert capture.facts("train").source == "extractor of the user"
    if index == 4:
        assert seen.input_lengths.tolist() == [6, 5]
        assert seen.target_lengths.tolist() == [2, 1]


def test_none_skips_a_step():
    capture, seen, _ = observe(lambda step: None)
    assert seen is None
    assert capture.faults.first is None


def test_a_wrong_return_value_says_what_to_return():
    capture, seen, _ = observe(lambda step: 3)
    assert seen is None
    assert "expected (preds, target)" in str(capture.faults.first)
    assert "expected (preds, target)" in capture.facts("train").problem


def test_an_error_of_the_extractor_does_not_end_the_run():
    capture, _, _ = observe(lambda step: step.outputs["nothing"], steps=5)
    assert isinstance(capture.faults.first, KeyError)


def test_unknown_task_is_refused_where_it_is_written():
    with pytest.raises(ValueError, match="expected one of multiclass"):
        Pair(preds=torch.zeros(1), target=torch.zeros(1), task="clasification")


def test_ctc_predictions_in_another_order_are_refused_in_a_sentence():
    lengths = torch.tensor([5, 5])
    scores = torch.zeros(2, 5, 3)  # lines first
    given = {"target": torch.ones(2, 1), "input_lengths": lengths, "target_lengths": torch.ones(2).long()}
    pair = Pair(preds=scores, task="ctc", **given)
    with pytest.raises(ValueError, match=r"expected \(frames, lines, classes\) with one entry per line"):
        observed(pair, form_of(pair))
    assert observed(replace(pair, preds=scores.transpose(0, 1)), form_of(pair)).samples == 2


class LossOnlyInTraining(LightningModule):
    """Training makes a loss call; validation hands out what only the user can read."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 3)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        with torch.no_grad():
            answers = F.linear(batch[0], self.net.weight, self.net.bias)  # past the layer that training is read from
            return {"answers": answers.numpy(), "labels": batch[1]}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def read_answers(step):
    return step.outputs["answers"], step.outputs["labels"]


def test_an_extractor_for_one_stage_leaves_the_others_as_they_are(tmp_path):
    model = LossOnlyInTraining()
    fit(tmp_path, [GapMonitor(dirpath=tmp_path, extractor={"val": read_answers})], model)
    history = read_history(tmp_path / "history.jsonl")
    source = {facts.stage: facts.source for facts in history.context.capture}
    assert source == {"train": "loss call cross_entropy", "val": "extractor of the user"}
    x, y = blobs(31, 2)
    last = history.epochs[-1].stages
    assert last["val"].correct.k == int((model.net(x).argmax(1) == y).sum())
    assert last["train"].correct.n == 60
    assert history.context.settings["extractor"] == "val: read_answers"


def test_the_advice_for_one_stage_does_not_switch_the_other_off(tmp_path):
    class Hidden(LossOnlyInTraining):
        def validation_step(self, batch, batch_idx):
            self.log("val_acc", torch.tensor(0.5))

    fit(tmp_path, [GapMonitor(dirpath=tmp_path)], Hidden())
    facts = {f.stage: f for f in read_history(tmp_path / "history.jsonl").context.capture}
    assert facts["train"].source
    assert facts["train"].remedy is None
    assert 'extractor={"val": lambda step:' in facts["val"].remedy


@pytest.mark.parametrize("given", [3, {"validation": read_answers}, {"val": "logits"}])
def test_an_extractor_that_can_never_be_asked_is_refused(given):
    with pytest.raises(ConfigError, match="expected a function of the step, or functions by stage"):
        GapMonitor(extractor=given)


def test_the_advice_names_what_the_step_returned_arrays_too(tmp_path):
    fit(tmp_path / "without", [GapMonitor(dirpath=tmp_path / "without")], LossOnlyInTraining())
    facts = {f.stage: f for f in read_history(tmp_path / "without" / "history.jsonl").context.capture}
    advice = facts["val"].remedy
    assert advice.startswith("If `step.outputs['answers']` holds the predictions, give `GapMonitor(extractor=")
    assert (
        "the step returned `step.outputs['answers']` float32 (10, 3), `step.outputs['labels']` int64 (10,)." in advice
    )

    given = eval(re.search(r"extractor=(\{.*?\})\)`", advice).group(1))
    fit(tmp_path / "with", [GapMonitor(dirpath=tmp_path / "with", extractor=given)], LossOnlyInTraining())
    last = read_history(tmp_path / "with" / "history.jsonl").epochs[-1].stages
    assert (last["val"].correct.n, last["train"].correct.n) == (31, 60)


def test_what_is_no_tensor_is_named():
    with pytest.raises(TypeError, match="preds is of type list: expected a tensor or a NumPy array"):
        as_pair(([1, 2], torch.tensor([1, 2])))
