"""Hypothesis strategies for whole histories, shared by the suites of store, readers and rules."""

from dataclasses import fields

from hypothesis import strategies as st

from lightning_diag.history import (
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
)

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
    task=maybe(st.sampled_from(["multiclass", "ctc"])),
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
