"""A few batches run once more in eval mode, between epochs and without a trace in the training.

What training metrics hide (dropout is on, weights move during the epoch) shows when the same samples are evaluated like
validation samples. The probe never calls the user's steps: they log, count and append. It runs the part of the module
whose output *is* the prediction, with the inputs which that part was given in the step.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from lightning_diag.signals.dead import LOOKS, SMALLEST, DeadUnits, relu_layers
from lightning_diag.signals.keeping import MOST_BUFFER_BYTES, buffer_bytes, kept_as_it_is
from lightning_diag.signals.visits import Reading, Visit, VisitWatch, readings, same_values

BATCHES = 2
"""Training batches in the probe: with 32 samples each an accuracy is known to about 6 points; more cost more."""
CANDIDATES = 12
"""Ways to read the predictions that are compared by value when none shares memory with them."""
TWICE_RUNS = 3
"""Evaluations in which one batch is run twice: an evaluation that is random is so from the start."""

Context = Callable[[], AbstractContextManager[Any]]


@dataclass(slots=True)
class ProbeBatch:
    """Inputs of the predicting part for one batch, copied, and what the loss was given besides."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    target: Tensor
    task: str
    kind: str
    class_dim: int
    ignore_index: int | None
    weight: Tensor | None
    label_smoothing: float
    by_element: bool


@dataclass(frozen=True, slots=True)
class ProbeOutput:
    """One batch in eval mode: what a metric needs to count it. ``loss`` is that of the step's own loss call."""

    preds: Tensor
    target: Tensor
    task: str
    kind: str
    class_dim: int
    ignore_index: int | None
    loss: Tensor | None


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One evaluation of the probe.

    Attributes:
        train: the training batches in eval mode.
        values: ``relu/dead_share`` where the module has ReLU layers.
        nondeterministic: largest difference of two forwards of one validation batch in eval mode, as a share of the largest
            output (rounding grows with the values); None when not run.
    """

    train: tuple[ProbeOutput, ...] = ()
    values: dict[str, float] = field(default_factory=dict)
    nondeterministic: float | None = None


class ModuleProbe:
    """Keeps a few batches as the predicting part saw them, and evaluates them when asked.

    Call :meth:`before` and :meth:`after` around each step, :meth:`run` at the end of a validation. After the first
    steps :meth:`before` and :meth:`after` compare one integer.

    Args:
        module: the LightningModule.
        batches: training batches to keep; 0 switches the probe off.
    """

    def __init__(self, module: nn.Module, *, batches: int = BATCHES) -> None:
        self.module = module
        self.reading: Reading | None = None
        self.why_not: str | None = None if batches else "probe_batches is 0"
        self._wanted = {"train": batches, "val": 1 if batches else 0}
        self._kept: dict[str, list[ProbeBatch]] = {"train": [], "val": []}
        self._undecided: list[tuple[Visit, Reading]] = []
        self._undecided_preds: tuple[Tensor, ProbeBatch] | None = None
        self._watch: VisitWatch | None = None
        self._twice = TWICE_RUNS
        if batches and buffer_bytes(module) > MOST_BUFFER_BYTES:
            self._give_up("the module's buffers are too large to copy")

    def wants(self, stage: str) -> bool:
        """Whether batches of ``stage`` are still to be kept."""
        open_ = self.why_not is None and not self._undecided  # that is decided between epochs
        return open_ and len(self._kept.get(stage, ())) < self._wanted.get(stage, 0)

    def before(self, stage: str) -> bool:
        """Before a step: watch the parts while batches are still wanted; whether they still are."""
        wanted = self.wants(stage)
        if wanted and (self.reading is not None or stage == "train"):
            self._watch = VisitWatch(self.module, None if self.reading is None else self.reading.name)
        return wanted

    def after(self, stage: str, observation: Any) -> bool:
        """After a step: keep what the predicting part was given. Never synchronises.

        Args:
            stage: ``train`` or ``val``.
            observation: what the step was captured as (``preds``, ``target``, ``task`` ...), or None.

        Returns:
            Whether the next step is wanted too.
        """
        if self._watch is not None:
            visits, self._watch = self._watch.remove(), None
            if observation is not None and self.reading is None:
                self._find(visits, observation)
            elif observation is not None and self.reading is not None:
                self._keep_same(stage, visits, observation, self.reading)
        return self.wants(stage)

    def _find(self, visits: list[Visit], observation: Any) -> None:
        found, certain = readings(visits, observation.preds)
        if not found:
            return self._give_up("no part of the module gives the predictions from the batch alone")
        if certain:
            visit, self.reading = found[0]
            return self._keep("train", visit, observation)
        still = {id(v): Visit(v.name, (), {}, _copied(v.output)) for v, _ in found[:CANDIDATES]}
        self._undecided = [(still[id(v)], reading) for v, reading in found[:CANDIDATES]]
        self._undecided_preds = observation.preds.clone(), _batch(found[0][0], observation)
        return None

    def _decide(self) -> None:
        """Compare candidates by value; between epochs, because it reads from the device."""
        if not self._undecided or self._undecided_preds is None:
            return
        (preds, batch), candidates = self._undecided_preds, self._undecided
        self._undecided, self._undecided_preds = [], None
        for visit, reading in candidates:
            if same_values(reading.predictions(visit.output, batch.class_dim), preds):
                self.reading = reading
                return
        self._give_up("no part of the module gives the predictions as the loss gets them")

    def _keep_same(self, stage: str, visits: list[Visit], observation: Any, known: Reading) -> None:
        """Keep the pass that gave the predictions: DDP sends the whole step through the forward of the module, too."""
        for visit, reading in readings(visits, observation.preds)[0]:
            if (reading.name, reading.leaf, reading.shape) == (known.name, known.leaf, known.shape):
                return self._keep(stage, visit, observation)
        return None

    def _keep(self, stage: str, visit: Visit, observation: Any) -> None:
        self._kept[stage].append(_batch(visit, observation))

    def _give_up(self, why: str) -> None:
        self.why_not = why

    def relu_missing(self) -> str:
        """Why no ReLU unit was observed, where none was."""
        if not relu_layers(self.module):
            why = "the module has no nn.ReLU layer (calls of F.relu cannot be seen)"
        elif self.reading is not None and not relu_layers(self.module.get_submodule(self.reading.name)):
            why = f"the probe runs {self.reading.name} alone, which gives the predictions and has no ReLU layer"
        elif self.ready:
            why = f"the probe is too small ({SMALLEST} samples, and {LOOKS} values of each unit, are needed)"
        else:
            no_pair = "no training step gave predictions to start from"
            why = f"the probe, which runs a few batches again, could not run ({self.why_not or no_pair})"
        return f"ReLU units were not observed: {why}"

    @property
    def ready(self) -> bool:
        """Whether there is something to evaluate."""
        return self.why_not is None and self.reading is not None and any(self._kept.values())

    def run(self, context: Context = nullcontext) -> ProbeResult | None:
        """Evaluate the kept batches in eval mode; None when there are none.

        Args:
            context: makes the precision context of a step (autocast).
        """
        if self.why_not is None:
            self._decide()
        if not self.ready:
            return None
        with kept_as_it_is(self.module), context():
            self.module.eval()
            return self._evaluate()

    def _evaluate(self) -> ProbeResult:
        with DeadUnits(self.module) as dead:
            outputs = [(batch, self._forward(batch)) for batch in self._kept["train"]]
            val = [self._forward(batch) for batch in self._kept["val"]]
        train = tuple(_output(batch, preds) for batch, preds in outputs if preds is not None)
        return ProbeResult(train, dead.values(), self._difference(val[0]) if val else None)

    def _difference(self, first: Tensor | None) -> float | None:
        if self._twice <= 0 or first is None:
            return None
        self._twice -= 1
        second = self._forward(self._kept["val"][0])
        if second is None or second.shape != first.shape:
            return None
        gap = (first.float() - second.float()).abs()
        known = gap.isfinite()
        if not bool(known.any()):
            return None
        return float(gap[known].amax() / first[known].float().abs().amax().clamp_min(1e-30))

    def _forward(self, batch: ProbeBatch) -> Tensor | None:
        assert self.reading is not None
        part = self.module.get_submodule(self.reading.name)
        return self.reading.predictions(part(*batch.args, **batch.kwargs), batch.class_dim)

    def close(self) -> None:
        """Remove the hooks and drop the batches."""
        if self._watch is not None:
            self._watch.remove()
        self._watch, self._undecided, self._undecided_preds = None, [], None
        self._kept = {"train": [], "val": []}


def _batch(visit: Visit, observation: Any) -> ProbeBatch:
    """Copies of everything that a later step could overwrite."""
    return ProbeBatch(
        args=_copied(visit.args),
        kwargs=_copied(visit.kwargs),
        target=observation.target.detach().clone(),
        task=observation.task,
        kind=observation.kind,
        class_dim=observation.class_dim,
        ignore_index=observation.ignore_index,
        weight=observation.weight,
        label_smoothing=float(observation.label_smoothing or 0.0),
        by_element=observation.by_element,
    )


def _copied(tree: Any) -> Any:
    return pytree.tree_map(lambda v: v.detach().clone() if isinstance(v, Tensor) else v, tree)


def _output(batch: ProbeBatch, preds: Tensor) -> ProbeOutput:
    options = (batch.task, batch.kind, batch.class_dim, batch.ignore_index)
    return ProbeOutput(preds, batch.target, *options, loss=_loss(batch, preds))


def _loss(batch: ProbeBatch, preds: Tensor) -> Tensor | None:
    """The loss call of the step, made again; None for losses that this cannot be known of."""
    if batch.by_element:
        return None
    if batch.task in {"multiclass", "dense", "soft"} and batch.kind != "labels":
        scores = preds.float().clamp_min(1e-12).log() if batch.kind == "probs" else preds.float()
        classes_second = scores if scores.dim() < 2 else scores.movedim(batch.class_dim, 1)
        weight = None if batch.weight is None or batch.weight.dim() != 1 else batch.weight.float()
        return functional.cross_entropy(
            classes_second,
            batch.target,
            weight=weight,
            label_smoothing=batch.label_smoothing,
            ignore_index=-100 if batch.ignore_index is None else batch.ignore_index,
        )
    if batch.task in {"binary", "multilabel"} and batch.kind == "logits" and batch.weight is None:
        return functional.binary_cross_entropy_with_logits(preds.float(), batch.target.float())
    return None
