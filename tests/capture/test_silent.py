"""A wrong pair is worse than none."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_diag.callbacks.collector import StageCollector
from lightning_diag.callbacks.options import Options
from lightning_diag.capture.batch import leaves
from lightning_diag.capture.hints import look, remedy
from tests.capture.styles import silent, unlabelled, unproven
from tests.capture.styles.base import Base, Style
from tests.capture.test_styles import run

STYLES = {name: (getattr(silent, name), batch) for name, batch in silent.SILENT.items()}
STYLES |= unlabelled.SILENT | unproven.SILENT


@pytest.mark.parametrize("name", sorted(STYLES))
def test_no_pair_is_made_up(name):
    _, observer = run(Style(name, *STYLES[name], pair=lambda m, b, s: None))
    assert observer.capture.faults.first is None
    for stage in ("train", "val"):
        counted = StageCollector(stage, Options(), with_ctc=False)
        for where, seen, _ in observer.seen:
            if where == stage:
                counted.observe(seen, None, None)
        assert "acc" not in counted.values()
        assert counted.record(complete=True).n == 0
    facts = observer.capture.facts("train")
    if "compares no labels" in facts.problem:
        assert facts.remedy is None
    else:
        assert "training_step" in facts.problem or "a mask hides entries of the loss" in facts.problem
        assert "extractor=lambda step" in facts.remedy


class MarginHead(nn.Module):
    """As in ArcFace: the right class has to win by a margin in training."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 8))

    def forward(self, x, labels=None):
        cosine = F.linear(F.normalize(x), F.normalize(self.weight))
        return 16 * (cosine if labels is None else cosine - 0.5 * F.one_hot(labels, 5))


class TrainedWithMargin(Base):
    def __init__(self):
        super().__init__()
        self.head = MarginHead()

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.head(*batch), batch[1])

    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self.head(batch[0]), batch[1])


def test_predictions_made_with_the_labels_are_no_answers():
    style = Style("TrainedWithMargin", TrainedWithMargin, silent.xy, pair=lambda m, b, s: (m.head(b[0]), b[1]))
    _, observer = run(style)
    train, val = observer.capture.facts("train"), observer.capture.facts("val")
    assert (train.task, val.task, val.problem) == ("other", "multiclass", None)
    assert "given the labels" in train.problem
    pairs = [(seen, truth) for stage, seen, truth in observer.seen if stage == "val"]
    assert len(pairs) == 8
    assert all(torch.allclose(seen.preds, preds) and seen.counts for seen, (preds, _) in pairs)


class MarginInLoss(nn.Module):
    """The loss has the class weights, and takes the margin off itself; without one it is a plain softmax."""

    def __init__(self, margin):
        super().__init__()
        self.weight, self.margin = nn.Parameter(torch.randn(5, 5)), margin

    def forward(self, x, labels):
        cosine = F.linear(F.normalize(x), F.normalize(self.weight))
        if self.margin == "angle":
            mask = F.one_hot(labels, 5).to(cosine)
            right = cosine[mask == 1].clamp(-0.99, 0.99)
            cosine = cosine + mask * ((right.acos() + 0.5).cos() - right).unsqueeze(1)
        elif self.margin == "choice":
            cosine = torch.where(F.one_hot(labels, 5).bool(), cosine - 0.5, cosine)
        elif self.margin == "index":
            cosine = cosine.clone()
            cosine[torch.arange(len(x)), labels] -= 0.5
        return F.cross_entropy(16 * cosine, labels)


class MarginFromLoss(Base):
    def __init__(self, margin):
        super().__init__()
        self.loss_fn = MarginInLoss(margin)

    def training_step(self, batch, batch_idx):
        return self.loss_fn(self(batch[0]), batch[1])

    validation_step = training_step


@pytest.mark.parametrize("margin", ["", "angle", "choice", "index"])
def test_a_margin_taken_off_in_the_loss_is_seen_in_the_graph(margin):
    style = Style("MarginFromLoss", lambda: MarginFromLoss(margin), silent.xy, pair=lambda m, b, s: (m(b[0]), b[1]))
    _, observer = run(style)
    for stage in ("train", "val"):
        facts = observer.capture.facts(stage)
        assert facts.task == ("other" if margin else "multiclass")
        assert ("given the labels" in (facts.problem or "")) == bool(margin)


def test_in_place_change_after_the_loss_is_not_taken_for_the_prediction():
    style = Style("InPlaceAfterLoss", silent.InPlaceAfterLoss, silent.xy, pair=lambda m, b, s: (m.net(b[0]), b[1]))
    _, observer = run(style)
    stages = [stage for stage, _, _ in observer.seen]
    assert (stages.count("train"), stages.count("val")) == (8, 7)
    for _, seen, (preds, target) in observer.seen:
        assert torch.allclose(seen.preds, preds, atol=1e-6)
        assert torch.equal(seen.target, target)


def test_overwritten_output_is_not_used():
    style = Style("InPlaceWithoutLoss", silent.InPlaceWithoutLoss, silent.xy, pair=lambda m, b, s: None)
    _, observer = run(style)
    assert {stage for stage, _, _ in observer.seen} == {"train"}
    assert "overwritten" in observer.capture.facts("val").problem


def test_an_extractor_that_is_written_for_a_batch_says_which_columns_may_hold_the_labels():
    x, ids, labels = torch.randn(4, 3), torch.tensor([7, 8, 9, 9]), torch.tensor([0, 1, 0, 1])
    doubtful = remedy(look(leaves((x, ids, labels)), None))
    assert "Whether `step.batch[1]` holds the labels is not known: `step.batch[2]` may as well." in doubtful
    for sure in ((x, labels), {"x": x, "subject": ids, "label": labels}):
        assert "is not known" not in remedy(look(leaves(sure), None))
