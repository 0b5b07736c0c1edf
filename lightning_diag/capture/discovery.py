"""The search for a pair in a step whose loss calls tell nothing: step output, loss modules, metrics, forward.

Each candidate is checked: shapes, values, orientation (in training the prediction requires grad and the target does
not). Only named entries, or the second of two elements, are taken for a target.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lightning_diag.capture.batch import PRED_NAMES, TARGET_NAMES, Path, is_named, leaves, name_of
from lightning_diag.capture.influence import nearest, returned_loss
from lightning_diag.capture.pairs import Form, infer
from lightning_diag.capture.plans import Evidence, Place, PlacePlan
from lightning_diag.capture.reading import Rejected
from lightning_diag.capture.taps import Visit, parts, role_of
from lightning_diag.capture.values import storage

Located = tuple[Place, Tensor]
Finder = Callable[[Evidence, nn.Module], Iterator[tuple[Located, Located, str]]]

_INPUT_NAMES = frozenset({"x", "input", "inputs"})
"""In a step output these are the inputs, not predictions."""

_TORCH_LOSSES = "torch.nn.modules.loss"


_NO_CLASSES = re.compile(
    r"contrast|triplet|supcon|ntxent|infonce|siames|proxy|center|centre|barlow|vicreg|cosine|metric", re.IGNORECASE
)
"""Losses over embeddings: their labels say which samples belong together, not what the columns are."""

_CLASSES = re.compile(
    r"focal|dice|tversky|jaccard|lovasz|iou|cross.?entropy|bce|nll|smooth|asymmetric|poly|ohem|ldam|seesaw",
    re.IGNORECASE,
)
"""Losses over classes by name; others need the proof of :mod:`.usage`."""

_EMBEDDINGS = re.compile(r"margin|softmax|arc.?face|circle|pair|triple|angular", re.IGNORECASE)
"""Names of losses that may as well be over embeddings or distances: they need the proof, too."""

_LABEL_METRICS = ("torchmetrics.classification", "torchmetrics.segmentation", "torchmetrics.text.perplexity")
_VALUE_METRICS = "torchmetrics.regression"
"""Packages of torchmetrics whose metrics compare predictions with labels, and with values. The others weigh, group, rank or detect."""


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate that passed the checks of shape, value and orientation.

    Attributes:
        plan: how to find it again.
        preds, target: of this step.
        proof: whether the step must be seen to compare the two before the pair is used.
    """

    plan: PlacePlan
    preds: Tensor
    target: Tensor
    proof: bool


def discover(evidence: Evidence, module: nn.Module, reasons: list[str], *, strong: bool = False) -> Iterator[Found]:
    """Candidates in order of trust.

    Args:
        evidence: of a step with every part tapped.
        module: the LightningModule.
        reasons: why candidates were refused is added here.
        strong: only step output, loss modules and metrics, not ``forward`` with a leaf of the batch.
    """
    values: Found | None = None
    for finder in STRONG if strong else (*STRONG, by_forward):
        for preds, target, source in finder(evidence, module):
            grad = finder in {by_loss_module, by_forward}
            form = _check(preds[1], target[1], evidence, grad=grad)
            if isinstance(form, Form) and form.task != "regression" and _is_of_values(finder, module, preds[0]):
                form = "a metric of values says nothing of classes"
            if isinstance(form, Form):
                found = Found(
                    PlacePlan(preds[0], target[0], form, source),
                    preds[1],
                    target[1],
                    _needs_proof(finder, module, preds[0]),
                )
                if form.task != "regression":
                    yield found
                elif finder is not by_forward:
                    values = values or found
            else:
                reasons.append(f"{source}: {form}")
    if values is not None and not strong:
        yield values


def _needs_proof(finder: Finder, module: nn.Module, preds: Place) -> bool:
    """Named outputs and metrics were paired by the user; a loss of known name as well."""
    part = _part(module, preds.name)
    if finder is by_loss_module and part is not None:
        return _is_doubtful(preds.name, part)
    return finder is by_forward


def _is_doubtful(name: str, part: nn.Module) -> bool:
    """Whether a loss module may be over something else than classes: by its name, or because it has a layer of its own."""
    text = f"{name} {type(part).__name__}"
    known = _CLASSES.search(text) and not _EMBEDDINGS.search(text)
    return not known or any(parameter.dim() > 1 for parameter in part.parameters())


def has_doubtful_loss(module: nn.Module) -> bool:
    """Whether a part of ``module`` is a loss whose arguments need the proof, so that its first step is to be watched."""
    return any(
        role_of(name, part) == "loss" and type(part).__module__ != _TORCH_LOSSES and _is_doubtful(name, part)
        for name, part in parts(module)
        if part is not module
    )


def _is_of_values(finder: Finder, module: nn.Module, preds: Place) -> bool:
    return finder is by_metric and type(_part(module, preds.name)).__module__.startswith(_VALUE_METRICS)


def _check(preds: Tensor, target: Tensor, evidence: Evidence, *, grad: bool) -> Form | str:
    if evidence.training and target.requires_grad:
        return "the target requires grad: not a target"
    if grad and evidence.training and preds.is_floating_point() and not preds.requires_grad:
        return "the prediction needs no grad in training: not a prediction"
    if storage(preds) == storage(target):
        return "prediction and target are the same tensor"
    try:
        return infer(preds, target)
    except Rejected as reason:
        return str(reason)


def by_output(evidence: Evidence, module: nn.Module) -> Iterator[tuple[Located, Located, str]]:
    """What the step returned under telling names."""
    del module
    found = leaves(evidence.result)
    preds = [(p, t) for p, t in found.items() if is_named(p, PRED_NAMES - _INPUT_NAMES)]
    targets = [(p, t) for p, t in found.items() if is_named(p, TARGET_NAMES)]
    for (path, tensor), (target_path, target) in _pairs(preds, targets):
        source = f"step output {path[-1]!r} with {target_path[-1]!r}"
        yield (Place("result", path), tensor), (Place("result", target_path), target), source


def by_loss_module(evidence: Evidence, module: nn.Module) -> Iterator[tuple[Located, Located, str]]:
    """What went into modules that look like losses; those of torch are seen by their calls."""
    for visit in evidence.visits:
        part = _part(module, visit.name)
        if visit.role != "loss" or part is None or type(part).__module__ == _TORCH_LOSSES:
            continue
        if not _NO_CLASSES.search(f"{visit.name} {type(part).__name__}"):
            yield from _arguments(visit, part.forward, f"arguments of {visit.name}")


def by_metric(evidence: Evidence, module: nn.Module) -> Iterator[tuple[Located, Located, str]]:
    """What torchmetrics were updated with; scores before hard predictions."""
    visits = [v for v in evidence.visits if v.role == "metric"]
    found = [
        located
        for visit in visits
        if (part := _part(module, visit.name)) is not None and _compares(part)
        for located in _arguments(visit, part.update, f"update of the metric {visit.name}", named=True)
    ]
    yield from sorted(found, key=lambda located: not located[0][1].is_floating_point())


def _compares(metric: nn.Module) -> bool:
    """Whether a metric compares predictions with a target, by its package; one of the user's own by its parameters."""
    package = type(metric).__module__
    return not package.startswith("torchmetrics.") or package.startswith((*_LABEL_METRICS, _VALUE_METRICS))


def by_forward(evidence: Evidence, module: nn.Module) -> Iterator[tuple[Located, Located, str]]:
    """The output nearest to the loss, or of ``forward``, with the label of the batch."""
    del module
    targets = [(path, leaf) for path, leaf in evidence.batch.items() if is_label(path, evidence)]
    for place, preds, name in _outputs(evidence):
        for path, target in targets:
            source = f"output of {name} with {name_of(path)}"
            yield (place, preds), (Place("batch", path), target), source


def is_label(path: Path, evidence: Evidence) -> bool:
    """A named entry, or the second of two elements."""
    if is_named(path, TARGET_NAMES):
        return True
    return len(path) == 1 and path[0] == 1 and _elements(evidence) == 2


def _elements(evidence: Evidence) -> int:
    return len({path[0] for path in evidence.batch if path})


def _outputs(evidence: Evidence) -> Iterator[tuple[Place, Tensor, str]]:
    """Candidates for the prediction, the likelier first."""
    passes = [v for v in evidence.visits if v.role in {"module", "forward"}]
    flat = [(v, path, t) for v in passes for path, t in leaves(v.output).items() if t.is_floating_point()]
    loss = returned_loss(evidence.result)
    if evidence.training and loss is not None and loss.grad_fn is not None:
        key = nearest(loss, [(index, t) for index, (_, _, t) in enumerate(flat)])
        if key is not None:
            yield _located(*flat[key])
    for visit, path, tensor in reversed(flat):
        if visit.role == "forward":
            yield _located(visit, path, tensor)
    if flat and not any(v.role == "forward" for v in passes):
        yield _located(*flat[-1])


def _located(visit: Visit, path: Path, tensor: Tensor) -> tuple[Place, Tensor, str]:
    return Place("output", path, visit.name, visit.turn), tensor, visit.name or "forward"


def _part(module: nn.Module, name: str) -> Any | None:
    try:
        return module.get_submodule(name) if name else None
    except AttributeError:
        return None


def _arguments(
    visit: Visit, function: Callable[..., Any], source: str, *, named: bool = False
) -> Iterator[tuple[Located, Located, str]]:
    """Predictions and targets among the arguments of a call, by parameter name, else by order.

    With ``named`` only tensors that are themselves a parameter of such a name: a metric may be given weights or boxes.
    """
    given = [
        (name, place, t) for name, place, t in _named_arguments(visit, function) if not named or len(place.path) == 1
    ]
    preds = [(place, t) for name, place, t in given if name.lower() in PRED_NAMES]
    targets = [(place, t) for name, place, t in given if name.lower() in TARGET_NAMES]
    if not (preds and targets) and len(given) >= 2 and not named:
        tensors = [(place, t) for _, place, t in given]
        preds, targets = tensors[:1], tensors[1:2]
    if preds and targets:
        yield preds[0], targets[0], source


def _named_arguments(visit: Visit, function: Callable[..., Any]) -> list[tuple[str, Place, Tensor]]:
    """(name, place, tensor) of every tensor argument; those inside containers by their key."""
    parameters = _parameters(function)
    found: list[tuple[str, Place, Tensor]] = []
    for where, root in (("args", visit.args), ("kwargs", visit.kwargs)):
        for path, tensor in leaves(root).items():
            own = parameters[path[0]] if where == "args" and path[0] < len(parameters) else str(path[0])
            name = path[-1] if len(path) > 1 and isinstance(path[-1], str) else own
            found.append((str(name), Place(where, path, visit.name, visit.turn), tensor))
    return found


def _parameters(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def _pairs(preds: list[tuple[Path, Tensor]], targets: list[tuple[Path, Tensor]]) -> Iterator[tuple[Any, Any]]:
    for p in preds:
        for t in targets:
            yield p, t


STRONG: tuple[Finder, ...] = (by_output, by_loss_module, by_metric)
"""Sources whose two tensors were put together by the user's own code."""
