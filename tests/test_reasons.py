"""Why something was not checked: each reason is true of the run that it is said of."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from toys import Toy, fit

from lightning_diag import GapMonitor, all_callbacks
from lightning_diag.callbacks.parts.data import DataPart
from lightning_diag.engine import diagnose
from lightning_diag.history import CaptureFacts, EpochRecord, RunContext, RunHistory, StageRecord
from lightning_diag.report import render_json, render_markdown
from lightning_diag.store import read_history
from tests.build import history

SERIES = {"train/loss": [1.0, 0.8, 0.7], "val/loss": [1.0, 0.9, 0.8]}


def reasons(run):
    return {outcome.code: outcome.reason for outcome in diagnose(run).not_checked}


def told(root):
    """The reasons in the record of a fit, and the codes that are called clear."""
    run = read_history(root / "history.jsonl")
    return run, reasons(run), {outcome.code for outcome in diagnose(run).clear}


class Segmentation(Toy):
    """Learns by a Dice loss written by hand, which no library function computes."""

    def __init__(self, outputs):
        super().__init__()
        self.encoder, self.head = nn.Identity(), nn.Conv2d(2, outputs, 1)

    def training_step(self, batch, batch_idx):
        scores, target = self(batch[0]), batch[1]
        if scores.shape[1] == 1:
            shares, there = scores.sigmoid()[:, 0], (target > 0).float()
        else:
            shares, there = scores.softmax(1), F.one_hot(target, 3).movedim(-1, 1).float()
        return 1 - 2 * (shares * there).sum() / (shares.sum() + there.sum() + 1)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))


class Answers(Toy):
    """Validates by answers alone, and names its accuracy in its own way."""

    def validation_step(self, batch, batch_idx):
        answers = self(batch[0]).argmax(1)
        self.log("top1/val", (answers == batch[1]).float().mean())
        return {"answers": answers, "target": batch[1]}


class OwnCTC(Toy):
    """Calls the operator itself, where no loss call is seen."""

    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.Identity(), nn.Linear(2, 5)

    def training_step(self, batch, batch_idx):
        rows = self(batch[0]).log_softmax(-1).transpose(0, 1)
        frames, tokens = (torch.full((len(batch[0]),), size) for size in (len(rows), batch[1].shape[1]))
        return torch.ops.aten.ctc_loss(rows, batch[1], frames, tokens, 0, 1, False)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))


class CTC(OwnCTC):
    def training_step(self, batch, batch_idx):
        rows = self(batch[0]).log_softmax(-1).transpose(0, 1)
        frames, tokens = (torch.full((len(batch[0]),), size) for size in (len(rows), batch[1].shape[1]))
        return F.ctc_loss(rows, batch[1], frames, tokens)


def images(n, seed):
    x = torch.randn(n, 2, 6, 6, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()), 8)


def lines(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 12, 2, generator=generator)
    return DataLoader(TensorDataset(x, torch.randint(1, 5, (n, 3), generator=generator)), 8)


def test_a_dice_loss_is_no_loss_call_and_no_cross_entropy(tmp_path):
    fit(tmp_path, all_callbacks(), Segmentation(3), train=images(32, 1), val=images(16, 2))
    run, why, _ = told(tmp_path)
    assert run.context.task == "dense"
    assert run.context.model.loss_name is None, "where predictions were found is not the name of the loss"
    assert why["LD306"] == why["LD704"] == "no loss call was read: predictions and targets were found without one"
    assert why["LD303"] == "a sample has a label at each position, so that samples are not counted by class"


@pytest.mark.parametrize(
    ("module", "loader"), [(lambda: Segmentation(1), images), (OwnCTC, lines)], ids=["dice of one map", "ctc by hand"]
)
def test_what_was_not_read_is_not_said_to_be_absent(tmp_path, module, loader):
    """Whether the run has a CTC loss, class labels or class weights is not known."""
    fit(tmp_path, all_callbacks(), module(), train=loader(32, 1), val=loader(16, 2), epochs=3)
    run, why, clear = told(tmp_path)
    assert run.context.task is None
    of_ctc = {reason for code, reason in why.items() if code.startswith("LD4")}
    assert of_ctc == {"no call of a CTC loss was read (a run that makes none misses nothing)"}
    unread = {
        code: why[code].partition(" (Configuration")[0]
        for code in ("LD304", "LD306", "LD606", "LD608", "LD612", "LD704")
    }
    assert set(unread.values()) == {
        "no predictions of the training set were captured", "no predictions of the validation set were captured",
    }  # fmt: skip
    assert not clear & {"LD601", "LD607", "LD207"}, "what rests on counts is not clear where nothing was counted"


def test_lines_of_tokens_have_no_class_of_their_own(tmp_path):
    fit(tmp_path, all_callbacks(), CTC(), train=lines(32, 1), val=lines(16, 2))
    run, why, _ = told(tmp_path)
    assert run.context.task == "ctc"
    assert {why[code] for code in ("LD304", "LD305", "LD612")} == {
        "a line has several tokens, so that lines are not counted by class"
    }
    assert why["LD306"] == "a CTC loss has no weights per class"


@pytest.mark.parametrize(
    ("loss", "weights", "axis"),
    [
        ("cross_entropy", "the loss was called without class weights", "the loss normalises by itself"),
        ("binary_cross_entropy", "a binary cross-entropy has no weights per class (a pos_weight, where one was given, is not judged)",
         "a binary cross-entropy normalises nothing over the classes"),
    ],
)  # fmt: skip
def test_the_loss_that_was_called_decides(loss, weights, axis):
    seen = CaptureFacts(stage="train", source=f"loss call {loss}", task="binary")
    why = reasons(history(SERIES, task="binary", classes=2, capture=(seen,), model={"loss_name": loss}))
    assert (why["LD306"], why["LD704"]) == (weights, axis)


def test_a_regression_is_not_said_to_have_lost_its_predictions():
    seen = tuple(
        CaptureFacts(stage=stage, source="loss call mse_loss", task="regression") for stage in ("train", "val")
    )
    why = reasons(history(SERIES, task="regression", capture=seen))
    assert not [reason for reason in why.values() if "captured" in reason]


def test_one_weight_matrix_has_none_to_compare_with():
    why = reasons(history({**SERIES, "grad/norm": [1.0, 1.0, 1.0]}))
    assert why["LD107"] == "no two weight matrices had gradients that compare"


def test_a_part_that_failed_is_the_reason():
    notes = ("gradients and weights (backward_end) failed and was switched off: ValueError: no",)
    why = reasons(history(SERIES, notes=notes))
    assert why["LD106"] == "the part that measures it failed (gradients and weights)"


def test_an_evaluation_without_a_count_is_no_stage_with_counts():
    empty = tuple(EpochRecord(epoch=i, values={"val/loss": 1.0}, stages={"val": StageRecord(n=0)}) for i in range(3))
    assert "LD601" in reasons(RunHistory(context=RunContext(), epochs=empty))


def test_a_part_that_failed_is_listed_once_with_its_error():
    note = "metrics (batch_end) failed and was switched off: ValueError: no | such <b>thing</b>"
    run = history(SERIES, notes=(note, "something else"))
    found = diagnose(run)
    assert [(c.code, c.name) for c in found.crashed] == [("", "metrics (batch_end)")]
    entry = json.loads(render_json(run, found))["crashed"]
    assert (entry[0]["name"], entry[0]["error"]) == ("metrics (batch_end)", "ValueError: no | such <b>thing</b>")
    text = render_markdown(run, found)
    assert text.count("no \\| such") == 1, "nor in the verdict"
    below = text[text.index("## Not checked") :]
    assert below.count("such &lt;b>thing") == 1, "not among the notes again"
    assert "**Metrics (batch_end) failed:** it measured nothing" in below
    assert "something else" in below


def test_the_note_of_a_live_failure_is_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(DataPart, "interval_end", broken)
    with pytest.warns(RuntimeWarning, match="failed and was switched off"):
        fit(tmp_path, [GapMonitor()])
    content = json.loads((tmp_path / "diagnosis.json").read_text())
    assert [entry["name"] for entry in content["crashed"]] == ["data (interval_end)"]


def broken(*_):
    raise RuntimeError("on purpose")


@pytest.mark.parametrize("read", [True, False], ids=["answers read", "nothing read"])
def test_a_validation_without_a_loss_is_not_told_to_add_a_loader(tmp_path, read):
    extractor = {"val": (lambda step: (step.outputs["answers"], step.batch[1])) if read else (lambda step: None)}
    fit(tmp_path, [GapMonitor(extractor=extractor)], module=Answers(), epochs=3)
    _, why, _ = told(tmp_path)
    assert why["LD201"] == "no loss that could be read is computed in validation_step (log val_loss)"


def test_a_run_that_was_not_validated_is_told_to_add_a_loader(tmp_path):
    fit(tmp_path, [GapMonitor()], epochs=3, limit_val_batches=0)
    _, why, _ = told(tmp_path)
    assert why["LD201"] == "no validation loss was recorded (add a validation loader, or log val_loss)"


def test_an_accuracy_of_an_unknown_name_is_not_said_to_be_missing(tmp_path):
    extractor = {"val": lambda step: (step.outputs["answers"], step.batch[1])}
    fit(tmp_path, [GapMonitor(extractor=extractor)], module=Answers(), epochs=3)
    _, why, _ = told(tmp_path)
    assert why["LD706"] == "none of the logged names (top1/val) is known as a validation accuracy (log it as val_acc)"
    counted = {"counts": {"val": [(5, 9)] * 3}, "task": "multiclass", "classes": 3}
    logged = {
        f"logged/{name}": [0.5] * 3 for name in ("train_loss", "val_loss", "val_f1", "val_auc", "val_top1", "val_map")
    }
    assert "(val_f1, val_auc, val_top1 and 1 more)" in reasons(history(logged, **counted))["LD706"]
    losses = {name: column for name, column in logged.items() if "loss" in name}
    assert reasons(history(losses, **counted))["LD706"] == "the module logged no validation accuracy to compare with"


def test_labels_without_scores_are_the_reason_for_no_matrix(tmp_path):
    extractor = {"val": lambda step: (step.outputs["answers"], step.batch[1])}
    fit(tmp_path, [GapMonitor(extractor=extractor)], module=Answers(), epochs=3)
    run, why, _ = told(tmp_path)
    assert run.context.classes == 3
    few = "no confusion matrix was recorded (labels without scores were read: the number of classes is not known from them)"
    assert why["LD608"] == few
    many = replace(run, context=replace(run.context, classes=100))
    assert reasons(many)["LD608"] == "no confusion matrix was recorded (they are kept up to 64 classes)"
