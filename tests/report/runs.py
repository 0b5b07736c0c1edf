"""Histories and diagnoses written by hand, as the engine would give them."""

from __future__ import annotations

import math

from lightning_diag.findings import Clear, Crashed, Diagnosis, Evidence, Finding, NotChecked, NotEstablished
from lightning_diag.history import (
    Baseline,
    BlockShare,
    CaptureFacts,
    ClassRow,
    Confusion,
    Count,
    CTCFacts,
    DataFacts,
    EpochRecord,
    Event,
    GroupRow,
    ModelFacts,
    OptimFacts,
    PretrainFacts,
    RunContext,
    RunHistory,
    Sample,
    SplitFacts,
    StageRecord,
    StopFacts,
    Target,
)

NAMES = ("my_mouth_is_dry", "i_need_to_move", "doctor", "pillow")


def rows(*counts: tuple[int, int, int]) -> tuple[ClassRow, ...]:
    """(support, predicted, correct) per class."""
    return tuple(ClassRow(index=i, support=s, predicted=p, correct=c) for i, (s, p, c) in enumerate(counts))


def resumed() -> RunHistory:
    """Seed 1: resumed at epoch 22 from 21/29, ended at 17/29."""
    table = [
        (22, 0.78125, 5, 2.02, None, 0.71, 5e-4),
        (26, 0.9018, 18, 1.10, None, 0.35, 2.5e-4),
        (31, 0.9464, 19, 1.21, None, 0.21, 5e-4),
        (36, 0.9732, 17, 1.26, None, 0.12, 2.5e-4),
        (41, 219 / 224, 17, 1.34, 219, 0.08, 1e-5),
    ]
    final = rows((4, 6, 4), (8, 9, 6), (10, 7, 4), (7, 7, 3))
    train = rows((80, 80, 77), (60, 61, 59), (42, 41, 41), (42, 42, 42))
    at_best = rows((4, 5, 4), (8, 9, 6), (10, 8, 5), (7, 7, 4))
    matrix = ((4, 0, 0, 0), (0, 6, 2, 0), (2, 2, 4, 2), (0, 1, 3, 3))
    records = []
    for epoch, acc, k, loss, train_k, train_loss, lr in table:
        stages = {"val": StageRecord(n=29, correct=Count(k=k, n=29))}
        if epoch == 31:
            stages["val"] = StageRecord(n=29, correct=Count(k=k, n=29), classes=at_best)
        if epoch == 41:
            stages["val"] = StageRecord(
                n=29,
                correct=Count(k=17, n=29),
                classes=final,
                matrix=matrix,
                groups=(
                    GroupRow(group="18–40 female", correct=Count(k=3, n=9)),
                    GroupRow(group="65+ male", correct=Count(k=14, n=20)),
                ),
            )
        if train_k:
            stages["train"] = StageRecord(n=224, correct=Count(k=train_k, n=224), classes=train)
        values = {"train/acc": acc, "val/acc": k / 29, "val/loss": loss, "train/loss": train_loss, "lr": lr}
        events = {
            22: (Event(kind="resume", text="from stage.ckpt"),),
            31: (Event(kind="lr_restart"),),
            41: (Event(kind="stop"),),
        }
        records.append(EpochRecord(epoch=epoch, values=values, stages=stages, lrs=(lr,), events=events.get(epoch, ())))
    return RunHistory(context=_resumed_context(), epochs=tuple(records))


def _resumed_context() -> RunContext:
    return RunContext(
        task="multiclass",
        classes=4,
        class_names=NAMES,
        model=ModelFacts(name="LipNet", parameters=2_980_000, trainable=2_980_000, loss_name="cross_entropy"),
        data=DataFacts(
            train=SplitFacts(
                size=231,
                batches=28,
                batch_size=8,
                class_counts=(81, 62, 44, 44),
                sampler="WeightedRandomSampler",
                shuffled=True,
                drop_last=True,
                drawn_counts=(58, 57, 55, 54),
                input_mean=0.02,
                input_std=0.98,
            ),
            val=SplitFacts(size=29, batches=4, batch_size=8, class_counts=(4, 8, 10, 7), shuffled=False),
            overlap=Count(k=0, n=29),
        ),
        optim=OptimFacts(
            optimizer="AdamW", scheduler="CosineAnnealingWarmRestarts", lr=5e-4, weight_decay=1e-4, planned_epochs=60
        ),
        capture=(
            CaptureFacts(stage="train", source="loss call cross_entropy", task="multiclass"),
            CaptureFacts(stage="val", source="loss call cross_entropy", task="multiclass"),
        ),
        stop=StopFacts(
            status="stopped",
            stopper="EarlyStopping",
            reason="val_acc did not improve in the last 10 records",
            would_stop_epoch=34,
            would_stop_reason="the chance that a later epoch beats epoch 31 fell below 5 %",
            saved_epochs=7,
            saved_seconds=210.0,
            probability=tuple((e, p) for e, p in zip(range(22, 42), [0.9 - 0.045 * i for i in range(20)], strict=True)),
        ),
        target=Target(value=0.82),
        baseline=Baseline(source="given", epoch=21, correct=Count(k=21, n=29), loss=1.0),
        resumed_from="checkpoints/epoch=21-val_acc=0.72.ckpt",
        resumed_epoch=22,
        precision="32-true",
        devices=1,
        accelerator="cpu",
        seed=7,
        versions={"lightning": "2.6.6", "torch": "2.13.0"},
        settings={"GapMonitor": "target=0.82"},
        samples=(
            Sample(index=3, reference=(2,), prediction=(1,), confidence=0.97, loss=4.2, role="surest mistake"),
            Sample(index=17, reference=(3,), prediction=(2,), confidence=0.91, loss=3.1, role="surest mistake"),
        ),
        notes=("per-class rows were kept at start, best and last",),
    )


def resumed_diagnosis() -> Diagnosis:
    """The judgement that the example of a report spells out."""
    drop = Finding(
        code="LD503", name="drop-after-resume", severity="error", confidence=0.85, claim="likely",
        title="Validation fell at the resume: 21 → 5 of 29",
        summary="In epoch 22, the first after resuming, validation fell from 21/29 to 5/29 (p = 5e-5)",
        evidence=(
            Evidence(signal="val/acc", epoch=22, observed=5 / 29, expected=21 / 29, p_value=5e-5,
                     text="a fall of this size in one epoch is not noise: p = 5e-5"),
            Evidence(signal="lr", epoch=22, observed=5e-4, text="learning rate 5e-4 with `CosineAnnealingWarmRestarts`, no warm-up"),
        ),
        against=(Evidence(signal="pretrain", text="nothing recorded excludes changed preprocessing or weights that were not restored"),),
        why="A working model was destroyed; training then started over from a worse place",
        actions=(
            "resume with `trainer.fit(..., ckpt_path=...)`, so that optimiser and schedule come back",
            "lower the learning rate to 1e-4 or less, with 100 steps of warm-up",
            "use one decay instead of restarts",
        ),
        next_test="Validate the checkpoint before the first step with `trainer.validate`: 21/29 again means the updates did it",
        explains=("LD208",), excludes=(), scope="weights", epoch=22,
    )  # fmt: skip
    overfitting = Finding(
        code="LD201", name="overfitting", severity="error", confidence=0.999, claim="established",
        title="Training goes on alone: 98 % against 59 %",
        summary="Training 219/224 = 98 %, validation 17/29 = 59 %: a gap of 39 points (23–57)",
        evidence=(Evidence(signal="val/loss", epoch=26, text="validation loss rose from 1.10 in epoch 26 to 1.34 while training loss fell"),),
        why="2.98 M trainable parameters, 12,900 per training clip",
        actions=("train the head only, then unfreeze with 1e-5", "weight decay 1e-2, dropout 0.5", "collect more clips"),
        next_test="If head-only training keeps the gap, capacity was not the reason",
        scope="val", epoch=26,
    )  # fmt: skip
    missed = Finding(
        code="LD208", name="target-missed", severity="warning", confidence=0.99, claim="established", title="82 % missed: 59 %",
        summary="The final 17/29 = 59 % is below 82 % (p = 0.003)", evidence=(Evidence(signal="val/acc", text="17/29", epoch=41),),
        explained_by="LD503", scope="val",
    )  # fmt: skip
    small = Finding(
        code="LD601", name="validation-set-too-small", severity="info", confidence=0.95, claim="established",
        title="29 validation samples", summary="Unpaired differences under about 35 points are missed more often than one time in five",
        evidence=(Evidence(signal="val/n", text="29 samples"),), next_test="Use 5-fold cross-validation or at least 190 validation samples",
    )  # fmt: skip
    return Diagnosis(
        verdict="The first epoch after resuming destroyed a working model, and training then memorised instead of relearning. "
        "Validation fell from 21/29 to 5/29 in epoch 22 (p = 5e-5) and never came back.",
        findings=(drop, missed, overfitting, small),
        not_established=(
            NotEstablished(
                claim="That validation got worse over all (72 % → 59 %)",
                reason="4 of 29 samples, p = 0.41; at best p = 0.13 if all four are the same samples",
                needed="To tell 72 % from 59 % unpaired you need about 190 samples per evaluation",
            ),
        ),
        clear=(
            Clear(code="LD301", name="class-collapse", text="4 of 4 classes predicted"),
            Clear(code="LD101", name="non-finite-loss"),
        ),
        not_checked=(
            NotChecked(
                code="LD501", name="weights-not-loaded", reason="no checkpoint was named (add `PretrainLoadVerifier`)"
            ),
            NotChecked(code="LD401", name="ctc-blank-collapse", reason="no CTC loss in this run"),
            NotChecked(code="LD402", name="ctc-blank-index", reason="no CTC loss in this run"),
        ),
        crashed=(Crashed(code="LD604", name="split-shift", error="ValueError: <b>boom</b> | `x`"),),
        thresholds={"LD201": {"rise": 0.15}, "LD503": {"alpha": 0.01, "min_points": 10.0}},
    )


def sequences() -> RunHistory:
    """A CTC run that emits almost only blanks, over an encoder that was not loaded."""
    records = []
    for epoch in range(12):
        values = {
            "train/loss": 3.2 - 0.05 * epoch, "val/loss": 3.3 - 0.04 * epoch, "lr": 1e-3,
            "ctc/val/ter": 1.0 - 0.002 * epoch, "ctc/val/blank_share": min(1.0, 0.5 + 0.1 * epoch), "ctc/val/blank_expected": 0.83,
            "ctc/val/emit_ratio": max(0.0, 0.9 - 0.1 * epoch), "ctc/val/loss_ratio": 1.05 - 0.003 * epoch, "ctc/train/ter": 0.99,
        }  # fmt: skip
        stages = {"val": StageRecord(n=120, correct=Count(k=0, n=120))}
        records.append(EpochRecord(epoch=epoch, values=values, stages=stages, lrs=(1e-3, 1e-4)))
    context = RunContext(
        task="ctc", classes=11, class_names=("<blank>", *"0123456789"), model=ModelFacts(name="CRNN", parameters=130_000, trainable=120_000),
        data=DataFacts(train=SplitFacts(size=806), val=SplitFacts(size=120)),
        pretrain=PretrainFacts(
            verdict="not loaded", checkpoint="stage1.pt", module="encoder", parameters=98_000, equal=0.0, aligned=0.98, cosine=0.001,
            blocks=(BlockShare(block="encoder.conv", parameters=12_000, equal=0.0), BlockShare(block="encoder.rnn", parameters=86_000, equal=0.0)),
            reason="0 of 98,000 parameters equal the checkpoint; every key has the prefix `module.`",
            fix='encoder.load_state_dict(torch.load("stage1.pt", weights_only=True)["model"])',
        ),
        ctc=CTCFacts(
            blank=0, classes=11, decoder_blank=0, trivial_loss=2.62, infeasible=Count(k=3, n=600), never_emitted=(3, 4, 9),
            confused_tokens=(Confusion(target=3, predicted=5, count=14),), zero_infinity=True,
            checks=(("log-probabilities", "the rows sum to one"),),
        ),
        samples=(
            Sample(index=0, reference=(3, 1, 4, 1, 5), prediction=(3, 1, 1, 6), role="median"),
            Sample(index=7, reference=(9, 2, 6), prediction=(), role="worst"),
            Sample(index=9, reference=(5, 3), prediction=(5, 8, 3), loss=0.4, role="best"),
        ),
        stop=StopFacts(status="finished"),
    )  # fmt: skip
    return RunHistory(context=context, epochs=tuple(records))


def sequences_diagnosis() -> Diagnosis:
    """Weights not loaded explains the blank collapse."""
    cause = Finding(
        code="LD501", name="weights-not-loaded", severity="error", confidence=0.99, claim="established", title="`stage1.pt` did not reach `encoder`",
        summary="0 of 98,000 parameters of `encoder` equal the checkpoint", evidence=(Evidence(signal="pretrain", text="cosine 0.001 over aligned weights"),),
        why="Training started from random weights", actions=("load it with the line below",), next_test="The verifier reports `loaded` before the first step",
        explains=("LD401",), scope="weights",
    )  # fmt: skip
    symptom = Finding(
        code="LD401", name="ctc-blank-collapse", severity="error", confidence=0.9, claim="likely", title="Only blanks: 100 % of frames",
        summary="Since epoch 5 every frame is blank, where 83 % are expected", evidence=(Evidence(signal="ctc/val/blank_share", text="blank share 1.0", epoch=11),),
        explained_by="LD501", scope="ctc", next_test="Train on 20 lines: they must be learnt by heart",
    )  # fmt: skip
    return Diagnosis(verdict="The pretrained encoder was never loaded.", findings=(cause, symptom))


def healthy() -> RunHistory:
    """Ten digits, twelve epochs, nothing wrong."""
    records = []
    for epoch in range(12):
        k = round(360 * (0.97 - 0.6 * math.exp(-0.6 * epoch)))
        values = {"train/loss": 2.2 * math.exp(-0.35 * epoch), "val/loss": 0.15 + 2.0 * math.exp(-0.4 * epoch), "val/acc": k / 360,
                  "train/acc": 1 - 0.7 * math.exp(-0.6 * epoch), "lr": 1e-3 * (1 - epoch / 14)}  # fmt: skip
        each = tuple(
            ClassRow(index=i, support=36, predicted=36, correct=min(36, k // 10 + (i < k % 10))) for i in range(10)
        )
        matrix = tuple(
            tuple(r.correct if i == j else (36 - r.correct if j == (i + 1) % 10 else 0) for j in range(10))
            for i, r in enumerate(each)
        )
        stages = {"val": StageRecord(n=360, correct=Count(k=k, n=360), classes=each, matrix=matrix)}
        records.append(EpochRecord(epoch=epoch, values=values, stages=stages, lrs=(values["lr"],)))
    context = RunContext(task="multiclass", classes=10, class_names=tuple("0123456789"), model=ModelFacts(name="Net", parameters=12_000, trainable=12_000),
                         stop=StopFacts(status="finished"))  # fmt: skip
    return RunHistory(context=context, epochs=tuple(records))


def healthy_diagnosis() -> Diagnosis:
    """Nothing found."""
    return Diagnosis(verdict="Nothing is wrong: validation reached 349/360 = 97 % and training ran its planned 12 epochs.",
                     clear=(Clear(code="LD201", name="overfitting"), Clear(code="LD301", name="class-collapse", text="10 of 10 classes predicted")))  # fmt: skip


def large(epochs: int = 10_000, classes: int = 1000) -> RunHistory:
    """A long run of many classes; rows are kept at start, best and end."""
    records = []
    for epoch in range(epochs):
        rate = 1 - 0.9 * math.exp(-5 * epoch / epochs)
        keep = epoch in (0, epochs - 1)
        each = (
            tuple(
                ClassRow(index=i, support=50, predicted=50, correct=min(50, int(50 * rate * (i % 97) / 60)))
                for i in range(classes)
            )
            if keep
            else ()
        )
        n = 50 * classes
        count = Count(k=int(n * rate), n=n)
        values = {
            "train/loss": 7 * (1 - rate) + 0.01,
            "val/loss": 7.1 * (1 - rate) + 0.3,
            "val/acc": count.rate,
            "lr": 1e-3,
        }
        records.append(
            EpochRecord(
                epoch=epoch, values=values, stages={"val": StageRecord(n=n, correct=count, classes=each)}, lrs=(1e-3,)
            )
        )
    names = tuple(f"n{i:08d} a class with a rather long descriptive name, number {i}" for i in range(classes))
    return RunHistory(context=RunContext(task="multiclass", classes=classes, class_names=names), epochs=tuple(records))


HOSTILE = (
    "a|b", "`code`", "x``y", "line\nbreak", "<b>bold</b>", "<script>alert(1)</script>", "../../etc/passwd", "\x1b[31mred\x07",
    "\u202etxt.exe", "[link](http://x)", "![img](x)", "**strong** _em_", "&lt;", "$x^2$ and $y$", "\u200bzero", "",
    "ein sehr langer Name, der in keine Spalte passt und deshalb in der Mitte gekürzt wird", "手話", "إشارة", "\ud800half", "|---|", "# head",
    "1. one", "a\\|b", "-->", "]]>", "</style></svg>", "{{ 7*7 }}", "{% raise %}", "~~gone~~",
)  # fmt: skip


def hostile() -> RunHistory:
    """Every text that a run can bring is a name that tries to break out."""
    n = len(HOSTILE)
    matrix = tuple(tuple(3 if i == j else int((i + j) % 5 == 0) for j in range(n)) for i in range(n))
    each = tuple(
        ClassRow(index=i, support=sum(matrix[i]), predicted=sum(r[i] for r in matrix), correct=3) for i in range(n)
    )
    total = Count(k=3 * n, n=sum(map(sum, matrix)))
    records = []
    for epoch in range(4):
        groups = tuple(GroupRow(group=text, correct=Count(k=1, n=3)) for text in HOSTILE)
        stage = StageRecord(n=total.n, correct=total, classes=each, matrix=matrix, groups=groups)
        events = (Event(kind="resume", text=HOSTILE[5]),)
        values = {"val/acc": total.rate, "val/loss": 1.0, HOSTILE[4]: 2.0}
        records.append(EpochRecord(epoch=epoch, values=values, stages={"val": stage, HOSTILE[0]: stage}, events=events))
    bad = HOSTILE[5] + HOSTILE[0] + "\n# heading\n" + HOSTILE[8]
    context = RunContext(
        task="multiclass", classes=n, class_names=HOSTILE, model=ModelFacts(name=bad, parameters=10, trainable=10, loss_name=bad),
        data=DataFacts(train=SplitFacts(size=100, class_counts=tuple(range(1, n + 1)), sampler=bad)),
        optim=OptimFacts(optimizer=bad, scheduler=bad, early_stopping=bad), resumed_from=bad, seed=1, versions={bad: bad}, settings={bad: bad},
        pretrain=PretrainFacts(verdict="not loaded", checkpoint=bad, module=bad, reason=bad, fix="``` \n" + bad, head_mismatch=HOSTILE,
                               blocks=tuple(BlockShare(block=text, parameters=5, equal=0.5) for text in HOSTILE)),
        capture=(CaptureFacts(stage="train", problem=bad, heads=HOSTILE),), stop=StopFacts(status="exception", error=bad, reason=bad, best_checkpoint=bad),
        samples=tuple(Sample(index=i, reference=(i,), prediction=((i + 1) % n,), confidence=0.9, role=bad) for i in range(n)), notes=(bad,),
    )  # fmt: skip
    return RunHistory(context=context, epochs=tuple(records))


def hostile_diagnosis() -> Diagnosis:
    """The same texts, inside the sentences of a rule."""
    bad = " and ".join(HOSTILE)
    finding = Finding(
        code="LD302", name="class-never-predicted", severity="warning", confidence=0.9, claim="likely", title=bad, summary=bad,
        evidence=(Evidence(signal="val", text=f"seen: {bad}"),), against=(Evidence(signal="val", text=bad),), why=bad, actions=(bad, "b", bad), next_test=bad,
    )  # fmt: skip
    return Diagnosis(verdict=bad, findings=(finding,), not_established=(NotEstablished(claim=bad, reason=bad, needed=bad),),
                     clear=(Clear(code="LD101", name="non-finite-loss", text=bad),), not_checked=(NotChecked(code="LD102", name="x", reason=bad),),
                     crashed=(Crashed(code="LD103", name="y", error=bad),))  # fmt: skip


def many_classes(classes: int = 100, epochs: int = 60) -> RunHistory:
    """A hundred classes over sixty epochs with a learning curve each."""
    records = []
    for epoch in range(epochs):
        each = tuple(ClassRow(index=i, support=20 + i % 7, predicted=22, correct=min(20, int((20 + i % 7) * (1 - math.exp(-(epoch + 1) * (i % 13) / 150)))))
                     for i in range(classes))  # fmt: skip
        total = Count(k=sum(r.correct for r in each), n=sum(r.support for r in each))
        pairs = tuple(Confusion(target=i, predicted=(7 * i) % classes, count=max(1, 12 - i)) for i in range(1, 40))
        stage = StageRecord(n=total.n, correct=total, classes=each, confusions=pairs)
        values = {
            "val/acc": total.rate,
            "val/loss": 4.6 * (1 - total.rate),
            "train/loss": 4.6 * (1 - total.rate) * 0.9,
            "lr": 1e-3,
        }
        records.append(EpochRecord(epoch=epoch, values=values, stages={"val": stage}, lrs=(1e-3,)))
    return RunHistory(
        context=RunContext(
            task="multiclass", classes=classes, class_names=tuple(f"sign_{i:03d}" for i in range(classes))
        ),
        epochs=tuple(records),
    )


def several_evaluations() -> RunHistory:
    """Four validations per epoch, two validation loaders, and a loss that became infinite."""
    records = []
    for i in range(16):
        k = min(95, 20 + 6 * i)
        stages = {
            "val": StageRecord(n=100, correct=Count(k=k, n=100)),
            "val:1": StageRecord(n=50, correct=Count(k=k // 3, n=50), complete=False, padded=2),
        }
        values = {
            "val/acc": k / 100,
            "val:1/acc": (k // 3) / 50,
            "val/loss": 2.0 / (i + 1),
            "val:1/loss": 2.5,
            "lr": 0.01,
        }
        if i % 4 == 3:
            values |= {"train/loss": 1.8 / (i + 1), "train/acc": k / 100}
        if i == 15:
            values["train/loss"] = math.inf
        records.append(EpochRecord(epoch=i // 4, step=10 * (i + 1), values=values, stages=stages, lrs=(0.01, 0.001)))
    return RunHistory(
        context=RunContext(task="multiclass", classes=5, stop=StopFacts(status="running")), epochs=tuple(records)
    )
