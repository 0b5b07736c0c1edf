"""What one epoch measured: stages, samples and events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lightning_diag.history.counts import Count, GroupRow
from lightning_diag.history.tables import ClassRows, Confusions, Matrix


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRecord:
    """What one evaluation of one stage measured besides its scalars.

    Attributes:
        n: samples (for dense tasks: positions that count) the metrics rest on.
        correct: accuracy as a count; None where the task has none.
        classes: one row per class; empty where thinned or where the task has no classes. Any sequence of
            :class:`ClassRow` may be given; it is kept as a compact table, and so are confusions and matrix.
        confusions: most frequent confusions, largest first, bounded.
        matrix: full confusion matrix, rows are targets; only up to 64 classes, else empty.
        groups: per-group accuracy, where ``groups=`` was given.
        paired: paired comparison of this evaluation with the best one so far; None where samples are not paired.
        complete: False when the evaluation did not cover the whole loader (``limit_*_batches``, a torn epoch).
        padded: samples that a distributed sampler repeated to make the ranks even.
        thinned: weight of the class rows and the matrix that were left out, the run being long
            (:mod:`lightning_diag.thinning`); 0 where they are here.
    """

    n: int
    correct: Count | None = None
    classes: ClassRows = field(default_factory=ClassRows)
    confusions: Confusions = field(default_factory=Confusions)
    matrix: Matrix = field(default_factory=Matrix)
    groups: tuple[GroupRow, ...] = ()
    paired: Paired | None = None
    complete: bool = True
    padded: int = 0
    thinned: int = 0

    def __post_init__(self) -> None:
        if self.thinned < 0:
            raise ValueError(f"StageRecord(thinned={self.thinned}): expected 0 or more")
        for name, kind in (("classes", ClassRows), ("confusions", Confusions), ("matrix", Matrix)):
            rows = getattr(self, name)
            if not isinstance(rows, kind):
                object.__setattr__(self, name, kind.of(rows))


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """The same validation samples at two evaluations.

    Attributes:
        reference_epoch: the epoch compared with (the best so far before this one, by accuracy, else by loss).
        both: right in both; gained: wrong then, right now; lost: right then, wrong now; neither: wrong in both.
        loss_delta_mean: mean over samples of (loss now - loss then); None without per-sample losses.
        loss_delta_sem: its standard error.
    """

    reference_epoch: int
    both: int
    gained: int
    lost: int
    neither: int
    loss_delta_mean: float | None = None
    loss_delta_sem: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened in an epoch.

    Attributes:
        kind: one of ``start resume best lr_cut lr_restart lr_rise stop would_stop exception interrupted partial
            verified not_loaded announced``.
        text: one short sentence for the report.
    """

    kind: str
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """What one epoch (one validation interval) measured; append-only."""

    epoch: int
    step: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    stages: Mapping[str, StageRecord] = field(default_factory=dict)
    lrs: tuple[float, ...] = ()
    events: tuple[Event, ...] = ()

    def value(self, name: str) -> float | None:
        """The scalar ``name`` if it was measured in this epoch."""
        return self.values.get(name)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sample shown in the report.

    Attributes:
        index: position in the validation order.
        reference: target class index, or the token sequence for CTC.
        prediction: predicted class index or token sequence.
        confidence: probability of the predicted class (None for CTC).
        loss: loss of this sample in nats, where known.
        role: why it was picked: ``surest mistake``, ``best``, ``median``, ``worst``, ``longest``.
    """

    index: int
    reference: tuple[int, ...]
    prediction: tuple[int, ...]
    confidence: float | None = None
    loss: float | None = None
    role: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """What each sample of a validation set did in one evaluation, so that runs can be compared paired.

    Attributes:
        stage: ``val``, ``val:1`` ...; epoch: of the evaluation (the best one).
        n: samples. fingerprint: of the targets and their order; runs with the same one saw the same samples.
        right: bit i is set when sample i was predicted right, as a hexadecimal number.
    """

    stage: str
    epoch: int
    n: int
    fingerprint: int
    right: str
