"""Records of healthy runs of many kinds, with what a live run records: every rule must stay quiet on each."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from lightning_diag.history import (
    ClassRow,
    Count,
    CTCFacts,
    EpochRecord,
    MappingTest,
    PretrainFacts,
    RunHistory,
)
from tests.build import history


def _course(first: float, last: float, n: int, pace: float = 0.6) -> list[float]:
    """From ``first`` towards ``last`` as a loss falls, with a trembling of 1 % of the way."""
    return [last + (first - last) * (pace**i + 0.01 * math.sin(7 * i)) for i in range(n)]


def _facts(size: int, held: int, batch: int, **train: Any) -> dict[str, Any]:
    """What a live run records of its loaders, inputs, module and optimiser."""
    inputs = {
        "input_mean": 0.0,
        "input_std": 1.0,
        "input_min": -3.1,
        "input_max": 3.2,
        "feature_std_min": 0.4,
        "feature_std_max": 1.3,
        "feature_mean_absmax": 0.2,
        "constant_features": 0.0,
        "nonfinite_inputs": 0,
    }
    return {
        "train": {
            "size": size,
            "batches": math.ceil(size / batch),
            "batch_size": batch,
            "sampler": "RandomSampler",
            "shuffled": True,
            "drop_last": False,
            "sampled": 1000,
            "hashed": 1000,
            "distinct": 1000,
            "repeated": 0,
            **inputs,
            **train,
        },
        "val": {"size": held, "batches": math.ceil(held / 64), "batch_size": 64, "shuffled": False, **inputs},
        "data": {"overlap": Count(k=0, n=min(held, 1000)), "near_overlap": Count(k=3, n=min(held, 1000))},
        "model": {
            "name": "Net",
            "parameters": 200_000,
            "trainable": 200_000,
            "changed": 1.0,
            "in_optimizer": 1.0,
            "trainable_not_in_optimizer": 0.0,
            "without_grad": 0.0,
            "batch_norm": True,
            "dropout": True,
            "train_mode_ok": Count(k=60, n=60),
            "eval_mode_ok": Count(k=60, n=60),
            "nondeterministic_eval": 0.0,
            "constant_init": 0.0,
        },
        "optim": {
            "optimizer": "AdamW",
            "lr": 1e-3,
            "weight_decay": 0.01,
            "accumulate": 1,
            "automatic": True,
            "gradients_kept": Count(k=0, n=32),
        },
        "stop": {"status": "finished"},
    }


def _steps(n: int) -> dict[str, list[float]]:
    """Signals of the optimisation, epoch by epoch."""
    return {
        "grad/norm": [0.4 + 0.02 * math.sin(i) for i in range(n)],
        "grad/norm_max": [0.9] * n,
        "grad/cosine": [0.1] * n,
        "grad/first_last_ratio": [0.8] * n,
        "grad/nonfinite_steps": [0.0] * n,
        "loss/nonfinite_steps": [0.0] * n,
        "update/ratio": [0.2 * 0.8**i + 0.02 for i in range(n)],
        "param/norm": [9.0 + 0.1 * i for i in range(n)],
        "relu/dead_share": [0.02] * n,
    }


def _rows(run: RunHistory, rows: dict[str, list[tuple[int, int, int]]]) -> RunHistory:
    """``run`` with class rows in its last epoch, whose counts of right answers stay as they are."""
    last = run.epochs[-1]
    stages = {
        stage: replace(
            last.stages[stage],
            classes=[
                ClassRow(index=i, support=support, predicted=predicted, correct=correct)
                for i, (support, predicted, correct) in enumerate(cells)
            ],
        )
        for stage, cells in rows.items()
    }
    return replace(run, epochs=(*run.epochs[:-1], replace(last, stages={**last.stages, **stages})))


RIGHT = [0.63, 0.81, 0.86, 0.89, 0.91, 0.92, 0.923, 0.924, 0.925, 0.925]
"""A validation accuracy that rises and levels off."""


def multiclass(**context: Any) -> RunHistory:
    """Ten balanced classes of images, a small gap."""
    facts = _facts(8000, 2000, 32, class_counts=(800,) * 10, drawn_counts=(800,) * 10)
    run = history(
        {"train/loss": _course(1.6, 0.2, 10), "val/loss": _course(1.4, 0.26, 10), **_steps(10)},
        counts={
            "train": [(round(8000 * (r + 0.02)), 8000) for r in RIGHT],
            "val": [(round(2000 * r), 2000) for r in RIGHT],
        },
        lrs=[1e-3 * (1 - i / 10) for i in range(10)],
        steps=250,
        classes=10,
        task="multiclass",
        **{**facts, **context},
    )
    train = [(800, 800, 756)] * 10
    return _rows(run, {"train": train, "val": [(200, 200, 185)] * 10})


def multilabel() -> RunHistory:
    """Twenty labels of which a sample has two or three; few samples are right in all of them."""
    support = [600, *(300 // (i + 1) for i in range(1, 20))]
    right = [0.1 + 0.3 * r for r in RIGHT]
    run = history(
        {
            "train/loss": _course(0.4, 0.12, 10),
            "val/loss": _course(0.38, 0.13, 10),
            "val/label_acc": [0.9 + 0.05 * r for r in RIGHT],
            **_steps(10),
        },
        counts={"train": [(round(8000 * r), 8000) for r in right], "val": [(round(1000 * r), 1000) for r in right]},
        lrs=[1e-3] * 10,
        steps=250,
        classes=20,
        task="multilabel",
        **_facts(8000, 1000, 32, class_counts=tuple(8 * s for s in support)),
    )
    cells = [(s, round(0.9 * s), round(0.8 * s)) for s in support]
    return _rows(run, {"val": cells, "train": [(8 * a, 8 * b, 8 * c) for a, b, c in cells]})


def dense() -> RunHistory:
    """Segmentation of 200 validation images into background and three kinds of objects."""
    pixels = 256 * 256
    right = [0.7 + 0.25 * r for r in RIGHT]
    share = (0.7, 0.15, 0.1, 0.05)
    run = history(
        {"train/loss": _course(0.8, 0.12, 10), "val/loss": _course(0.7, 0.15, 10), **_steps(10)},
        counts={
            "train": [(round(1600 * pixels * (r + 0.01)), 1600 * pixels) for r in right],
            "val": [(round(200 * pixels * r), 200 * pixels) for r in right],
        },
        lrs=[1e-3] * 10,
        steps=200,
        classes=4,
        task="dense",
        **_facts(1600, 200, 8, class_counts=tuple(round(1600 * pixels * s) for s in share)),
    )
    cells = [(round(200 * pixels * s), round(200 * pixels * s), round(200 * pixels * s * 0.93)) for s in share]
    return _rows(run, {"val": cells})


def regression() -> RunHistory:
    """A squared error of targets in thousands, with no accuracy and no trivial loss."""
    return history(
        {"train/loss": _course(5.2e4, 3.0e3, 12), "val/loss": _course(4.8e4, 3.4e3, 12), **_steps(12)},
        lrs=[1e-3] * 12,
        steps=100,
        task="regression",
        **_facts(3200, 800, 32),
    )


def ctc() -> RunHistory:
    """Lines of text: blanks alone for an epoch, then the tokens appear."""
    errors = [1.0, 0.62, 0.21, 0.11, 0.07, 0.05, 0.04, 0.034, 0.031, 0.03, 0.03, 0.029]
    ratio = [1.04, 0.7, 0.28, 0.15, 0.1, 0.075, 0.06, 0.052, 0.048, 0.046, 0.045, 0.045]
    n, losses = len(errors), [2.6 * r for r in ratio]
    emitted = [0.0, 0.6, 0.9, 0.96, *[1.0] * 8]
    stage = {
        "loss_ratio": ratio,
        "loss_per_token": losses,
        "ter": errors,
        "emit_ratio": emitted,
        "nonblank_per_token": [1.3 * e for e in emitted],
        "blank_share": [1.0, 0.88, *[0.76] * 10],
        "blank_expected": [0.79] * n,
        "empty_share": [1.0, 0.05, *[0.0] * 10],
        "distinct_tokens": [0.0, 8.0, *[10.0] * 10],
        "reference_tokens": [10.0] * n,
        "exact_share": [max(0.0, 1 - 4.5 * e) for e in errors],
        "infeasible_share": [0.0] * n,
        "hidden_share": [0.0] * n,
        "blank_target_share": [0.0] * n,
        "out_of_range_share": [0.0] * n,
        "norm_error_share": [0.0] * n,
        "pinned_share": [0.0] * n,
        "nonfinite_share": [0.0] * n,
        "length_share": [0.72] * n,
        "tokens_per_frame": [0.206] * n,
    }
    columns = {f"ctc/{name}/{signal}": values for name in ("train", "val") for signal, values in stage.items()}
    return history(
        {"train/loss": [1.02 * v for v in losses], "val/loss": losses, **columns, **_steps(n)},
        lrs=[2e-3] * n,
        steps=60,
        classes=11,
        task="ctc",
        ctc=CTCFacts(
            blank=0,
            classes=11,
            trivial_loss=2.6,
            infeasible=Count(k=0, n=8400),
            blank_in_targets=Count(k=0, n=38_000),
            out_of_range=Count(k=0, n=38_000),
            zero_infinity=True,
            mapping=MappingTest(before=0.029, after=0.029, chance=None, p_value=1.0, lines=150),
        ),
        **_facts(1920, 300, 32),
    )


def weighted_sampler() -> RunHistory:
    """Classes of 90 and 10 % that a sampler draws equally often; validation keeps the shares of the world."""
    right = [0.7 + 0.25 * r for r in RIGHT]
    run = history(
        {"train/loss": _course(0.68, 0.15, 10), "val/loss": _course(0.6, 0.17, 10), **_steps(10)},
        counts={
            "train": [(round(8000 * (r + 0.01)), 8000) for r in right],
            "val": [(round(2000 * r), 2000) for r in right],
        },
        lrs=[1e-3] * 10,
        steps=250,
        classes=2,
        task="binary",
        **_facts(
            8000,
            2000,
            32,
            class_counts=(7200, 800),
            drawn_counts=(4010, 3990),
            sampler="WeightedRandomSampler",
            replacement=True,
            distinct=720,
            repeated=480,
        ),
    )
    wrong = 2000 - run.epochs[-1].stages["val"].correct.k
    missed = wrong // 5
    val = [(1800, 1800 - wrong + 2 * missed, 1800 - wrong + missed), (200, 200 + wrong - 2 * missed, 200 - missed)]
    train_right = run.epochs[-1].stages["train"].correct.k
    slips = (8000 - train_right) // 2
    train = [(4010, 4010, 4010 - slips), (3990, 3990, 3990 - slips)]
    return _rows(run, {"val": val, "train": train})


def restarts() -> RunHistory:
    """Three cycles of a cosine with restarts: each throws the loss back and ends lower."""
    tops, lows = (1.5, 0.75, 0.55), (0.5, 0.36, 0.3)
    val = [low + (top - low) * (1 - i / 4) ** 1.5 for top, low in zip(tops, lows, strict=True) for i in range(5)]
    right = [min(0.92, 0.97 - 0.3 * loss) for loss in val]
    lrs = [0.1 * (1 + math.cos(math.pi * i / 5)) / 2 for i in range(5)] * 3
    return history(
        {"train/loss": [0.9 * v for v in val], "val/loss": val, **_steps(15)},
        counts={
            "train": [(round(8000 * min(1, r + 0.02)), 8000) for r in right],
            "val": [(round(2000 * r), 2000) for r in right],
        },
        lrs=lrs,
        steps=250,
        classes=10,
        task="multiclass",
        **_facts(8000, 2000, 32, class_counts=(800,) * 10),
    )


def language_model() -> RunHistory:
    """Three epochs of fine-tuning: a low rate, a loss that starts near its end, pretrained weights that were loaded."""
    facts = _facts(6000, 600, 8)
    facts["model"] |= {"parameters": 124_000_000, "trainable": 124_000_000, "batch_norm": False, "looks_fresh": False}
    facts["optim"] |= {"lr": 5e-5, "planned_epochs": 3}
    steps = {
        **_steps(3),
        "update/ratio": [0.004, 0.002, 0.001],
        "grad/norm": [1.6, 1.5, 1.5],
        "grad/norm_max": [4.0] * 3,
    }
    steps.pop("relu/dead_share")
    return history(
        {"train/loss": [3.42, 3.21, 3.12], "val/loss": [3.25, 3.19, 3.17], "loss/first": [3.9, 3.3, 3.2], **steps},
        counts={
            "train": [(round(r * 6_000_000), 6_000_000) for r in (0.36, 0.375, 0.381)],
            "val": [(round(r * 600_000), 600_000) for r in (0.372, 0.377, 0.378)],
        },
        lrs=[5e-5 * (1 - i / 3) for i in range(3)],
        steps=750,
        classes=50_257,
        task="dense",
        pretrain=PretrainFacts(verdict="loaded", checkpoint="base.pt", equal=1.0, aligned=1.0, cosine=1.0, used=True),
        **facts,
    )


def scalars_only() -> RunHistory:
    """The log of another tool: two losses and an accuracy."""
    run = multiclass(source="metrics.csv", train={}, val={}, data={}, model={}, optim={}, stop={})
    kept = ("train/loss", "val/loss", "val/acc")
    rows = tuple(EpochRecord(epoch=r.epoch, values={k: r.values[k] for k in kept}) for r in run.epochs)
    return replace(run, epochs=rows)


HEALTHY = {
    made.__name__: made()
    for made in (
        multiclass,
        multilabel,
        dense,
        regression,
        ctc,
        weighted_sampler,
        restarts,
        language_model,
        scalars_only,
    )
}
