"""Values that should not occur: the training is the same to the bit, nothing is raised, and the report says what was seen."""

import math
import time
import warnings

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from toys import Toy, blobs, loader, trainer

from lightning_diag import all_callbacks, diagnosis_of
from lightning_diag.metrics.classification import StageMetrics

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.filterwarnings("ignore:.*batch_size.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:Trying to infer"),
    pytest.mark.filterwarnings("ignore:`training_step` returned `None`"),
]


def of(x, y, batch_size=10):
    return DataLoader(TensorDataset(x, y), batch_size)


class InLoss(Toy):
    """One step of the first epoch gives a loss that is no number; the optimiser skips it."""

    value = math.nan

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss + self.value if batch_idx == 2 and self.current_epoch == 0 else loss

    def on_before_optimizer_step(self, optimizer):
        for parameter in self.parameters():
            parameter.grad.nan_to_num_(0.0, 0.0, 0.0)


class InfLoss(InLoss):
    value = math.inf


class InLogits(Toy):
    value = math.nan

    def forward(self, x):
        scores = super().forward(x)
        if not self.training:
            scores = scores.clone()
            scores[0, 1] = self.value
        return scores


class InfLogits(InLogits):
    value = math.inf


class Diverges(Toy):
    """Weights are NaN from the second step on."""

    def __init__(self):
        super().__init__(lr=1e30)


class SomeEmpty(Toy):
    """A collate function that filters leaves batches without a sample."""

    def training_step(self, batch, batch_idx):
        if batch_idx % 2:
            return None
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        if batch_idx == 1:
            batch = batch[0][:0], batch[1][:0]
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1], reduction="sum"), batch_size=1)


class Ignores(Toy):
    """``ignore_index`` everywhere: the loss is NaN by torch's definition, so it is summed."""

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1], ignore_index=0, reduction="sum") * 0.01

    def validation_step(self, batch, batch_idx):
        F.cross_entropy(self(batch[0]), torch.zeros_like(batch[1]), ignore_index=0)


class Outside(Toy):
    """Targets of -7 and 99 that the author masks by hand."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        y = y.clone()
        y[0], y[1] = -7, 99
        scores = self(x)
        known = (y >= 0) & (y < scores.shape[1])
        picked = scores.log_softmax(1).gather(1, y.clamp(0, scores.shape[1] - 1).unsqueeze(1)).squeeze(1)
        return -(picked * known).mean()


class Mixup(Toy):
    def training_step(self, batch, batch_idx):
        x, y = batch
        soft = F.one_hot(y, 3).float()
        x, soft = 0.7 * x + 0.3 * x.flip(0), 0.7 * soft + 0.3 * soft.flip(0)
        return F.cross_entropy(self(x), soft)


class TwoLosses(Toy):
    """Mixup as most people write it: the loss of both targets, weighted."""

    def training_step(self, batch, batch_idx):
        scores, y = self(0.7 * batch[0] + 0.3 * batch[0].flip(0)), batch[1]
        return 0.7 * F.cross_entropy(scores, y) + 0.3 * F.cross_entropy(scores, y.flip(0))


class One(Toy):
    def __init__(self):
        super().__init__(classes=1)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), torch.zeros_like(batch[1]))

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", F.cross_entropy(self(batch[0]), torch.zeros_like(batch[1])))


class Many(Toy):
    def __init__(self):
        super().__init__(classes=100_000)


class Half(Toy):
    """Scores in float16, more of a class than the largest float16 (65,504)."""

    def training_step(self, batch, batch_idx):
        x = batch[0].repeat(7_000, 1)
        return F.cross_entropy(self.head(self.encoder(x)).half().float(), batch[1].repeat(7_000))

    def validation_step(self, batch, batch_idx):
        scores = self(batch[0].repeat(7_000, 1)).half()
        F.cross_entropy(scores, batch[1].repeat(7_000))


def val_with_new_class():
    x, y = blobs(31, 2)
    y = y.clone()
    y[:5] = 3
    return of(x, y)


class FourClasses(Toy):
    def __init__(self):
        super().__init__(classes=4)


CASES = {
    "NaN loss in a step": (InLoss, None, {"loss/nonfinite_steps": 1.0}),
    "infinite loss in a step": (InfLoss, None, {"loss/nonfinite_steps": 1.0}),
    "NaN logits": (InLogits, None, {}),
    "infinite logits": (InfLogits, None, {}),
    "weights become NaN": (Diverges, None, {}),
    "empty batches": (SomeEmpty, None, {}),
    "ignore_index everywhere": (Ignores, None, {}),
    "targets outside the range": (Outside, None, {}),
    "a class in validation only": (FourClasses, val_with_new_class, {}),
    "mixup with soft targets": (Mixup, None, {}),
    "mixup with two losses": (TwoLosses, None, {}),
    "one class": (One, None, {}),
    "100,000 classes": (Many, None, {}),
    "one validation sample": (Toy, lambda: loader(1, 2), {}),
    "float16 scores, counts beyond 65,504": (Half, None, {}),
}


def run_of(folder, cls, val, callbacks):
    torch.manual_seed(1)
    run = trainer(folder, callbacks, epochs=3)
    run.fit(cls(), loader(60, 1, shuffle=True), loader(31, 2) if val is None else val())
    return run


@pytest.mark.parametrize("case", CASES)
def test_bad_values_change_nothing_and_break_nothing(tmp_path, case):
    cls, val, expected = CASES[case]
    bare = run_of(tmp_path / "bare", cls, val, [])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watched = run_of(tmp_path / "watched", cls, val, all_callbacks())
    for name, weight in bare.lightning_module.state_dict().items():
        torch.testing.assert_close(watched.lightning_module.state_dict()[name], weight, rtol=0, atol=0, equal_nan=True)
    assert [str(w.message) for w in caught if "failed and was switched off" in str(w.message)] == []
    found = diagnosis_of(watched)
    assert found.diagnosis.crashed == ()
    assert [r.epoch for r in found.history.epochs] == [0, 1, 2]
    first = found.history.epochs[0]
    assert {name: first.values.get(name) for name in expected} == expected
    CHECKS.get(case, lambda *_: None)(found, (tmp_path / "watched" / "diagnosis.md").read_text())


def nan_logits_count_as_wrong(found, report):
    val = found.history.epochs[-1].stages["val"]
    assert val.n == 31
    assert sum(row.predicted for row in val.classes) == 31 - 4  # four batches, one sample each


def told_to_diverge(found, report):
    assert any(f.code.startswith("LD1") for f in found.findings), report[:500]


def nothing_was_counted(found, report):
    assert all("val/acc" not in r.values for r in found.history.epochs)


def counts_of_half(found, report):
    val = found.history.epochs[0].stages["val"]
    assert val.n == 31 * 7_000
    assert val.correct.n == 217_000
    assert max(row.support for row in val.classes) > 65_504


def one_sample(found, report):
    assert found.history.epochs[0].stages["val"].n == 1
    assert "1 sample" in report or "/1" in report


def the_new_class_has_support(found, report):
    record = found.history.epochs[-1]
    assert {row.index: row.support for row in record.stages["val"].classes}[3] == 5
    assert {row.index: row.support for row in record.stages["train"].classes}[3] == 0


CHECKS = {
    "NaN logits": nan_logits_count_as_wrong,
    "infinite logits": nan_logits_count_as_wrong,
    "weights become NaN": told_to_diverge,
    "ignore_index everywhere": nothing_was_counted,
    "float16 scores, counts beyond 65,504": counts_of_half,
    "one validation sample": one_sample,
    "a class in validation only": the_new_class_has_support,
}


def test_more_than_two_to_the_31_samples(tmp_path, monkeypatch):
    """The counters start where a run of three thousand million samples would have them."""
    many, original = 3 * 10**9, StageMetrics.packed

    def packed(self):
        vector = original(self)
        if self.memory is not None and self._layout.table:
            side = self._layout.side
            vector[self._layout.counts - side * side + side + 1] += many  # target 0, predicted 0
        return vector

    monkeypatch.setattr(StageMetrics, "packed", packed)
    run = trainer(tmp_path, all_callbacks(), epochs=2)
    begin = time.process_time()
    run.fit(Toy(), loader(60, 1), loader(31, 2))
    assert time.process_time() - begin < 20
    found = diagnosis_of(run)
    val = found.history.epochs[-1].stages["val"]
    assert val.n == 31 + many
    assert val.correct.k > 2**31
    assert found.diagnosis.crashed == ()
    assert f"{val.n:,}" in (tmp_path / "diagnosis.md").read_text()
