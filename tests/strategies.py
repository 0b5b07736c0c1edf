"""Hypothesis strategies for whole histories, shared by the suites of store, readers and rules."""

from dataclasses import fields, is_dataclass
from dataclasses import replace as changed
from functools import cache
from typing import get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from lightning_diag.history import (
    SIGNALS,
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
    Paired,
    PretrainFacts,
    RunContext,
    RunHistory,
    Sample,
    SplitFacts,
    StageRecord,
    StopFacts,
    Target,
)

TASKS = ("multiclass", "binary", "multilabel", "dense", "ctc", "regression")
VERDICTS = ("loaded", "partly loaded", "not loaded", "resumed", "checkpoint untrained", "cannot tell")
small = st.integers(0, 2**40)
text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
floats = st.floats(allow_nan=False)


def counts():
    return st.tuples(small, small).map(lambda p: Count(k=min(p), n=max(p)))


def maybe(strategy):
    return st.none() | strategy


def tuples(strategy, size=3):
    return st.lists(strategy, max_size=size).map(tuple)


class_rows = st.tuples(small, small, small, small).map(
    lambda n: ClassRow(index=n[0], support=n[1], predicted=n[2], correct=min(n[1:]))
)
confusions = st.builds(Confusion, target=small, predicted=small, count=small)
paired = st.builds(
    Paired,
    reference_epoch=small,
    both=small,
    gained=small,
    lost=small,
    neither=small,
    loss_delta_mean=maybe(floats),
    loss_delta_sem=maybe(floats),
)
matrices = st.integers(0, 3).flatmap(
    lambda n: st.lists(st.lists(small, min_size=n, max_size=n).map(tuple), min_size=n, max_size=n).map(tuple)
)
stages = st.builds(
    StageRecord,
    n=small,
    correct=maybe(counts()),
    classes=tuples(class_rows),
    confusions=tuples(confusions),
    matrix=matrices,
    groups=tuples(st.builds(GroupRow, group=text, correct=counts())),
    paired=maybe(paired),
    complete=st.booleans(),
    padded=small,
)
records = st.builds(
    EpochRecord,
    epoch=st.integers(0, 10**6),
    step=maybe(small),
    values=st.dictionaries(st.sampled_from(["train/loss", "val/loss", "val/acc", "lr"]) | text, floats, max_size=4),
    stages=st.dictionaries(st.sampled_from(["train", "val", "val:1"]), stages, max_size=2),
    lrs=tuples(floats),
    events=tuples(st.builds(Event, kind=text, text=text)),
)
splits = st.builds(SplitFacts, size=maybe(small), class_counts=tuples(small), input_std=maybe(floats))
contexts = st.builds(
    RunContext,
    task=maybe(st.sampled_from(TASKS)),
    classes=maybe(small),
    class_names=tuples(text),
    data=st.builds(DataFacts, train=splits, val=splits, overlap=maybe(counts())),
    pretrain=maybe(
        st.builds(
            PretrainFacts,
            verdict=text,
            blocks=tuples(st.builds(BlockShare, block=text, parameters=small, equal=floats)),
        )
    ),
    ctc=maybe(st.builds(CTCFacts, blank=maybe(small), checks=tuples(st.tuples(text, text)))),
    capture=tuples(st.builds(CaptureFacts, stage=text, heads=tuples(text))),
    stop=st.builds(StopFacts, probability=tuples(st.tuples(small, floats))),
    samples=tuples(st.builds(Sample, index=small, reference=tuples(small), prediction=tuples(small))),
    versions=st.dictionaries(text, text, max_size=2),
    settings=st.dictionaries(text, text, max_size=2),
    notes=tuples(text),
    total_seconds=maybe(floats),
)
histories = st.builds(RunHistory, context=contexts, epochs=tuples(records, 4))

assert {f.name for f in fields(RunHistory)} == {"context", "epochs"}


some = st.integers(0, 500)
numbers = st.floats(0, 3) | st.floats(width=32) | st.sampled_from([0.0, 1.0, -1.0, 1e-9])
"""What a signal can be: any number, not finite ones too, and often one of the size of losses and rates."""
few_counts = st.tuples(some, some).map(lambda p: Count(k=min(p), n=max(p)))
KINDS = {
    int: some,
    float: numbers,
    bool: st.booleans(),
    str: text,
    Count: few_counts,
}


@cache
def of(kind):
    """Any value of a fact's type; an optional one is absent half of the time, and so every rule meets its absence."""
    if kind in KINDS:
        return KINDS[kind]
    if is_dataclass(kind):
        return st.builds(kind, **{name: of(hint) for name, hint in get_type_hints(kind).items()})
    arguments = get_args(kind)
    if get_origin(kind) is tuple:
        return tuples(of(arguments[0])) if arguments[-1] is ... else st.tuples(*map(of, arguments))
    return maybe(of(next(a for a in arguments if a is not type(None))))


signals = st.sampled_from(
    [name.format(stage=stage, name="val_acc") for name in SIGNALS for stage in ("train", "val", "probe")]
)
COURSE = ("train/loss", "val/loss", "train/acc", "val/acc", "lr", "ctc/train/loss_ratio", "ctc/val/ter", "grad/norm")
values = st.builds(
    lambda often, more: more | often,
    st.fixed_dictionaries({}, optional=dict.fromkeys(COURSE, numbers)),
    st.dictionaries(signals, numbers, max_size=20),
)
"""The scalars of an epoch: those that most rules read in half of the epochs, of the others some."""


def evaluations(classes):
    """One stage of one epoch with a row for each class, some of them with the recall alone."""
    row = st.tuples(some, maybe(some), some)
    table = st.lists(row, min_size=classes, max_size=classes).map(
        lambda cells: tuple(
            ClassRow(index=i, support=s, predicted=p, correct=min(c, s, s if p is None else p))
            for i, (s, p, c) in enumerate(cells)
        )
    )
    return st.tuples(st.just(()) | table, maybe(few_counts), st.booleans()).map(_evaluation)


def _evaluation(parts):
    rows, correct, complete = parts
    if rows:
        correct = Count(k=sum(r.correct for r in rows), n=sum(r.support for r in rows))
    return StageRecord(n=correct.n if correct else 0, correct=correct, classes=rows, complete=complete)


def runs_to_judge(classes):
    """Histories of up to eight epochs under the names that rules ask for, with facts of every kind, of any task."""
    rows = st.lists(
        st.tuples(
            values,
            st.dictionaries(st.sampled_from(["train", "val", "probe"]), evaluations(classes), max_size=3),
        ),
        max_size=8,
    )
    context = st.builds(
        RunContext,
        task=maybe(st.sampled_from(TASKS)),
        classes=maybe(st.just(classes)),
        monitor=maybe(signals),
        monitor_mode=st.sampled_from(["min", "max"]),
        **{
            name: of(hint)
            for name, hint in get_type_hints(RunContext).items()
            if name in {"model", "data", "optim", "ctc", "stop", "baseline", "resumed_epoch"}
        },
        pretrain=maybe(
            st.builds(
                lambda facts, verdict: changed(facts, verdict=verdict), of(PretrainFacts), st.sampled_from(VERDICTS)
            )
        ),
        target=maybe(st.builds(Target, value=numbers, metric=signals, mode=st.sampled_from(["min", "max"]))),
        source=st.sampled_from(["live", "metrics.csv"]),
    )
    return st.builds(
        lambda context, rows, start: RunHistory(
            context=context,
            epochs=tuple(EpochRecord(epoch=start + i, values=v, stages=s) for i, (v, s) in enumerate(rows)),
        ),
        context,
        rows,
        st.integers(0, 30),
    )


judged = st.integers(1, 6).flatmap(runs_to_judge)
