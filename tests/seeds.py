"""The two write-ups that started this project and nine small curves, as histories."""

from __future__ import annotations

from lightning_diag.history import (
    Baseline,
    ClassRow,
    Count,
    DataFacts,
    EpochRecord,
    Event,
    ModelFacts,
    OptimFacts,
    RunContext,
    RunHistory,
    SplitFacts,
    StageRecord,
    Target,
)
from tests.build import history

SEED1_CLASSES = ("my_mouth_is_dry", "i_need_to_move", "doctor", "pillow")


def seed1() -> RunHistory:
    """A lip-reading model, resumed in epoch 22: 231 training and 29 validation clips of four classes."""
    table = (  # epoch, training accuracy, correct of 29, validation loss
        (22, 0.7812, 5, 2.02),
        (26, 0.9018, 18, 1.10),
        (31, 0.9464, 19, 1.21),
        (36, 0.9732, 17, 1.26),
        (41, 0.9464, 17, 1.34),
    )
    epochs = tuple(_seed1_epoch(*row, last=row[0] == 41) for row in table)
    val = SplitFacts(size=29, class_counts=(4, 8, 10, 7))
    train = SplitFacts(size=231, batches=28, batch_size=8, sampler="WeightedRandomSampler", drop_last=True)
    return RunHistory(
        context=RunContext(
            task="multiclass",
            classes=4,
            class_names=SEED1_CLASSES,
            model=ModelFacts(parameters=2_980_000, trainable=2_980_000),
            data=DataFacts(train=train, val=val),
            optim=OptimFacts(lr=5e-4, scheduler="CosineAnnealingWarmRestarts"),
            target=Target(value=0.82),
            baseline=Baseline(source="given", epoch=21, correct=Count(k=21, n=29), loss=1.0),
            resumed_epoch=22,  # its weights were loaded by hand: resumed_from would say that fit(ckpt_path=) restored all
        ),
        epochs=epochs,
    )


def _seed1_epoch(epoch: int, train_acc: float, correct: int, val_loss: float, *, last: bool) -> EpochRecord:
    rows = ((4, 4), (8, 6), (10, 4), (7, 3)) if last else ()
    classes = tuple(ClassRow(index=i, support=n, predicted=None, correct=k) for i, (n, k) in enumerate(rows))
    trained = Count(k=219 if last else round(train_acc * 224), n=224)  # 97.77 % is 219 of 224, reported at the end
    stages = {
        "train": StageRecord(n=224, correct=trained),
        "val": StageRecord(n=29, correct=Count(k=correct, n=29), classes=classes),
    }
    values = {"train/acc": trained.rate, "val/acc": correct / 29, "val/loss": val_loss}
    if epoch == 22:
        values["lr"] = 5e-4
    return EpochRecord(epoch=epoch, values=values, stages=stages, events=(Event(kind="resume"),) if epoch == 22 else ())


def seed2() -> RunHistory:
    """Isolated signs, 100 classes, 806 training clips; 3.57 % and 0.60 % are 6 and 1 of 168 validation clips.

    Only the best and the last epoch were written down; the number of the last one was not, 40 stands for it.
    """
    best = EpochRecord(
        epoch=20, values={"val/acc": 6 / 168}, stages={"val": StageRecord(n=168, correct=Count(k=6, n=168))}
    )
    last = EpochRecord(
        epoch=40,
        values={"train/loss": 0.4767, "val/loss": 11.3826, "val/acc": 1 / 168, "ctc/val/blank_share": 0.2719},
        stages={"val": StageRecord(n=168, correct=Count(k=1, n=168))},
    )
    return RunHistory(
        context=RunContext(
            classes=100,
            model=ModelFacts(parameters=130_000, trainable=130_000),
            data=DataFacts(train=SplitFacts(size=806), val=SplitFacts(size=168)),
            optim=OptimFacts(lr=1e-3, weight_decay=1e-4),
        ),
        epochs=(best, last),
    )


def overfitting() -> RunHistory:
    """Plain overfitting, losses only."""
    return history(
        {
            "train/loss": [2.2, 1.4, 0.95, 0.7, 0.5, 0.36, 0.25, 0.17, 0.11, 0.07],
            "val/loss": [2.2, 1.5, 1.15, 1.0, 0.97, 1.02, 1.12, 1.26, 1.42, 1.6],
        }
    )


def healthy() -> RunHistory:
    """Both losses fall and flatten."""
    return history(
        {
            "train/loss": [2.2, 1.4, 0.95, 0.7, 0.55, 0.46, 0.4, 0.36, 0.34, 0.33],
            "val/loss": [2.2, 1.45, 1.02, 0.78, 0.65, 0.57, 0.53, 0.5, 0.49, 0.485],
        }
    )


def healthy_noisy() -> RunHistory:
    """Healthy, with a validation set of 29 that jumps."""
    correct = (14, 18, 21, 19, 23, 20, 24, 22, 25, 23)
    return history(
        {
            "train/loss": [1.3, 1.05, 0.88, 0.76, 0.67, 0.6, 0.55, 0.51, 0.48, 0.46],
            "val/loss": [1.31, 1.02, 0.83, 0.98, 0.72, 0.86, 0.66, 0.79, 0.62, 0.71],
        },
        counts={"val": [(k, 29) for k in correct]},
        classes=4,
    )


def val_below_train() -> RunHistory:
    """Dropout: the validation loss lies below the training loss all the time."""
    return history(
        {
            "train/loss": [2.0, 1.5, 1.2, 1.0, 0.88, 0.8, 0.75, 0.71, 0.69, 0.68],
            "val/loss": [1.6, 1.1, 0.85, 0.7, 0.6, 0.54, 0.5, 0.47, 0.45, 0.44],
        },
        model={"dropout": True},
    )


def over_confident() -> RunHistory:
    """Validation loss goes up while validation accuracy goes from 72 to 80 %."""
    correct = (240, 288, 296, 302, 306, 310, 313, 316, 318, 320)
    return history(
        {
            "train/loss": [1.2, 0.85, 0.62, 0.47, 0.36, 0.28, 0.21, 0.16, 0.12, 0.09],
            "val/loss": [1.1, 0.82, 0.78, 0.8, 0.84, 0.89, 0.94, 1.0, 1.06, 1.12],
        },
        counts={"val": [(k, 400) for k in correct]},
        classes=5,
    )


def blank_collapse() -> RunHistory:
    """CTC: nothing but blanks to the end, the loss stays at what an output that ignores the input reaches."""
    return history(
        {
            "train/loss": [9.0, 3.4, 2.95, 2.9, 2.89, 2.88, 2.88, 2.88, 2.87, 2.87],
            "val/loss": [4.1, 3.0, 2.92, 2.9, 2.9, 2.89, 2.89, 2.89, 2.89, 2.89],
            "ctc/val/blank_share": [0.92] + [1.0] * 9,
            "ctc/val/blank_expected": [0.8] * 10,
            "ctc/val/emit_ratio": [0.3] + [0.0] * 9,
            "ctc/val/loss_ratio": [1.42, 1.04, 1.01, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
            "ctc/train/blank_share": [0.92] + [1.0] * 9,
            "ctc/train/blank_expected": [0.8] * 10,
            "ctc/train/emit_ratio": [0.3] + [0.0] * 9,
            "ctc/train/loss_ratio": [3.1, 1.17, 1.02, 1.0, 1.0, 0.99, 0.99, 0.99, 0.99, 0.99],
            "ctc/val/ter": [0.97] + [1.0] * 9,
        },
        task="ctc",
    )


def class_collapse() -> RunHistory:
    """Three classes, everything is called the first one, the loss stays at ln 3."""
    return history(
        {"train/loss": [1.12] + [1.0986] * 9, "val/loss": [1.1] + [1.0986] * 9},
        counts={"train": [(100, 300)] * 10, "val": [(50, 150)] * 10},
        rows={"val": [(50, 150, 50), (50, 0, 0), (50, 0, 0)]},
        classes=3,
        task="multiclass",
    )


NINE = {
    "plain overfitting": overfitting,
    "healthy": healthy,
    "healthy, noisy, 29 samples": healthy_noisy,
    "healthy, validation loss below training loss": val_below_train,
    "loss up, accuracy up": over_confident,
    "blank collapse": blank_collapse,
    "class collapse": class_collapse,
    "seed 1": seed1,
    "seed 2": seed2,
}
"""The curves that peers were measured on; seven small ones and both write-ups."""
