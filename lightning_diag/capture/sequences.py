"""CTC in a stage that decodes without a loss: scores, targets and lengths from where training had them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_diag.capture import scaling, values
from lightning_diag.capture.batch import Path, leaves, name_of, pick
from lightning_diag.capture.discovery import is_label
from lightning_diag.capture.matching import CASTS, POINTWISE, VIEWS, match_leaf, match_output, tried
from lightning_diag.capture.observation import Observation, plain
from lightning_diag.capture.plans import Evidence, Place, Plan
from lightning_diag.capture.reading import Rejected
from lightning_diag.capture.taps import Visit


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long each sequence is. A sequence that is alone in its batch has no padding: there nothing need be known.

    Attributes:
        places: where the lengths lie, the first that is there in a stage; empty where they are nowhere.
        padding: value of the entries behind the end; None where none was seen.
        full: whether all sequences were as long as the whole.
        scaled: numbers of the batch from which the step may compute them, where they lie nowhere.
    """

    places: tuple[Place, ...] = ()
    padding: int | None = None
    full: bool = False
    scaled: tuple[scaling.Scaled, ...] = ()

    def find(self, evidence: Evidence, whole: Tensor, number: int, size: int) -> Tensor | tuple[int, ...] | None:
        """Of this step; None when they cannot be told.

        Args:
            evidence: of the step.
            whole: the sequences.
            number: how many there are.
            size: entries of each, padding included.
        """
        found = _first(self.places, evidence)
        if found is not None and found.numel() == number:
            return found.detach().flatten()
        if self.padding is not None and whole.shape == (number, size):
            return (whole != self.padding).sum(1)
        computed = scaling.agreed(self.scaled, evidence.batch, size) if self.scaled else None
        if computed is not None and computed.numel() == number:
            return computed
        return (size,) * number if self.full or number == 1 else None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Leaves of the batch that are needed."""
        return (*(p.path for p in self.places if p.where == "batch"), *(one.path for one in self.scaled))


@dataclass(frozen=True, slots=True)
class SequencePlan:
    """The same CTC pair as in a stage that was read by its loss call.

    Attributes:
        preds: where the scores lie, the first that is there in a stage; view, pointwise: what was done with them (:mod:`.matching`).
        target: path of the targets in the batch; leaf_view, leaf_cast: what was done with them.
        entries: first keys of the batch: a place by number means the same only in a batch of the same make.
        input_lengths, target_lengths: of the frames and of the tokens.
        pair: how the loss was called: classes, blank.
    """

    preds: tuple[Place, ...]
    view: str
    pointwise: str
    target: Path
    leaf_view: str
    leaf_cast: str
    entries: frozenset[object]
    input_lengths: Lengths
    target_lengths: Lengths
    classes: int
    blank: int
    zero_infinity: bool

    @property
    def source(self) -> str:
        """For the report."""
        return f"output of {self.preds[0].name or 'forward'} with {name_of(self.target)} (calibrated)"

    @property
    def parts(self) -> frozenset[str]:
        """Names of the parts to tap."""
        return frozenset(p.name for p in (*self.preds, *self.input_lengths.places) if p.where == "output")

    @property
    def leaves(self) -> tuple[Path, ...]:
        """Leaves of the batch that are needed."""
        return (self.target, *self.input_lengths.paths, *self.target_lengths.paths)

    def observe(self, evidence: Evidence) -> Observation | None:
        """The pair of a step; None when it is not there.

        Raises:
            Rejected: when shapes do not fit, or lengths are not known.
        """
        output, leaf = _first(self.preds, evidence), evidence.batch.get(self.target)
        if output is None or leaf is None:
            return None
        try:
            scores = _POINTWISE[self.pointwise](VIEWS[self.view](plain(output)))
            target = CASTS[self.leaf_cast](VIEWS[self.leaf_view](plain(leaf)))
        except (RuntimeError, IndexError) as error:
            raise Rejected("shapes are others than in training") from error
        if scores.dim() != 3 or scores.shape[2] != self.classes or target.dim() not in (1, 2):
            raise Rejected(f"scores {tuple(scores.shape)} with target {tuple(target.shape)}: not those of training")
        frames, number = scores.shape[:2]
        size = target.shape[1] if target.dim() == 2 else target.numel() // number
        inputs = self.input_lengths.find(evidence, scores, number, frames)
        tokens = self.target_lengths.find(evidence, target, number, size)
        if inputs is None or tokens is None or (target.dim() == 2 and len(target) != number):
            open_rule = inputs is None and any(one.fits for one in self.input_lengths.scaled)
            known = ", and training leaves open by which rule the step computes them" if open_rule else ""
            raise Rejected(
                f"the lengths of the {'targets' if inputs is not None else 'inputs'} are not in the batch{known}"
            )
        return Observation(
            task="ctc",
            preds=scores,
            kind="log_probs",
            target=target,
            class_dim=2,
            num_classes=self.classes,
            input_lengths=inputs,
            target_lengths=tokens,
            blank=self.blank,
            zero_infinity=self.zero_infinity,
            source=self.source,
        )

    def gives(self, seen: Observation, evidence: Evidence) -> bool:
        """Whether the plan finds the pair of a loss call, lengths included."""
        try:
            own = self.observe(evidence)
        except Rejected:
            return False
        if own is None or own.preds.shape != seen.preds.shape or own.target.shape != seen.target.shape:
            return False
        both = ((own.input_lengths, seen.input_lengths), (own.target_lengths, seen.target_lengths))
        lengths = [(_tensor(a), _tensor(b)) for a, b in both]
        return all(a is not None and b is not None and _alike(a, b.flatten()) for a, b in lengths)

    def fitted(self, evidence: Evidence) -> SequencePlan:
        """For another stage: its batch may be made otherwise, and a network may answer with probabilities outside training."""
        there = tuple(place for place in self.preds if place.find(evidence) is not None)[:1]
        if not there:
            return self
        plan, output = replace(self, preds=there), there[0].find(evidence)
        scores = tried(VIEWS[self.view], output) if output is not None else None
        if scores is not None and values.kind_of(scores, -1) == "probs":
            plan = replace(plan, pointwise="log()")
        if not any(isinstance(key, int) for key in self.target) or self.entries == _entries(evidence.batch):
            return plan
        labels = [p for p, t in evidence.batch.items() if is_label(p, evidence) and self._may_be_tokens(t)]
        frames = tuple(place for place in plan.input_lengths.places if place.where == "output")
        return replace(
            plan,
            target=labels[0] if len(labels) == 1 else (None,),
            leaf_view="",
            leaf_cast="",
            input_lengths=replace(plan.input_lengths, places=frames, scaled=()),
            target_lengths=replace(plan.target_lengths, places=()),
        )

    def _may_be_tokens(self, leaf: Tensor) -> bool:
        if leaf.is_floating_point() or leaf.dim() not in (1, 2):
            return False
        return values.in_range(leaf, self.classes, None) is True and not values.same(leaf, torch.full_like(leaf, -1))


_POINTWISE = {**POINTWISE, "log()": torch.log}


def learned(known: Plan | None, seen: Observation, evidence: Evidence) -> Plan | None:
    """The path of the pair of a CTC loss call; lengths that are alike by chance in one step are told apart by the next."""
    narrowed = _narrowed(known, seen, evidence) if isinstance(known, SequencePlan) else None
    if narrowed is not None and narrowed.gives(seen, evidence):
        return known if narrowed == known else narrowed
    found = learn(seen, evidence.visits, evidence.batch)
    if found is not None and narrowed is not None and narrowed.input_lengths.scaled:
        found = replace(found, input_lengths=replace(found.input_lengths, scaled=narrowed.input_lengths.scaled))
    return known if found is None or found == known else found


def _narrowed(known: SequencePlan, seen: Observation, evidence: Evidence) -> SequencePlan:
    """What is left of the rules by which the step may compute the lengths of its frames."""
    frames, lengths = _tensor(seen.input_lengths), known.input_lengths
    if frames is None or not lengths.scaled:
        return known
    scaled = tuple(one.narrowed(frames, evidence.batch) for one in lengths.scaled)
    return replace(known, input_lengths=replace(lengths, scaled=scaled))


def fitted(plan: Plan, evidence: Evidence) -> Plan:
    """A learned path for the stage of this step."""
    return plan.fitted(evidence) if isinstance(plan, SequencePlan) else plan


def learn(seen: Observation, visits: list[Visit], batch: Mapping[Path, Tensor]) -> SequencePlan | None:
    """Where the pair of a CTC loss call comes from; None when a part of it is nowhere."""
    inputs, tokens = _tensor(seen.input_lengths), _tensor(seen.target_lengths)
    if inputs is None or tokens is None:
        return None
    target, leaf = seen.target, match_leaf(seen.target, batch)
    if leaf is None and (whole := _unpacked(target, tokens, batch)) is not None:
        target, leaf = batch[whole], (whole, "", "")
    output = leaf and match_output(seen.preds, visits)
    if not leaf or not output or seen.preds.dim() != 3 or seen.num_classes is None:
        return None
    visit, path, view, pointwise = output
    padded = target.dim() == 2
    places, full = _places(inputs, visits, batch), _is(inputs, seen.preds.shape[0])
    frames = Lengths(places, full=full, scaled=() if places or full else scaling.learn(inputs, batch))
    padding = _padding(target, tokens) if padded else None
    targets = Lengths(_places(tokens, [], batch), padding, padded and _is(tokens, target.shape[1]))
    where = _same(pick(visit.output, path), visits)
    common = (seen.num_classes, seen.blank, seen.zero_infinity)
    return SequencePlan(where, view, pointwise, *leaf, _entries(batch), frames, targets, *common)


def _same(wanted: Tensor | None, visits: list[Visit]) -> tuple[Place, ...]:
    """All parts that returned this very tensor, the outermost first: a stage may call an inner one alone."""
    return tuple(
        Place("output", path, visit.name, visit.turn)
        for visit in reversed(visits)
        if visit.role in {"module", "forward"}
        for path, found in leaves(visit.output).items()
        if wanted is not None and found.data_ptr() == wanted.data_ptr() and found.shape == wanted.shape
    )


def _first(places: tuple[Place, ...], evidence: Evidence) -> Tensor | None:
    return next((t for t in (place.find(evidence) for place in places) if t is not None), None)


def _entries(batch: Mapping[Path, Tensor]) -> frozenset[object]:
    return frozenset(path[0] for path in batch if path)


def _tensor(lengths: Tensor | tuple[int, ...] | None) -> Tensor | None:
    return torch.tensor(lengths) if isinstance(lengths, tuple) else lengths


def _is(lengths: Tensor, size: int) -> bool:
    return values.same(lengths, torch.full_like(lengths, size))


def _places(lengths: Tensor, visits: list[Visit], batch: Mapping[Path, Tensor]) -> tuple[Place, ...]:
    """Where these lengths lie: in the batch, else among what parts returned."""
    flat = lengths.flatten()
    for path, leaf in batch.items():
        if not leaf.is_floating_point() and _alike(leaf, flat):
            return (Place("batch", path),)
    for visit in reversed(visits):
        for found in leaves(visit.output).values() if visit.role in {"module", "forward"} else ():
            if not found.is_floating_point() and _alike(found, flat):
                return _same(found, visits)
    return ()


def _alike(found: Tensor, flat: Tensor) -> bool:
    if found.numel() != flat.numel() or found.dtype == torch.bool:
        return False
    return values.same(flat, found.detach().flatten().to(flat.device))


def _unpacked(target: Tensor, lengths: Tensor, batch: Mapping[Path, Tensor]) -> Path | None:
    """The padded targets of the batch whose rows, without the padding, were put behind each other."""
    for path, leaf in batch.items() if target.dim() == 1 and values.readable(target, lengths) else ():
        if not leaf.is_floating_point() and leaf.dim() == 2 and len(leaf) == lengths.numel():
            inside = torch.arange(leaf.shape[1], device=leaf.device) < lengths.to(leaf.device).reshape(-1, 1)
            if values.readable(leaf) and values.same(target, leaf[inside].to(target.device)):
                return path
    return None


def _padding(target: Tensor, lengths: Tensor) -> int | None:
    """The one value that stands behind the end of padded targets, and nowhere else; None where there is none."""
    if not values.readable(target, lengths):
        return None
    ends = torch.arange(target.shape[1], device=target.device) >= lengths.to(target.device).reshape(-1, 1)
    behind, within = target[ends], target[~ends]
    if not behind.numel() or not bool((behind == behind[0]).all()) or bool((within == behind[0]).any()):
        return None
    return int(behind[0])
