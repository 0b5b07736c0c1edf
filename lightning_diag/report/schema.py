"""``diagnosis.json``: the report for programs, under a versioned schema.

The values below *are* the schema: pydantic writes, checks and describes them. A change that a reader would notice
raises :data:`~lightning_diag.findings.SCHEMA_VERSION`; new optional fields do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from lightning_diag.errors import RecordError
from lightning_diag.findings import SCHEMA_VERSION, Claim, Evidence, NotEstablished, Severity
from lightning_diag.history import ClassRow, Confusion, Count, Event, GroupRow, RunContext

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True, kw_only=True)
class FindingEntry:
    """One finding.

    Attributes:
        id: code (``LD201``); name: the sickness in words. severity: the cost if true; confidence: how sure, 0 to 1.
        evidence, against: what speaks for and against it. actions: in order. next_test: what would settle it.
        explains: ids of other findings that it would cause; explained_by: the finding that explains this one.
    """

    id: str
    name: str
    severity: Severity
    confidence: float
    claim: Claim
    scope: str
    title: str
    summary: str
    evidence: tuple[Evidence, ...]
    against: tuple[Evidence, ...] = ()
    why: str = ""
    actions: tuple[str, ...] = ()
    next_test: str = ""
    explains: tuple[str, ...] = ()
    explained_by: str | None = None
    epoch: int | None = None


@dataclass(frozen=True, kw_only=True)
class RuleEntry:
    """A rule that found nothing (``text``: what it saw), could not look (``reason``), or raised (``error``).

    What raised may also be a part of the observer, which has a name and no ``id``.
    """

    id: str
    name: str
    text: str = ""
    reason: str = ""
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class MomentEntry:
    """Baseline, best, final or target: the value of the metric, its count and 95 % Wilson interval where it has one."""

    role: str
    metric: str
    epoch: int | None = None
    value: float | None = None
    count: Count | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class EpochEntry:
    """One row of the epoch table: scalars, counts per stage, what happened there in words."""

    epoch: int
    step: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, Count] = field(default_factory=dict)
    lrs: tuple[float, ...] = ()
    events: tuple[Event, ...] = ()
    status: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StageEntry:
    """Classes, confusions and groups of the last evaluation of a stage that kept them."""

    epoch: int
    n: int
    classes: tuple[ClassRow, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    matrix: tuple[tuple[int, ...], ...] = ()
    groups: tuple[GroupRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReportEntry:
    """The whole file.

    Attributes:
        tool: version of the library that wrote it. verdict: the first line of the report.
        findings: most important first. left_out: what was shortened to keep the file small, and how much there was
            (``{"epochs": 10000}``); the full record is ``history.jsonl``.
    """

    schema_version: int = SCHEMA_VERSION
    tool: str = ""
    title: str = ""
    verdict: str = ""
    findings: tuple[FindingEntry, ...] = ()
    not_established: tuple[NotEstablished, ...] = ()
    clear: tuple[RuleEntry, ...] = ()
    not_checked: tuple[RuleEntry, ...] = ()
    crashed: tuple[RuleEntry, ...] = ()
    thresholds: Mapping[str, Mapping[str, float | int | str | bool | None]] = field(default_factory=dict)
    moments: tuple[MomentEntry, ...] = ()
    epochs: tuple[EpochEntry, ...] = ()
    stages: Mapping[str, StageEntry] = field(default_factory=dict)
    context: RunContext = field(default_factory=RunContext)
    left_out: Mapping[str, int] = field(default_factory=dict)


@cache
def adapter() -> TypeAdapter[ReportEntry]:
    """Writes and checks the file."""
    from pydantic import TypeAdapter

    return TypeAdapter(ReportEntry)


def write_json(entry: ReportEntry) -> str:
    """``entry`` as JSON text, one line per part.

    JSON has no NaN, and a diverged loss is not a missing one: non-finite numbers are words.
    """
    from pydantic_core import to_json

    plain = adapter().dump_python(entry)
    try:
        parts = {key: to_json(value, inf_nan_mode="strings") for key, value in plain.items()}
    except ValueError:  # half a surrogate pair in a name of the run: no encoding has bytes for it
        parts = {key: to_json(value, inf_nan_mode="strings") for key, value in _encodable(plain).items()}
    lines = ",\n".join(f' "{key}": {text.decode()}' for key, text in parts.items())
    return f"{{\n{lines}\n}}\n"


def _encodable(value: Any) -> Any:
    """``value`` with half surrogate pairs written as backslash escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(inner) for key, inner in value.items()}
    return [_encodable(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def json_schema() -> dict[str, Any]:
    """The JSON schema of ``diagnosis.json``."""
    from pydantic.json_schema import GenerateJsonSchema
    from pydantic_core.core_schema import FloatSchema

    class WithWords(GenerateJsonSchema):
        """Floats may be one of three words."""

        def float_schema(self, schema: FloatSchema) -> dict[str, Any]:
            words = {"enum": ["NaN", "Infinity", "-Infinity"], "type": "string"}
            return {"anyOf": [super().float_schema(schema), words]}

    schema = adapter().json_schema(schema_generator=WithWords)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "lightning_diag diagnosis"}


def read_json(text: str | bytes) -> ReportEntry:
    """The content of a ``diagnosis.json``.

    Raises:
        RecordError: when it is not one, or was written under a newer schema.
    """
    from pydantic import ValidationError

    try:
        found = adapter().validate_json(text)
    except (ValidationError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[:3]
        raise RecordError(
            f"diagnosis.json: expected the schema of `lightning-diag schema`, got {' '.join(first)}"
        ) from error
    if found.schema_version > SCHEMA_VERSION:
        raise RecordError(
            f"diagnosis.json has schema version {found.schema_version}, this library reads up to {SCHEMA_VERSION}: "
            "upgrade lightning-diag"
        )
    return found
