"""How one stage is read: calibrated in its first steps, then one short path."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from lightning_diag.capture import hints, sequences
from lightning_diag.capture.batch import leaves
from lightning_diag.capture.calls import LossCall
from lightning_diag.capture.choice import apply
from lightning_diag.capture.choices import FULL_EVERY, Choices, Shared, Unknown
from lightning_diag.capture.discovery import Found, discover, has_doubtful_loss
from lightning_diag.capture.extractor import Extractor, ExtractorError, Pair, Step, as_pair, form_of, observe
from lightning_diag.capture.matching import Route, route
from lightning_diag.capture.observation import Observation
from lightning_diag.capture.pairs import Form
from lightning_diag.capture.plans import Evidence, PlacePlan, Plan, RoutePlan
from lightning_diag.capture.reading import ChangedInPlace, Rejected, readable, reversed_arguments
from lightning_diag.capture.steady import Steady
from lightning_diag.capture.taps import scripted
from lightning_diag.history import CaptureFacts

CALIBRATION_STEPS = 2
"""Steps of a stage that are looked at with every part tapped: the second confirms the first."""

MAX_MISSES = 3
"""Steps in a row without a pair after which a stage is calibrated anew."""

MAX_CALIBRATIONS = 3
"""Calibrations of a stage: one that cannot be read then is left alone."""

DOUBT_STEPS = 64
"""Steps of a stage after which targets that were all alike whenever they were looked at are no labels."""

MAX_REASONS = 6
"""Reasons why candidates were refused that the report shows."""


@dataclass(slots=True)
class Stage:
    """One stage (and loader) of a fit; one that :attr:`ended` after errors is no longer read."""

    name: str
    module: nn.Module
    shared: Shared
    extractor: Extractor | None = None
    steps: int = 0
    pairs: int = 0
    misses: int = 0
    lost: int = 0
    dropped: int = 0
    calibrations: int = 1
    plan: Plan | None = None
    learned: Plan | None = None
    choices: Choices = field(init=False)
    steady: Steady | None = None  # set after calibration only, dropped with it
    source: str | None = None
    task: str | None = None
    reasons: list[str] = field(default_factory=list)
    form: Form | None = None
    copying: bool = False
    overwritten: bool = False
    mode: bool = False
    watching: bool = False
    ended: bool = False
    asked: bool = False  # the user's function is asked
    held: hints.Held | None = None  # by the first step without a pair

    def __post_init__(self) -> None:
        self.choices = Choices(self.shared, training=self.name == "train")
        self.watching = has_doubtful_loss(self.module)

    def losses(self) -> frozenset[str] | None:
        """Losses to listen for in the next step; None for all: now and then, or while none is known."""
        return self.choices.losses if self.steps % FULL_EVERY else None

    @property
    def calibrating(self) -> bool:
        """Whether the next step is looked at closely."""
        return not self._settled or (
            self.plan is None and (self._again_close or (not self.choices.known and self._news))
        )

    @property
    def _settled(self) -> bool:
        return self.steps >= CALIBRATION_STEPS + self.watching

    @property
    def _again_close(self) -> bool:
        """Whether loss calls are to be looked at again; those whose targets were all alike at ever rarer steps."""
        choices, rare = self.choices, self.steps & (self.steps - 1) == 0
        return choices.waiting is not None or choices.outdated or (rare and self._doubtful)

    @property
    def _doubtful(self) -> bool:
        return self.steps <= DOUBT_STEPS and self.choices.doubtful

    @property
    def _news(self) -> bool:
        """Whether another stage has meanwhile learned a path that this one did not try."""
        return self.shared.route is not None and self.shared.route is not self.learned

    def again(self, calls: list[LossCall], result: object) -> Observation | None:
        """The pair of a step that is like the one before; None when it is not, then it is for :meth:`observe`."""
        if self.steady is None or len(calls) != 1 or not self.steady.matches(calls[0]):
            return None
        self.count_repeat()
        return self.steady.read(calls[0], result)

    def count_repeat(self) -> None:
        """A step like the one before was read."""
        self.steps += 1
        self.pairs += 1
        self.misses = 0

    def observe(self, calls: list[LossCall], evidence: Evidence) -> Observation | None:
        """The pair of a step; None when there is none."""
        close, settled, self.overwritten = self.calibrating, self._settled, False
        self.choices.aside = False
        self.steps += 1
        seen = self._planned(evidence) if self.plan is not None and not close else None
        if seen is None and (close or self.plan is None):
            seen = self._from_calls(calls, evidence, close=close, settled=settled)
            final = self.overwritten or self.choices.hidden or self.choices.aside
            if close and not final and (seen is None or seen.task in hints.LOSS_ONLY):
                seen = self._searched(evidence, strong=seen is not None) or seen
        if close:
            self.choices.looked()
            if seen is None and self.held is None:
                self.held = hints.look(evidence.batch, evidence.result)
        self._count(seen)
        return seen

    def extracted(
        self, extractor: Extractor, calls: list[LossCall], batch: object, where: tuple[int | None, int], outputs: object
    ) -> Observation | None:
        """The pair that the user's function returns for a step; None where it skips the step.

        Raises:
            ExtractorError: when the function raises, or returns what is no pair.
        """
        step = Step(
            stage=self.name.partition(":")[0],
            module=self.module,
            batch=batch,
            batch_idx=where[0],
            dataloader_idx=where[1],
            outputs=outputs,
            seen=readable(calls),
        )
        self.steps += 1
        self.asked = True
        try:
            pair = as_pair(extractor(step))
            if isinstance(pair, Pair):
                self.form = self.form or form_of(pair)
                pair = observe(pair, self.form)
        except Exception as error:
            self.held = self.held or hints.look(leaves(batch), outputs)
            raise ExtractorError(error) from error
        if pair is not None:
            self._count(pair)
        return pair

    def facts(self, *, alone: bool = False) -> CaptureFacts:
        """What the report says about this stage; ``alone``: other stages have pairs."""
        problem, remedy = hints.loss_only(self.task, self.choices.hidden) if self.pairs else self._missing(alone=alone)
        lost = f" (no pair in {self.lost} of {self.lost + self.pairs} steps)" if self.pairs and self.lost else ""
        dropped = f" ({self.dropped} loss calls more in a step than can be kept)" if self.dropped else ""
        source = self.source and f"{self.source}{lost}{dropped}"
        return CaptureFacts(
            stage=self.name, source=source, task=self.task, problem=problem, remedy=remedy, heads=self.choices.heads
        )

    def _missing(self, *, alone: bool) -> tuple[str, str | None]:
        """Why there is no pair, and what to do about it once that is settled."""
        if not self.steps:
            return "no step was observed", None
        if self.asked:
            return "the extractor returned None for every step", hints.repair(self.held)
        reasons = [*dict.fromkeys(self.reasons), *filter(None, [scripted(self.module)])]
        return hints.no_pair(self.name, reasons, self.held), hints.remedy(
            self.held, self.name if alone else None
        ) if self._settled else None

    def _count(self, seen: Observation | None) -> None:
        if seen is None:
            self.misses += 1
            self.lost += 1
            self.choices.losses = None  # the step may have called another loss: the next one like it is heard
            known = self.plan is not None or bool(self.choices.known)
            if known and self.misses >= MAX_MISSES and self.calibrations < MAX_CALIBRATIONS:
                self.steps, self.misses, self.plan, self.steady = 0, 0, None, None
                self.choices.forget()
                self.calibrations += 1
            return
        self.misses = 0
        self.pairs += 1
        if self.source is None or (self.task != seen.task and not self.choices.aside):
            self.source, self.task = seen.source, seen.task

    def _planned(self, evidence: Evidence) -> Observation | None:
        try:
            return self.plan.observe(evidence) if self.plan is not None else None
        except Rejected as reason:
            self._reject(str(reason))
            return None

    def _from_calls(
        self, calls: list[LossCall], evidence: Evidence, *, close: bool, settled: bool
    ) -> Observation | None:
        if not calls:
            return None
        try:
            choice = self.choices.find(calls, evidence, close=close, settled=settled)
            seen = apply(choice, calls, None)
        except Rejected as reason:
            self.steady = None
            self.overwritten = isinstance(reason, ChangedInPlace)
            self.copying = self.copying or self.overwritten
            if not isinstance(reason, Unknown):
                self._reject(str(reason))
            return None
        if close:
            self._learn(seen, calls, evidence)
        elif len(calls) == 1 and not (choice.one_hot or choice.loop or choice.reverse or self._doubtful):
            self.steady = Steady(calls[0], seen) if Steady.possible(calls[0]) else None
        return seen

    def _reject(self, reason: str) -> None:
        if reason not in self.reasons and len(self.reasons) < MAX_REASONS:
            self.reasons.append(reason)

    def _learn(self, seen: Observation, calls: list[LossCall], evidence: Evidence) -> None:
        """Remember the path of the pair and exchanged arguments for stages that have no loss call or no gradients."""
        self.shared.reversed_sites |= {call.entry.name for call in calls if reversed_arguments(call)}
        if seen.task == "ctc":
            self.shared.route = sequences.learned(self.shared.route, seen, evidence)
        if seen.task not in {"multiclass", "dense", "binary", "multilabel"} or not evidence.visits:
            return
        found: Route | None = route(seen.preds, seen.target, evidence.visits, evidence.batch)
        if found is not None:
            learned = RoutePlan(found, Form(seen.task, seen.kind, seen.class_dim, ignore_index=seen.ignore_index))
            self.shared.route = learned if learned != self.shared.route else self.shared.route

    def _searched(self, evidence: Evidence, *, strong: bool) -> Observation | None:
        """The calibrated path of another stage, else the search of :mod:`.discovery`."""
        learned = self.shared.route
        if learned is not None and not strong:
            self.learned = learned
            seen = self._adopt(sequences.fitted(learned, evidence), evidence)
            if seen is not None:
                return seen
        for found in discover(evidence, self.module, self.reasons, strong=strong):
            seen = self._adopt(found.plan, evidence) if self._proven(found, evidence) else None
            if seen is not None:
                self._share(found.plan)
                return seen
        self.reasons = list(dict.fromkeys(self.reasons))[:MAX_REASONS]
        return None

    def _proven(self, found: Found, evidence: Evidence) -> bool:
        """Whether the step may be read so: it was seen to compare the two, or the user paired them himself."""
        if not found.proof:
            return True
        if scripted(self.module):
            return True
        if evidence.usage is None:
            self.watching = True
            return False
        proven = evidence.usage.compared(found.target, found.preds, found.plan.form.class_dim)
        if not proven:
            self._reject(f"{found.plan.source}: the step does not compare them")
        return proven

    def _share(self, plan: PlacePlan) -> None:
        """A proven pair of a module's output and the batch serves other stages too."""
        if self.shared.route is None and plan.preds.where == "output" and plan.target.where == "batch":
            self.shared.route = plan

    def _adopt(self, plan: Plan, evidence: Evidence) -> Observation | None:
        if any(visit.overwritten for visit in evidence.visits if visit.name in plan.parts):
            self._reject(f"{plan.source}: overwritten later in the step")
            return None
        try:
            seen = plan.observe(evidence)
        except Rejected as reason:
            self._reject(f"{plan.source}: {reason}")
            return None
        if seen is not None:
            self.plan = plan
            note = scripted(self.module)
            seen.source = f"{plan.source} ({note})" if note else plan.source
        return seen
