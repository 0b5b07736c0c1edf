"""The sums of CTCSignals against plain Python on the same frames."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torchmetrics.functional.text import word_error_rate

from lightning_diag.metrics.ctc import CTCSignals, ctc_call, greedy_decode
from lightning_diag.metrics.ctc_frames import infeasible


def batch(seed, lines=5, frames=12, classes=6, longest=4):
    """Random scores with padded targets and lengths; index 0 is the blank."""
    g = torch.Generator().manual_seed(seed)
    scores = (3 * torch.randn(frames, lines, classes, generator=g)).log_softmax(-1)
    lengths = torch.randint(1, longest + 1, (lines,), generator=g)
    targets = torch.randint(1, classes, (lines, longest), generator=g)
    input_lengths = torch.randint(frames // 2, frames + 1, (lines,), generator=g)
    return scores, targets, input_lengths, lengths


def decode(scores, input_lengths, blank=0):
    """Greedy decoding in plain Python."""
    lines = []
    for n, length in enumerate(input_lengths.tolist()):
        path = scores[:length, n].argmax(-1).tolist()
        lines.append([token for token, _ in itertools.groupby(path) if token != blank])
    return lines


def signals(*args, blank=0, classes=6, **kwargs):
    metric = CTCSignals(blank, classes)
    metric.update(*args, **kwargs)
    metric.spill()
    return metric.compute()


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), blank=st.integers(0, 5))
def test_decoding_equals_plain_python(seed, blank):
    scores, _, input_lengths, _ = batch(seed)
    assert greedy_decode(scores, input_lengths, blank=blank) == decode(scores, input_lengths, blank)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_ratios_equal_plain_python(seed):
    scores, targets, input_lengths, lengths = batch(seed)
    found = signals(scores, targets, input_lengths, lengths)
    hypotheses = decode(scores, input_lengths)
    paths = [scores[:t, n].argmax(-1) for n, t in enumerate(input_lengths.tolist())]
    frames = torch.cat([scores[:t, n] for n, t in enumerate(input_lengths.tolist())])
    tokens, total = int(lengths.sum()), int(input_lengths.sum())
    blanks = sum(int((p == 0).sum()) for p in paths)
    assert found["blank_share"] == pytest.approx(blanks / total)
    assert found["blank_expected"] == pytest.approx(1 - tokens / total)
    assert found["nonblank_per_token"] == pytest.approx((total - blanks) / tokens)
    assert found["blank_posterior"] == pytest.approx(float(frames[:, 0].exp().mean()), rel=1e-4)
    assert found["entropy"] == pytest.approx(float(-(frames.exp() * frames).sum(-1).mean()) / math.log(6), rel=1e-4)
    assert found["emit_ratio"] == pytest.approx(sum(map(len, hypotheses)) / tokens)
    assert found["empty_share"] == pytest.approx(sum(not h for h in hypotheses) / 5)
    assert found["distinct_tokens"] == len({t for h in hypotheses for t in h})
    assert found["distinct_hypotheses"] == pytest.approx(len({tuple(h) for h in hypotheses}) / 5)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_token_error_rate_equals_torchmetrics(seed):
    scores, targets, input_lengths, lengths = batch(seed)
    found = signals(scores, targets, input_lengths, lengths)
    said = [" ".join(map(str, h)) for h in decode(scores, input_lengths)]
    wanted = [" ".join(map(str, t[:n].tolist())) for t, n in zip(targets, lengths, strict=True)]
    assert found["ter"] == pytest.approx(float(word_error_rate(said, wanted)), rel=1e-5)
    assert found["sub"] + found["del"] + found["ins"] == pytest.approx(found["ter"])


def test_padded_and_concatenated_targets_are_the_same():
    scores, targets, input_lengths, lengths = batch(3)
    flat = torch.cat([t[:n] for t, n in zip(targets, lengths, strict=True)])
    padded = signals(scores, targets, input_lengths, lengths)
    assert padded == signals(scores, flat, tuple(input_lengths.tolist()), lengths.tolist())


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), frames=st.integers(1, 8))
def test_infeasible_is_where_the_loss_is_infinite(seed, frames):
    scores, targets, _, lengths = batch(seed, frames=8, classes=4)
    input_lengths = torch.full((5,), frames)
    losses = F.ctc_loss(scores, targets, input_lengths, lengths, reduction="none")
    call = ctc_call(scores, targets, input_lengths, lengths)
    assert infeasible(call).tolist() == torch.isinf(losses).tolist()


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_loss_per_token_is_that_of_the_lines_with_a_path(reduction):
    """``zero_infinity`` counts a hidden line as zero; the signal leaves it out."""
    scores, targets, input_lengths, lengths = batch(5)
    input_lengths[0], lengths[0] = 1, 4
    losses = F.ctc_loss(scores, targets, input_lengths, lengths, reduction="none")
    expected = float((losses / lengths)[1:].mean())
    loss = F.ctc_loss(scores, targets, input_lengths, lengths, reduction=reduction, zero_infinity=True)
    found = signals(scores, targets, input_lengths, lengths, loss=loss, reduction=reduction, zero_infinity=True)
    assert found["loss_per_token"] == pytest.approx(expected, rel=1e-5)
    assert found["infeasible_share"] == 0.2


def test_loss_is_computed_where_none_is_given():
    scores, targets, input_lengths, lengths = batch(6)
    loss = F.ctc_loss(scores, targets, input_lengths, lengths)
    given_ = signals(scores, targets, input_lengths, lengths, loss=loss)["loss_per_token"]
    assert signals(scores, targets, input_lengths, lengths)["loss_per_token"] == pytest.approx(given_, rel=1e-5)


def test_sum_reduction_is_per_token():
    scores, targets, input_lengths, lengths = batch(7)
    loss = F.ctc_loss(scores, targets, input_lengths, lengths, reduction="sum")
    found = signals(scores, targets, input_lengths, lengths, loss=loss, reduction="sum")
    assert found["loss_per_token"] == pytest.approx(float(loss) / int(lengths.sum()), rel=1e-5)


def test_nonfinite_losses_are_counted_and_left_out():
    scores, targets, input_lengths, lengths = batch(8)
    metric = CTCSignals(0, 6)
    metric.update(scores, targets, input_lengths, lengths, loss=torch.tensor(math.nan))
    metric.update(scores, targets, input_lengths, lengths, loss=torch.tensor(2.0))
    found = metric.compute()
    assert (found["nonfinite_losses"], found["loss_per_token"]) == (1.0, 2.0)


def test_clashes_of_targets_are_counted():
    scores, targets, input_lengths, lengths = batch(9)
    lengths[:] = 4
    targets[0, 0], targets[1, 1], targets[2, 2] = 0, 6, -3
    found = signals(scores, targets, input_lengths, lengths, loss=torch.tensor(1.0))
    assert (found["blank_target_share"], found["out_of_range_share"]) == (1 / 20, 2 / 20)


def test_softmax_twice_is_pinned_and_raw_scores_are_not_normed():
    logits = 30 * torch.randn(12, 5, 6, generator=torch.Generator().manual_seed(1))
    _, targets, input_lengths, lengths = batch(1)
    twice = signals(logits.softmax(-1).log_softmax(-1), targets, input_lengths, lengths)
    assert (twice["pinned_share"] > 0.8, twice["norm_error_share"]) == (True, 0.0)
    assert signals(logits, targets, input_lengths, lengths)["norm_error_share"] > 0.9


def test_sparse_reading_keeps_the_checks_of_every_step_and_the_last_lines():
    metric = CTCSignals(0, 6, read_every=2, most_lines=3, frame_step=2, keep_lines=4)
    for seed in range(8):
        metric.update(*batch(seed), loss=torch.tensor(1.0))
    kept = metric.spill()
    found = metric.compute()
    assert 4 <= len(kept) <= 8
    assert metric.reduced["lines"] == 40
    assert metric.reduced["read_lines"] == 3 + 2 + 3 + 2
    assert 0 < found["blank_share"] < 1


def test_reset_forgets():
    metric = CTCSignals(0, 6)
    metric.update(*batch(1))
    metric.spill()
    metric.reset()
    assert metric.spill() == []
    assert metric.compute() == {"nonfinite_losses": 0.0, "distinct_tokens": 0.0, "reference_tokens": 0.0}


def test_large_evaluations_are_copied_to_the_host_in_pieces(monkeypatch):
    monkeypatch.setattr("lightning_diag.metrics.ctc_kept.SPILL_NUMBERS", 100)
    pieces, whole = CTCSignals(0, 6), CTCSignals(0, 6)
    for seed in range(4):
        pieces.update(*batch(seed))
    monkeypatch.setattr("lightning_diag.metrics.ctc_kept.SPILL_NUMBERS", 10**9)
    for seed in range(4):
        whole.update(*batch(seed))
    assert pieces.spill() == whole.spill()
    assert pieces.compute() == whole.compute()


def test_one_line_without_a_batch_axis():
    scores, targets, _, _ = batch(2)
    assert signals(scores[:, 0], targets[0, :3], 12, 3)["tokens_per_line"] == 3


def test_shapes_that_do_not_fit_are_refused():
    scores, targets, input_lengths, lengths = batch(2)
    with pytest.raises(ValueError, match="one per line"):
        ctc_call(scores, targets, input_lengths[:3], lengths)
    with pytest.raises(ValueError, match="expected 0 <= blank < num_classes"):
        CTCSignals(6, 6)


def test_the_scores_keep_their_graph_and_values():
    scores, targets, input_lengths, lengths = batch(4)
    logits = scores.clone().requires_grad_()
    log_probs = logits.log_softmax(-1)
    before = log_probs.detach().clone()
    metric = CTCSignals(0, 6)
    metric.update(log_probs, targets, input_lengths, lengths)
    assert torch.equal(log_probs, before)
    assert not metric.reals.requires_grad
    F.ctc_loss(log_probs, targets, input_lengths, lengths, zero_infinity=True).backward()
    assert logits.grad is not None


def test_processes_add_up_by_one_reduction_each(tmp_path):
    """One process reduces to itself: the sums keep their layout, and come back after the reduction."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        metric, alone = CTCSignals(0, 6), CTCSignals(0, 6, sync_on_compute=False)
        for one in (metric, alone):
            one.update(*batch(1), loss=torch.tensor(2.0))
            one.spill()
        metric.distributed_available_fn = lambda: True
        assert metric.compute() == alone.compute()
        assert torch.equal(metric.counts, alone.counts)
        assert torch.equal(metric.tokens, alone.tokens)
    finally:
        torch.distributed.destroy_process_group()
