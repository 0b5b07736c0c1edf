"""What the user asked for, gathered from all attached callbacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from lightning_diag.capture.extractor import STAGES
from lightning_diag.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of one report; None means *not given*.

    Attributes:
        dirpath: folder of the report; default: the Trainer's log folder.
        class_names: names by class index; default: found on the data set, data module or module.
        target: value that the run should reach; target_metric: the signal it is about.
        baseline: where the run started from: ``(k, n)`` correct of samples, or a value of the target metric.
        groups: batch key, or callable ``(batch) -> sequence`` that gives each sample's group.
        monitor: signal by which *best* is judged; mode: ``max`` or ``min``.
        thresholds: rule code -> threshold field -> value.
        extractor: gives predictions and targets where they cannot be captured; one for all stages, or one by stage.
        probe_batches: training batches kept to be evaluated again in eval mode; 0 switches probes off.
        figures: whether to draw figures; live: whether to refresh the report while the run goes on.
        loggers: whether the Trainer's loggers get scalars and report.
        blank: blank index of the decoder; id_to_token: token names by index, or a callable.
    """

    dirpath: str | None = None
    class_names: tuple[str, ...] | None = None
    target: float | None = None
    target_metric: str | None = None
    baseline: tuple[int, int] | float | None = None
    groups: str | Callable[[Any], Sequence[Any]] | None = None
    monitor: str | None = None
    mode: str | None = None
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    extractor: Any = None
    probe_batches: int | None = None
    figures: bool | None = None
    live: bool | None = None
    loggers: bool | None = None
    blank: int | None = None
    id_to_token: Mapping[int, str] | Callable[[int], str] | Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Refuse an extractor that can never be asked.

        Raises:
            ConfigError: if it is neither a function nor functions by stage.
        """
        given = self.extractor
        functions = given if isinstance(given, Mapping) else {"train": given}
        if given is not None and not (set(functions) <= set(STAGES) and all(map(callable, functions.values()))):
            raise ConfigError(
                f"extractor={given!r}: expected a function of the step, or functions by stage "
                f'({", ".join(STAGES)}), for example {{"val": lambda step: (step.outputs["logits"], step.batch[1])}}'
            )

    def merged(self, other: Options) -> Options:
        """Both together; a setting that both give differently is an error.

        Raises:
            ConfigError: if two callbacks disagree.
        """
        changes = {f.name: _merge(f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return replace(self, **changes)

    def shown(self) -> dict[str, str]:
        """What was given, as display text."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: _text(value) for name, value in given.items() if value not in (None, {}, ())}


def _merge(name: str, mine: Any, theirs: Any) -> Any:
    if name == "thresholds":
        return _merged_thresholds(mine, theirs)
    if mine is None or mine == theirs:
        return theirs
    if theirs is None:
        return mine
    raise ConfigError(
        f"Two callbacks give `{name}` differently: {mine!r} and {theirs!r}. "
        "All callbacks of a Trainer share one report; give it to one of them."
    )


def _merged_thresholds(mine: Any, theirs: Any) -> dict[str, Any]:
    """Field by field; what is no number is for the engine to refuse."""
    for given in (mine, theirs):
        if not isinstance(given, Mapping) or not all(isinstance(values, Mapping) for values in given.values()):
            raise ConfigError(
                f'thresholds={given!r}: expected code -> field -> value, for example {{"LD201": {{"rise": 0.3}}}}'
            )
    merged = {code: dict(values) for code, values in mine.items()}
    for code, values in theirs.items():
        into = merged.setdefault(code, {})
        for name, value in values.items():
            into[name] = _merge(f"{code}.{name}", into.get(name), value)
    return merged


def _text(value: Any) -> str:
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    if isinstance(value, Mapping) and value and all(map(callable, value.values())):
        return ", ".join(f"{name}: {_text(function)}" for name, function in value.items())
    return str(value)
