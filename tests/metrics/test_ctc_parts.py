"""Trivial loss, edit operations, mapping test, call checks and the collector."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch.nn import functional as F

from lightning_diag.metrics.ctc import (
    CallChecks,
    CTCCollector,
    Decoded,
    ctc_call,
    mapping_test,
    merge_facts,
    token_errors,
    trivial_loss,
)
from lightning_diag.metrics.ctc_edits import pick_samples
from lightning_diag.metrics.ctc_mapping import learn_map


def lines(pairs):
    return [Decoded(index=i, reference=tuple(r), hypothesis=tuple(h)) for i, (r, h) in enumerate(pairs)]


# ---------------------------------------------------------------- trivial loss


def brute_trivial(targets, frames, support):
    """The same by the plain definition: one posterior over the whole vocabulary, all 49 masses."""
    total, classes = sum(support.values()), max(support) + 1
    best = math.inf
    rows = torch.nn.utils.rnn.pad_sequence([torch.tensor(t) for t in targets], batch_first=True)
    lengths = torch.tensor([len(t) for t in targets])
    for i in range(1, 50):
        share = torch.full((classes,), 1e-30)
        share[0] = i / 50
        for token, n in support.items():
            share[token] = (1 - i / 50) * n / total
        scores = share.log().expand(max(frames), len(targets), classes).contiguous()
        losses = F.ctc_loss(scores, rows, torch.tensor(frames), lengths, reduction="none")
        best = min(best, float((losses / lengths).mean()))
    return best


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_trivial_loss_equals_its_definition(seed):
    rng = random.Random(seed)
    targets = [[rng.randint(1, 9) for _ in range(rng.randint(2, 6))] for _ in range(20)]
    frames = [rng.randint(12, 40) for _ in targets]
    support = {t: sum(line.count(t) for line in targets) for t in range(1, 10)}
    found = trivial_loss(targets, frames, support)
    assert found.per_line == pytest.approx(brute_trivial(targets, frames, support), rel=1e-5)
    assert found.lines == 20


def test_trivial_loss_leaves_out_lines_without_a_path():
    support = {1: 2, 2: 2}
    assert trivial_loss([[1, 1], []], [2, 5], support) is None
    assert trivial_loss([[1, 1], [1, 2]], [2, 8], support).lines == 1


def test_trivial_loss_of_many_classes_is_near_their_logarithm():
    """A hundred equally likely tokens: naming one costs ln 100 = 4.6, and placing it a little more."""
    rng = random.Random(0)
    targets = [[rng.randint(1, 100) for _ in range(4)] for _ in range(100)]
    found = trivial_loss(targets, [50] * 100, dict.fromkeys(range(1, 101), 4))
    assert math.log(100) < found.per_line < math.log(100) + 1


# ---------------------------------------------------------------- edits


def test_edit_operations_and_confusions():
    errors = token_errors(lines([([1, 2, 3], [1, 9, 3]), ([1, 2], [1, 2, 2]), ([4, 5], [5]), ([6], [6])]))
    assert (errors.substitutions, errors.deletions, errors.insertions) == (1, 1, 1)
    assert (errors.tokens, errors.lines, errors.exact, errors.rate) == (8, 4, 1, 3 / 8)
    assert errors.correct == {1: 2, 2: 1, 3: 1, 4: 0, 5: 1, 6: 1}
    (confused,) = errors.most_confused()
    assert (confused.target, confused.predicted, confused.count) == (2, 9, 1)


def read_lines(moved, accuracy, count=96, seed=0):
    """Lines of 2 to 4 tokens, read with errors, whose references are renumbered by ``moved`` (token - 1 -> token)."""
    rng = random.Random(seed)
    tokens = len(moved)
    found = []
    for _ in range(count):
        said = [rng.randint(1, tokens) for _ in range(rng.randint(2, 4))]
        read = [t if rng.random() < accuracy else rng.randint(1, tokens) for t in said if rng.random() > 0.05]
        found.append(([moved[t - 1] for t in said], read))
    return lines(found)


@pytest.mark.parametrize(("tokens", "count", "accuracy"), [(100, 96, 0.7), (100, 40, 0.8), (10, 20, 0.9)])
def test_mapping_test_finds_another_numbering(tokens, count, accuracy):
    moved = [*range(2, tokens + 1), 1]
    found = mapping_test(read_lines(moved, accuracy, count))
    assert (found.p_value, found.lines) == (0.005, count)
    assert found.renumbered > 0.75
    assert found.after < found.before - 0.2


def test_mapping_test_leaves_a_right_numbering_alone():
    right = list(range(1, 101))
    assert mapping_test(read_lines(right, 1.0)).p_value == 1.0
    for seed in range(5):
        assert mapping_test(read_lines(right, 0.3, seed=seed)).renumbered < 0.75
    assert mapping_test(read_lines(right, 1.0, count=15)) is None


def test_mapping_test_keeps_its_error_rate_on_unrelated_output():
    said = [mapping_test(read_lines([1] * 5 + [2] * 3 + [3, 4], 0.0, count=32, seed=seed)) for seed in range(40)]
    assert sum(found.p_value <= 0.005 for found in said) <= 2


def test_mapping_is_learnt_from_lines_of_unequal_length():
    rng = random.Random(0)
    whole = [tuple(rng.randint(1, 9) for _ in range(20)) for _ in range(30)]
    pairs = [(line, tuple(t + 1 for t in line if rng.random() > 0.1)) for line in whole]
    assert learn_map(pairs) == {t + 1: t for t in range(1, 10)}


def test_samples_have_their_roles_once():
    picked = pick_samples(lines([([1, 2], [1, 2]), ([1, 2], [1]), ([1, 2, 3, 4], []), ([5], [5])]))
    assert [(s.role, s.index) for s in picked] == [("best", 0), ("median", 1), ("worst", 2)]
    assert pick_samples([]) == ()


# ---------------------------------------------------------------- call checks


def call(n=6, t=30, c=8, seed=0, **changes):
    """A healthy call whose scores are smooth in time."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(t, n, c, generator=g).cumsum(0)
    given = {
        "log_probs": logits.log_softmax(-1),
        "targets": torch.randint(1, c, (n, 4), generator=g),
        "input_lengths": torch.randint(t // 2, t + 1, (n,), generator=g),
        "target_lengths": torch.tensor([4, 3] * (n // 2)),
    }
    given["input_lengths"][0] = t
    given.update({k: v(given[k]) if callable(v) else v for k, v in changes.items()})
    return ctc_call(**given)


def words(*calls, **settings):
    checks = CallChecks(**settings)
    for one in calls:
        checks.observe(one)
    checks.finish()
    return set(checks.found)


def test_healthy_calls_are_quiet():
    assert words(*(call(seed=s, t=30 + s) for s in range(16))) == set()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"log_probs": lambda x: x * 3}, "raw-scores"),
        ({"log_probs": lambda x: x.exp()}, "probabilities"),
        ({"log_probs": lambda x: x.log_softmax(0)}, "wrong-axis"),
        ({"targets": lambda y: y - 1}, "blank-in-targets"),
        ({"blank": 7}, "blank-in-targets"),
        ({"targets": lambda y: y + 4}, "out-of-range"),
        ({"targets": lambda y: y - 4}, "out-of-range"),
        ({"input_lengths": lambda x: x // 8}, "infeasible"),
        ({"input_lengths": torch.tensor([4, 3] * 3)}, "lengths-wrong"),
    ],
)
def test_each_fault_is_named(changes, word):
    assert word in words(*(call(seed=s, t=30 + s, **changes) for s in range(3)))


def test_reshaped_instead_of_transposed():
    healthy = [call(n=16, seed=s) for s in range(3)]
    assert words(*healthy) == set()
    mixed = [call(n=16, seed=s, log_probs=lambda x: x.transpose(0, 1).reshape(x.shape)) for s in range(3)]
    assert words(*mixed) == {"axes-mixed"}


def test_fault_sentences_say_what_to_do():
    checks = CallChecks()
    (check,) = checks.observe(call(log_probs=lambda x: x * 3))
    assert "log_softmax(-1)" in check.sentence
    assert checks.observe(call(log_probs=lambda x: x * 3)) == ()


def test_lengths_that_do_not_follow_the_frames():
    halved = [call(seed=s, t=30 + s, input_lengths=lambda x: x // 2) for s in range(5)]
    constant = [call(seed=s, input_lengths=torch.full((6,), 20)) for s in range(5)]
    fixed_size = [call(seed=s, t=80, input_lengths=lambda x: x // 2) for s in range(5)]
    all_frames = [call(seed=s, t=30 + s, input_lengths=torch.full((6,), 30 + s)) for s in range(5)]
    assert words(*halved) == {"lengths-wrong"}
    assert words(*constant) == {"lengths-wrong"}
    assert words(*fixed_size) == set(), "inputs padded to one size may leave frames unused"
    assert words(*all_frames) == set(), "padding counted as frames does no harm"


def test_padding_counted_is_told_from_a_clash_with_the_blank():
    rows = torch.tensor([[1, 2, 3, 0, 0], [4, 5, 0, 0, 0], [1, 2, 3, 4, 5], [6, 7, 0, 0, 0]])
    counted = call(n=4, targets=rows, target_lengths=[5] * 4)
    other = call(n=4, targets=torch.where(rows == 0, 7, rows), target_lengths=[5] * 4)
    clash = call(n=4, targets=rows.roll(2, 1), target_lengths=[5] * 4)
    assert words(counted) == {"padding-counted"}
    assert words(other) == {"padding-counted"}
    assert words(clash) == {"blank-in-targets"}


def test_decoder_with_another_blank():
    assert words(call(), decoder_blank=7) == {"decoder-blank"}


# ---------------------------------------------------------------- collector


def observe(collector, seed, **changes):
    one = call(seed=seed, t=30 + seed, **changes)
    loss = F.ctc_loss(one.log_probs, one.targets.clamp(min=0), one.input_lengths, one.target_lengths)
    return collector.observe(one.log_probs, one.targets.clamp(min=0), one.input_lengths, one.target_lengths, loss=loss)


def test_collector_gives_values_record_samples_and_facts():
    collector = CTCCollector("val", id_to_token="_abcdefg")
    for seed in range(4):
        assert observe(collector, seed) == ()
    values = collector.epoch_end()
    assert values["ctc/val/loss_ratio"] == pytest.approx(
        values["ctc/val/loss_per_token"] / collector.facts().trivial_loss
    )
    assert values["ctc/val/cer"] == pytest.approx(values["ctc/val/ter"])
    record = collector.stage_record()
    assert record.correct.n == record.n == 24
    assert sum(row.support for row in record.classes) == 4 * 21
    assert all(row.correct <= row.support for row in record.classes)
    assert {s.role for s in collector.samples()} <= {"best", "median", "worst", "longest"}
    facts = collector.facts()
    assert (facts.blank, facts.classes, facts.infeasible.k, facts.blank_in_targets.k) == (0, 8, 0, 0)


def test_collector_starts_over_and_keeps_what_belongs_to_the_run():
    collector = CTCCollector("train", read_every=1, most_lines=100)
    for epoch in range(4):
        for seed in range(20):
            observe(collector, seed + epoch)
        values = collector.epoch_end()
        collector.reset()
    assert collector.facts().infeasible.n == 4 * 20 * 6
    assert "ctc/train/loss_fall_50" in values
    assert collector.epoch_end().get("ctc/train/ter") is None


def test_fall_of_the_loss():
    collector = CTCCollector("train")
    one = call()
    for step in range(75):
        loss = torch.tensor(10.0 * 0.99**step)
        collector.observe(one.log_probs, one.targets.clamp(min=0), one.input_lengths, one.target_lengths, loss=loss)
    values = collector.epoch_end()
    assert values["ctc/train/loss_fall_50"] == pytest.approx(1 - 0.99**50, rel=1e-4)
    assert values["ctc/train/loss_fall_50_se"] < 0.01


def test_facts_of_both_stages():
    train, val = CTCCollector("train"), CTCCollector("val")
    observe(train, 0, log_probs=lambda x: x * 3)
    observe(val, 1)
    train.epoch_end(), val.epoch_end()
    merged = merge_facts(train.facts(), val.facts())
    assert [word for word, _ in merged.checks] == ["raw-scores"]
    assert merged.confused_tokens == val.facts().confused_tokens
    assert merge_facts(None, None) is None


def test_a_stage_without_a_call_has_nothing():
    collector = CTCCollector("val")
    assert collector.epoch_end() == {}
    assert collector.stage_record().n == 0
    assert collector.samples() == ()
    assert collector.facts().blank is None
