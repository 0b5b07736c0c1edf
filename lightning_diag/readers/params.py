"""Hyper-parameters of a run, as flat text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from lightning_diag.history import OptimFacts

MAX_PARAMS = 500
MAX_NESTING = 1000
"""Opening brackets in it: the parser takes time quadratic in their depth."""
MAX_BYTES = 64 * 1024
"""Largest YAML file that is parsed: hyper-parameters take a few kilobytes, and the parser reads about 100 kB/s."""


def flat(tree: object, most: int = MAX_PARAMS) -> dict[str, str]:
    """Leaves of nested mappings and lists by dotted name, at most ``most`` of them.

    YAML aliases make trees that have far more paths than nodes, so that the nodes looked at are bounded too.
    """
    found: dict[str, str] = {}
    for name, node in islice(_nodes(tree, "", 0), 20 * most):
        text = _text(node)
        if text is not None and len(found) < most:
            found[name] = text
    return found


def _nodes(node: object, name: str, depth: int) -> Iterator[tuple[str, object]]:
    yield name, node
    if isinstance(node, Mapping) and depth < 8:
        for key, value in node.items():
            yield from _nodes(value, f"{name}.{key}"[:200].lstrip("."), depth + 1)


def _text(node: object) -> str | None:
    """A plain value as text; None for everything else."""
    if isinstance(node, (str, int, float)) or node is None:
        return str(node)[:200]
    if isinstance(node, (list, tuple)):
        return str([x for x in node[:20] if isinstance(x, (str, int, float))])[:200]
    return None


def read_yaml(path: Path) -> dict[str, str]:
    """Parameters of a YAML file; empty when it is absent, too large, or holds anything but plain values."""
    import yaml

    try:
        if path.stat().st_size > MAX_BYTES:
            return {}
        text = path.read_text(encoding="utf-8", errors="replace")
        return flat(yaml.safe_load(text)) if text.count("[") + text.count("{") < MAX_NESTING else {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}


def optim_facts(params: Mapping[str, str]) -> OptimFacts:
    """What the parameters say about the optimiser, under their usual names."""
    by_word = {name.rpartition(".")[2].lower(): value for name, value in params.items()}
    return OptimFacts(
        optimizer=_first(by_word, "optimizer", "optimizer_name", "optim", "opt"),
        scheduler=_first(by_word, "scheduler", "lr_scheduler", "lr_scheduler_type"),
        lr=_number(_first(by_word, "lr", "learning_rate", "lr0")),
        weight_decay=_number(_first(by_word, "weight_decay", "wd")),
        momentum=_number(_first(by_word, "momentum")),
        planned_epochs=_whole(_first(by_word, "max_epochs", "num_train_epochs", "epochs", "num_epochs", "n_epochs")),
    )


def _first(params: Mapping[str, str], *names: str) -> str | None:
    return next((params[name] for name in names if params.get(name, "None") != "None"), None)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _whole(text: str | None) -> int | None:
    value = _number(text)
    return int(value) if value is not None and value > 0 and value < 1e9 else None
