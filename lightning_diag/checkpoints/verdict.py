"""From a comparison to a verdict: a word, a sentence with numbers, and nothing that the numbers do not carry."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_diag.checkpoints.comparison import Comparison, Row
from lightning_diag.checkpoints.names import blocks_of, parent
from lightning_diag.checkpoints.unrelated import explain_unrelated, is_unrelated
from lightning_diag.history import BlockShare
from lightning_diag.words import number

LOADED = "loaded"
PARTLY = "partly loaded"
NOT_LOADED = "not loaded"
ROUNDED = "loaded, since trained or rounded"
RESUMED = "resumed"
UNTRAINED = "checkpoint untrained"
CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where verdicts change. Measured on 7 encoders in 31 load scenarios.

    Attributes:
        loaded: share of the expected weights that must equal the checkpoint. What is left is the room for a small
            layer that was replaced on purpose.
        partly: below this nothing of note was loaded (the head alone of a large network).
        rounding: relative L2 distance below which two networks are one that was rounded or took a few steps;
            strangers are at 1.3 and more, the same seed untrained at 0.1 and more.
        coarse: the same for matrices beside vectors that are equal to the last bit: no format rounds vectors. 8-bit floats
            give 0.03, 4-bit ones about 0.1.
        near: the same for one tensor: bfloat16 rounds to 0.0017, int8 to about 0.004.
        aligned, shape_fit: names, or shapes where the names were all changed, that must fit before *not loaded* is
            said; else the checkpoint is of another network.
        related: cosine above which the two share a history; strangers stay below 0.02.
    """

    loaded: float = 0.95
    partly: float = 0.05
    rounding: float = 0.01
    coarse: float = 0.15
    near: float = 0.004
    aligned: float = 0.5
    shape_fit: float = 0.9
    related: float = 0.2


LIMITS = Limits()


def judge(comparison: Comparison, *, untrained: bool | None, late: bool = False, limits: Limits = LIMITS) -> str:
    """The verdict of a comparison, resuming apart.

    Args:
        comparison: of the checkpoint and the module.
        untrained: the checkpoint itself looks freshly initialised.
        late: updates were made since the load, so equality proves nothing any more.
        limits: where verdicts change.
    """
    if comparison.expected == 0:
        return CANNOT_TELL
    if comparison.equal >= limits.loaded:
        return UNTRAINED if untrained else LOADED
    near = _near_share(comparison, limits)
    if near >= limits.loaded or _rounded(comparison, limits) or _coarsely_rounded(comparison, limits):
        return ROUNDED
    if near >= limits.partly:
        return PARTLY
    if comparison.aligned < limits.aligned and comparison.shape_fit < limits.shape_fit:
        return CANNOT_TELL
    return _judge_late(comparison, limits) if late else NOT_LOADED


def _near_share(comparison: Comparison, limits: Limits) -> float:
    """Share of the expected weights that are equal, or as near as rounding leaves them."""
    rows = comparison.having("equal") if _was_reset(comparison) else comparison.having("equal", "different")
    near = [row for row in rows if row.status == "equal" or _gap(row) < limits.near]
    return sum(row.numel for row in near) / comparison.expected


def _gap(row: Row) -> float:
    gap = row.distance.relative_l2 if row.distance else None
    return float("inf") if gap is None else gap


def _was_reset(comparison: Comparison) -> bool:
    """Constant norm layers where the checkpoint's are trained: the same seed, not a rounded copy.

    Rounding and training move values, they do not make them all 1. One in ten vectors leaves room for a layer that
    was reset on purpose.
    """
    vectors = [row for row in comparison.having("different") if not row.matrix]
    return 10 * sum(row.reset for row in vectors) > len(vectors)


def _rounded(comparison: Comparison, limits: Limits) -> bool:
    gap = comparison.distance.relative_l2
    covered = comparison.numel("equal", "different") >= limits.loaded * comparison.expected
    return covered and gap is not None and gap < limits.rounding and not _was_reset(comparison)


def _coarsely_rounded(comparison: Comparison, limits: Limits) -> bool:
    """Few bits per weight, as 8-bit floats or 4 bits leave them: only the matrices are rounded."""
    rows = [row for row in comparison.having("equal", "different") if not row.matrix]
    kept, vectors = sum(row.numel for row in rows if row.status == "equal"), sum(row.numel for row in rows)
    gap = comparison.distance.relative_l2
    covered = comparison.numel("equal", "different") >= limits.loaded * comparison.expected
    return covered and gap is not None and gap < limits.coarse and kept >= limits.loaded * max(1, vectors)


def _judge_late(comparison: Comparison, limits: Limits) -> str:
    """After an update only the direction is left: strangers are orthogonal, relatives may have the seed in common."""
    cosine = comparison.distance.cosine
    return NOT_LOADED if cosine is None or cosine < limits.related else CANNOT_TELL


def block_shares(comparison: Comparison) -> tuple[BlockShare, ...]:
    """Share of equal parameters by block of the module, in its order; parts the checkpoint cannot fill left out."""
    rows = comparison.having("equal", "different", "shape", "missing")
    names = blocks_of({row.name: row.numel for row in rows})
    shares = []
    for block in dict.fromkeys(names[row.name] for row in rows):
        inside = [row for row in rows if names[row.name] == block]
        total = sum(row.numel for row in inside)
        equal = sum(row.numel for row in inside if row.status == "equal")
        shares.append(BlockShare(block=block or "(top level)", parameters=total, equal=equal / total))
    return tuple(shares)


def owners(rows: tuple[Row, ...]) -> tuple[str, ...]:
    """Modules that own these weights, each once."""
    return tuple(dict.fromkeys(parent(row.name) or row.name for row in rows))


def percent(share: float) -> str:
    """``0 %`` and ``100 %`` only when exact."""
    text = f"{100 * share:.1f}"
    if text == "0.0" and share > 0:
        return "under 0.1 %"
    if text == "100.0":
        return "100 %" if share >= 1 else "over 99.9 %"
    return "0 %" if share == 0 else f"{text} %"


def amount(numel: int) -> str:
    """A number of weights for people: ``11.2 M``, ``340 k``, ``7,248``."""
    if numel >= 1_000_000:
        return f"{numel / 1e6:.1f} M"
    return f"{numel / 1000:.0f} k" if numel >= 10_000 else f"{numel:,}"


def explain(verdict: str, comparison: Comparison, module: str, *, untrained: bool | None, late: bool = False) -> str:
    """One or two sentences with the numbers that a verdict rests on; ``module`` is what they call the compared weights."""
    if is_unrelated(comparison):
        return explain_unrelated(comparison, module)
    if comparison.expected == 0:
        return "No weight of the two can be compared: other shapes, or the same constants on both sides."
    head = (
        f"{percent(comparison.equal)} of the {amount(comparison.expected)} weights of {module} equal the "
        f"checkpoint ({_numbers(comparison)})"
    )
    parts = [f"{head}{_because(verdict, comparison, late=late)}."]
    parts += _asides(comparison)
    if (misshapen := owners(comparison.having("shape"))) and not _is_misshapen(comparison):
        listed = verdict == PARTLY and set(misshapen) == set(_lacking(comparison))
        one = "It has" if listed else f"{_listed(misshapen)} has"
        many = "They have" if listed else f"{_listed(misshapen)} have"
        parts.append(
            f"{one if len(misshapen) == 1 else many} another shape in the checkpoint: no line of code loads that."
        )
    if verdict == NOT_LOADED and comparison.alignment.prefixes and (gaps := owners(comparison.having("missing"))):
        have = "has" if len(gaps) == 1 else "have"
        parts.append(f"{_listed(gaps)} {have} no counterpart of that name in the checkpoint.")
    if untrained and verdict != CANNOT_TELL:
        parts.append(
            "The checkpoint itself looks freshly initialised: all its norm layers are at their initial values."
        )
    return " ".join(parts)


def _numbers(comparison: Comparison) -> str:
    parts = [f"names align {percent(min(1.0, comparison.aligned))}"]
    parts += [f"cosine {number(round(c, 3) + 0.0)}" for c in [comparison.distance.cosine] if c is not None]
    parts += [f"relative L2 {gap:.2g}" for gap in [comparison.distance.relative_l2] if gap]
    return ", ".join(parts)


def _because(verdict: str, comparison: Comparison, *, late: bool) -> str:
    if verdict == CANNOT_TELL:
        return _why_unknown(comparison, late=late)
    if verdict == PARTLY:
        lacking = _lacking(comparison)
        return f"; not in: {_listed(lacking)}" if lacking else ""
    if verdict == NOT_LOADED:
        return _why_not(comparison)
    return ""


def _lacking(comparison: Comparison) -> tuple[str, ...]:
    """What is not in, largest first: modules of which nothing is in, and single weights of the others."""
    rows = sorted(comparison.having("different", "shape", "missing"), key=lambda row: -row.numel)
    touched = {parent(row.name) for row in comparison.having("equal")}
    return tuple(
        dict.fromkeys(row.name if parent(row.name) in touched else parent(row.name) or row.name for row in rows)
    )


def _why_unknown(comparison: Comparison, *, late: bool) -> str:
    if late and comparison.distance.cosine is not None:
        return "; updates were made before the comparison, and the likeness left is also that of a common seed"
    return "; names and shapes do not fit, so the checkpoint seems to be of another network"


def _why_not(comparison: Comparison) -> str:
    wrong = comparison.having("shape")
    if _is_misshapen(comparison):
        many = "1 tensor has" if len(wrong) == 1 else f"{len(wrong)} tensors have"
        return f"; {many} another shape in the checkpoint ({_listed(owners(wrong))})"
    cosine = comparison.distance.cosine
    if cosine is not None and cosine > LIMITS.related:
        return "; the two are related: the same seed, an average (EMA) of the same run, or trained since"
    undone = "the load did not happen, went into a copy, or was undone"
    prefixes = comparison.alignment.prefixes
    if comparison.aligned > 0.99 and prefixes and prefixes[0][0] and not prefixes[0][1]:
        begin = f"its names begin with {prefixes[0][0]}., which those of the model lack"
        return f"; {begin}: a load with strict=False passes over all of them; if the prefix was taken off, {undone}"
    if comparison.aligned > 0.99:
        return f"; the names fit, so {undone}"
    return "; the names do not fit as they are"


def _is_misshapen(comparison: Comparison) -> bool:
    return comparison.numel("shape") >= 0.5 * comparison.expected


def _asides(comparison: Comparison) -> list[str]:
    parts = []
    if heads := owners(comparison.having("head")):
        have = "has" if len(heads) == 1 else "have"
        parts.append(f"{_listed(heads)} {have} another number of outputs than in the checkpoint, as a new head should.")
    if new := comparison.having("new"):
        share = comparison.numel("new") / max(1, comparison.model_numel)
        one = len(owners(new)) == 1
        known = "not in the checkpoint" if comparison.alignment.prefixes else "not found by value"
        known = f"{'is' if one else 'are'} {known}"
        parts.append(f"{_listed(owners(new))} ({percent(share)} of all weights) {known}.")
    moved = [row for row in comparison.having("equal") if row.by_content]
    if wrong := [row for row in comparison.rows if row.misplaced]:
        parts.append(f"{len(wrong)} tensors hold weights of other layers of the checkpoint, out of order.")
    if moved:
        what = "1 tensor was found by its values under another name"
        parts.append(
            f"{len(moved)} tensors were found by their values under other names." if len(moved) > 1 else f"{what}."
        )
    parts += _forms(comparison.having("equal"))
    return parts


def _forms(rows: tuple[Row, ...]) -> list[str]:
    """Weights that are in, in another form than that of the checkpoint."""
    forms = {
        "equal in all sampled values, but not in every value": [row for row in rows if row.exact is False],
        "stored the other way round in the checkpoint": [row for row in rows if row.turned],
        "stored in another shape in the checkpoint": [row for row in rows if row.reshaped],
        "the checkpoint's, the rows in another order": [row for row in rows if row.reordered],
        "stacked on one side and apart on the other": [row for row in rows if row.stacked],
        "the checkpoint's times a factor per output (batch norm folded in)": [row for row in rows if row.scaled],
        "pruned: their values are the checkpoint's or zero": [row for row in rows if row.pruned],
    }
    return [
        f"{len(found)} {'tensors are' if len(found) > 1 else 'tensor is'} {form}."
        for form, found in forms.items()
        if found
    ]


def training_text(frozen: float | None, outside: float | None) -> str:
    """What of the module will not be trained: frozen parameters, and trainable ones that no optimizer has.

    Args:
        frozen: share of the parameters without ``requires_grad``.
        outside: share of the trainable parameters that are in no optimizer.
    """
    parts = [f"{percent(frozen)} of its parameters are frozen."] if frozen else []
    parts += [f"{percent(outside)} of its trainable parameters are in no optimizer."] if outside else []
    return " ".join(parts)


def _listed(names: tuple[str, ...], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
