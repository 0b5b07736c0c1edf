"""Counts of a stage against torchmetrics' functional interface, and the awkward inputs."""

import math
import pickle
import threading

import pytest
import torch
from torch.nn import functional as F
from torchmetrics.functional import classification as oracle

from lightning_diag.history import Count
from lightning_diag.metrics.classification import StageMetrics
from lightning_diag.metrics.held import HELD_SCORES
from lightning_diag.metrics.memory import SampleMemory
from lightning_diag.metrics.padding import Padding


def batches(classes, sizes=(64, 64, 17), seed=0):
    g = torch.Generator().manual_seed(seed)
    return [(torch.randn(n, classes, generator=g), torch.randint(0, classes, (n,), generator=g)) for n in sizes]


def run(pairs, metrics=None, **options):
    metrics = metrics or StageMetrics()
    for preds, target in pairs:
        metrics.update(preds, target, **options)
    return metrics.compute()


def joined(pairs):
    return torch.cat([p for p, _ in pairs]), torch.cat([t for _, t in pairs])


@pytest.mark.parametrize("classes", [2, 10, 64, 300, 1200])
@pytest.mark.parametrize("steps", [1, 40])
def test_multiclass_equals_torchmetrics(classes, steps):
    pairs = batches(classes, sizes=(33,) * steps + (5,))
    preds, target = joined(pairs)
    result = run(pairs)
    seen = torch.bincount(target, minlength=classes) > 0
    recall = oracle.multiclass_recall(preds, target, classes, average=None)
    precision = oracle.multiclass_precision(preds, target, classes, average=None)
    f1 = oracle.multiclass_f1_score(preds, target, classes, average=None)
    torch.testing.assert_close(torch.tensor(result.recall)[seen].float(), recall[seen])
    predicted = torch.tensor(result.predicted) > 0
    torch.testing.assert_close(torch.tensor(result.precision)[predicted].float(), precision[predicted])
    torch.testing.assert_close(torch.tensor(result.f1)[seen].float(), f1[seen])
    assert result.correct == int((preds.argmax(1) == target).sum())
    values, record = result.to_record()
    assert values["balanced_acc"] == pytest.approx(float(recall[seen].mean()), abs=1e-6)
    assert values["macro_f1"] == pytest.approx(float(f1[seen].mean()), abs=1e-6)
    assert record.correct == Count(k=result.correct, n=len(target))
    if classes <= 64:
        table = oracle.multiclass_confusion_matrix(preds, target, classes)
        assert tuple(record.matrix) == tuple(map(tuple, table.tolist()))
    else:
        assert not record.matrix


def test_calibration_and_entropy_equal_torchmetrics():
    pairs = batches(7, sizes=(50,) * 5)
    preds, target = joined(pairs)
    result = run(pairs)
    p = preds.softmax(1)
    assert result.ece == pytest.approx(float(oracle.multiclass_calibration_error(p, target, 7, n_bins=15)), abs=1e-5)
    assert result.confidence == pytest.approx(float(p.amax(1).mean()), abs=1e-5)
    entropy = torch.distributions.Categorical(probs=p).entropy().mean() / math.log(7)
    assert result.entropy == pytest.approx(float(entropy), abs=1e-5)


@pytest.mark.parametrize("kind", ["logits", "log_probs", "probs"])
def test_kinds_of_scores_agree(kind):
    pairs = batches(5)
    wanted = run(pairs)
    change = {"logits": lambda x: x, "log_probs": lambda x: x.log_softmax(1), "probs": lambda x: x.softmax(1)}[kind]
    got = run([(change(p), t) for p, t in pairs], kind=kind)
    assert got.correct == wanted.correct
    assert got.ece == pytest.approx(wanted.ece, abs=1e-5)
    assert got.entropy == pytest.approx(wanted.entropy, abs=1e-5)


def test_hard_labels_have_counts_and_no_confidence():
    pairs = [(p.argmax(1), t) for p, t in batches(6)]
    preds, target = joined(pairs)
    result = run(pairs, kind="labels")
    assert result.classes == 6
    assert result.correct == int((preds == target).sum())
    assert (result.confidence, result.ece) == (None, None)


@pytest.mark.parametrize("kind", ["logits", "probs"])
@pytest.mark.parametrize("shape", [(20,), (20, 1)])
def test_binary_equals_torchmetrics(kind, shape):
    g = torch.Generator().manual_seed(1)
    logits, target = torch.randn(*shape, generator=g), torch.randint(0, 2, shape, generator=g)
    preds = logits if kind == "logits" else logits.sigmoid()
    result = run([(preds, target.float())], task="binary", kind=kind)
    table = oracle.binary_confusion_matrix(logits.sigmoid(), target)
    assert result.table.tolist() == table.tolist()
    loss = F.binary_cross_entropy_with_logits(logits, target.float())
    memory = SampleMemory()
    metrics = StageMetrics(memory=memory)
    metrics.update(logits, target.float(), task="binary")
    metrics.compute()
    assert memory.current.loss.mean() == pytest.approx(float(loss), abs=1e-6)


def test_multilabel_equals_torchmetrics():
    g = torch.Generator().manual_seed(2)
    logits, target = torch.randn(50, 4, generator=g), torch.randint(0, 2, (50, 4), generator=g)
    result = run([(logits[:20], target[:20]), (logits[20:], target[20:])], task="multilabel")
    p = logits.sigmoid()
    assert result.correct == round(50 * float(oracle.multilabel_exact_match(p, target, 4)))
    assert result.label_accuracy == pytest.approx(float(oracle.multilabel_accuracy(p, target, 4, average="micro")))
    recall = oracle.multilabel_recall(p, target, 4, average=None)
    torch.testing.assert_close(torch.tensor(result.recall).float(), recall)


@pytest.mark.parametrize("shape", [(6, 4, 5, 3), (1, 4, 6, 6), (2, 4, 3, 3, 3)])
def test_positions_with_several_labels_each_count_as_rows_of_their_own(shape):
    g = torch.Generator().manual_seed(2)
    maps, target = torch.randn(shape, generator=g), torch.randint(0, 2, shape, generator=g).float()
    metrics = StageMetrics(memory=SampleMemory())
    metrics.update(maps, target, task="multilabel", class_dim=1, loss=maps.mean())
    found = metrics.compute()
    rows = [t.movedim(1, -1).reshape(-1, 4) for t in (maps, target)]
    expected = run([tuple(rows)], task="multilabel")
    assert (found.n, found.correct, found.samples) == (rows[0].shape[0], expected.correct, shape[0])
    assert found.label_accuracy == pytest.approx(expected.label_accuracy)
    assert [c.tolist() for c in (found.support, found.predicted, found.hits)] == [
        c.tolist() for c in (expected.support, expected.predicted, expected.hits)
    ]
    assert not len(metrics.memory.current.right)


@pytest.mark.parametrize("shape", [(4, 6, 12), (2, 6, 9, 8), (2, 6, 64, 64)])
def test_dense_with_ignored_positions(shape):
    g = torch.Generator().manual_seed(3)
    logits = torch.randn(*shape, generator=g)
    target = torch.randint(0, 6, (shape[0], *shape[2:]), generator=g)
    target[torch.rand(target.shape, generator=g) < 0.3] = -100
    result = run([(logits, target)], task="dense", ignore_index=-100)
    wanted = oracle.multiclass_confusion_matrix(logits, target, 6, ignore_index=-100)
    assert result.table.tolist() == wanted.tolist()
    assert result.ignored == int((target == -100).sum())
    assert result.n == int((target != -100).sum())


def test_dense_with_the_classes_last():
    logits, target = torch.randn(3, 11, 6), torch.randint(0, 6, (3, 11))
    last = run([(logits, target)], task="dense", class_dim=-1)
    first = run([(logits.transpose(1, 2), target)], task="dense", class_dim=1)
    assert last.table.tolist() == first.table.tolist()


def test_soft_targets_count_as_their_largest_class():
    logits, hard = torch.randn(30, 4), torch.randint(0, 4, (30,))
    soft = F.one_hot(hard, 4).float() * 0.8 + 0.05
    assert run([(logits, soft)], task="soft").table.tolist() == run([(logits, hard)]).table.tolist()


def test_loss_is_weighted_by_samples_and_survives_nan():
    metrics = StageMetrics()
    for value, n in ((1.0, 4), (2.0, 4), (6.0, 2), (math.nan, 4), (math.inf, 4)):
        metrics.update(torch.randn(n, 3), torch.zeros(n, dtype=torch.long), loss=torch.tensor(value))
    result = metrics.compute()
    assert result.loss == pytest.approx((4 + 8 + 12) / 10)
    assert (result.loss_steps, result.loss_bad, result.samples) == (5, 2, 18)


def test_loss_alone_is_kept():
    metrics = StageMetrics()
    metrics.update(None, None, loss=torch.tensor(3.0), weight_n=8)
    values, record = metrics.compute().to_record()
    assert values == {"loss": 3.0}
    assert record.n == 0
    assert record.correct is None


def test_bad_scores_are_counted_and_wrong():
    logits = torch.randn(6, 3)
    logits[0, 1], logits[1, 2], logits[2, 0] = math.nan, math.inf, -math.inf
    result = run([(logits, torch.full((6,), 2))])
    assert result.nonfinite == 2
    assert result.n == 6
    assert result.predicted.sum() == 4


def test_targets_out_of_range_are_left_out():
    target = torch.tensor([0, 1, 2, 3, -1, 99])
    result = run([(torch.randn(6, 3), target)])
    assert (result.n, result.out_of_range) == (3, 3)


def test_everything_ignored_gives_no_rates():
    values, record = run([(torch.randn(4, 3), torch.full((4,), -100))], ignore_index=-100).to_record()
    assert "acc" not in values
    assert record.n == 0


def test_empty_batches_and_no_batches():
    assert StageMetrics().compute().n == 0
    result = run([(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)), *batches(3)])
    assert result.n == 145


def test_one_class_and_one_sample():
    assert run([(torch.randn(4, 1), torch.zeros(4, dtype=torch.long))]).correct == 4
    assert run([(torch.randn(1, 3), torch.tensor([1]))]).n == 1


@pytest.mark.parametrize("sizes", [(8, 8, 1), (1, 1, 1), (1, 8, 1)])
@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel", "soft"])
def test_a_batch_of_one_without_its_dimension_counts_as_any_other(task, sizes):
    scores = [p if task != "binary" else p[:, 0] for p, _ in batches(4, sizes)]
    targets = {
        "multiclass": lambda p: p.roll(1).argmax(-1),
        "binary": lambda p: (p.roll(1) > 0).float(),
        "multilabel": lambda p: (p.roll(1) > 0).float(),
        "soft": lambda p: p.roll(1).softmax(-1),
    }
    whole, bare = StageMetrics(memory=SampleMemory()), StageMetrics(memory=SampleMemory())
    dim = -1 if task == "binary" else 1
    for p in scores:
        whole.update(p, targets[task](p), task=task, class_dim=dim, loss=p.mean())
        q = p.squeeze()
        own = q.dim() - 1 if dim == 1 and task != "multilabel" else dim if q.dim() > 1 else -1
        bare.update(q, targets[task](q), task=task, class_dim=own, loss=p.mean())
    expected, found = whole.compute(), bare.compute()
    assert found.n == sum(sizes)
    assert found.values() == pytest.approx(expected.values())
    assert found.to_record()[1] == expected.to_record()[1]


def test_hundred_thousand_classes_keep_a_bounded_record():
    result = run([(torch.randn(40, 100_000), torch.randint(0, 100_000, (40,)))])
    _, record = result.to_record()
    assert result.n == 40
    assert 40 <= len(record.classes) <= 80


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_counts_beyond_its_range(dtype):
    metrics = StageMetrics()
    preds = torch.tensor([[1.0, 0.0]], dtype=dtype).expand(1000, 2)
    for _ in range(70):
        metrics.update(preds, torch.zeros(1000, dtype=torch.long), loss=torch.tensor(0.5, dtype=dtype))
    result = metrics.compute()
    assert result.correct == 70_000
    assert result.loss == 0.5


def test_more_than_two_to_the_31_samples():
    metrics = StageMetrics(3)
    metrics.update(torch.eye(3), torch.arange(3))
    metrics.flush()
    metrics.counts += 2**32
    assert metrics.compute().support.min() > 2**31


@pytest.mark.parametrize("classes", [10, 300])
def test_more_classes_may_come_later(classes):
    small, large = batches(4, sizes=(8,))[0], batches(classes, sizes=(30,))[0]
    result = run([small, large])
    assert result.classes == classes
    assert result.correct == int((small[0].argmax(1) == small[1]).sum() + (large[0].argmax(1) == large[1]).sum())
    assert result.support.sum() == 38


def test_padding_of_a_distributed_sampler_is_left_out():
    metrics = StageMetrics()
    metrics.padding = Padding(real=70, drawn=96, batch_size=32)
    pairs = batches(3, sizes=(32, 32, 32))
    result = run(pairs, metrics)
    preds, target = joined(pairs)
    assert (result.n, result.padded, result.samples) == (70, 26, 70)
    assert result.correct == int((preds.argmax(1) == target)[:70].sum())


def test_padding_is_left_out_where_one_axis_holds_all_tokens():
    """Three samples of five tokens per batch; the last of the rank is a repeat."""
    metrics = StageMetrics()
    metrics.padding = Padding(real=5, drawn=6, batch_size=3)
    pairs = batches(4, sizes=(15, 15))
    result = run(pairs, metrics)
    preds, target = joined(pairs)
    assert (result.n, result.padded) == (25, 1)
    assert result.correct == int((preds.argmax(1) == target)[:25].sum())


def test_groups_by_name():
    preds, target = torch.eye(4), torch.tensor([0, 0, 2, 2])
    metrics = StageMetrics(group_names=["a", "b"])
    metrics.update(preds, target, groups=["a", "b", "a", "unknown"])
    _, record = metrics.compute().to_record()
    assert [(g.group, g.correct) for g in record.groups] == [("a", Count(k=2, n=2)), ("b", Count(k=0, n=1))]


def test_groups_are_found_by_themselves():
    metrics = StageMetrics()
    for name in ("x", "y", "x"):
        metrics.update(torch.eye(2), torch.tensor([0, 0]), groups=[name, name])
    _, record = metrics.compute().to_record()
    assert [(g.group, g.correct.n) for g in record.groups] == [("x", 4), ("y", 2)]


def test_wrong_number_of_targets_is_an_error():
    metrics = StageMetrics()
    with pytest.raises(ValueError, match="targets"):
        run([(torch.randn(HELD_SCORES, 2), torch.zeros(3, dtype=torch.long))], metrics)


def test_unknown_task_is_an_error():
    with pytest.raises(ValueError, match="expected one of"):
        run([(torch.randn(4, 2), torch.zeros(4, dtype=torch.long))], task="ranking")


def test_reset_forgets_the_epoch():
    metrics = StageMetrics()
    run(batches(3), metrics)
    metrics.reset()
    assert run(batches(3, sizes=(5,)), metrics).n == 5


def test_compute_twice_and_pickle():
    metrics = StageMetrics()
    first = run(batches(3), metrics)
    again = pickle.loads(pickle.dumps(metrics)).compute()
    assert again.table.tolist() == first.table.tolist() == metrics.compute().table.tolist()


def test_inference_tensors_and_later_updates():
    metrics = StageMetrics()
    with torch.inference_mode():
        metrics.update(*batches(3)[0], loss=torch.tensor(1.0))
        metrics.flush()
    metrics.update(*batches(3)[1], loss=torch.tensor(1.0))
    assert metrics.compute().n == 128


def test_predictions_are_neither_changed_nor_kept():
    preds, target = batches(3)[0]
    preds.requires_grad_()
    scores, before = preds * 2, preds.detach().clone()
    metrics = StageMetrics()
    metrics.update(scores, target, loss=scores.sum())
    target.zero_()
    (grad,) = torch.autograd.grad(scores.sum(), preds)
    assert torch.equal(preds.detach(), before)
    assert torch.equal(grad, torch.full_like(grad, 2))
    assert metrics.compute().support.tolist() == torch.bincount(batches(3)[0][1], minlength=3).tolist()


def test_processes_agree_on_their_groups_whatever_order_they_met_them_in():
    """A process without a batch, names in another order, and long names; one that comes later is told."""
    long, other = "ü" * 80, "ü" * 81
    batches = [(["a", "b", "b", long], [0, 0, 1, 0]), (["b", "a", "b", other], [1, 0, 1, 1]), ([], [])]
    ranks = [StageMetrics() for _ in batches]
    for metrics, (names, targets) in zip(ranks, batches, strict=True):
        if names:
            scores = torch.eye(2)[torch.zeros(len(names), dtype=torch.int64)]
            metrics.update(scores, torch.tensor(targets), groups=names)
    together(ranks)
    found = [[(g.group, g.correct) for g in metrics.compute().to_record()[1].groups] for metrics in ranks]
    assert found[0] == found[1] == found[2]
    counts = dict(found[2])
    assert (counts.pop("a"), counts.pop("b")) == (Count(k=2, n=2), Count(k=1, n=4))
    assert sorted(count.k for count in counts.values()) == [0, 1]
    assert all(name.startswith("ü" * 36 + "… ") for name in counts)
    ranks[0].reset()
    ranks[0].update(torch.eye(2), torch.tensor([0, 0]), groups=["late", other])
    assert [g.correct for g in ranks[0].compute().to_record()[1].groups] == [Count(k=0, n=1)]
    assert ranks[0].groups.missed == 1


def together(ranks):
    """Each rank in a thread of its own; what they sum is summed."""
    meet, sent = threading.Barrier(len(ranks)), {}

    def reduction(rank, combine):
        def reduce(vector):
            sent[rank] = vector.clone()
            meet.wait()
            whole = combine(torch.stack([sent[r] for r in range(len(ranks))]))
            meet.wait()
            return whole

        return reduce

    def go(rank):
        ranks[rank].agree(reduction(rank, lambda t: t.amax(0)), groups=True)
        ranks[rank].reduce(reduction(rank, lambda t: t.sum(0)))

    threads = [threading.Thread(target=go, args=(rank,)) for rank in range(len(ranks))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert {metrics.collectives for metrics in ranks} == {4}
