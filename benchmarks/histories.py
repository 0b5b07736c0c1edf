"""Is overfitting told from plain loss histories? Prints recall, false alarms and F1 of the rule and of simple ones.

``python -m benchmarks.histories DIR`` reads every JSON, JSON lines and CSV file below ``DIR``. A history is an object (or
the columns of a table) with a training loss, a validation loss and a label; the label may also be the name of the folder
or file (``overfit``/``overfitting`` against ``non-overfit``/``normal``/``healthy``/``underfit``). Names that are
understood are listed in ``NAMES``.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_diag.engine import diagnose
from lightning_diag.history import EpochRecord, RunHistory
from lightning_diag.rules.overfitting import Overfitting

NAMES = {
    "train": ("train_loss", "training_loss", "loss", "train", "trn_loss"),
    "val": ("val_loss", "validation_loss", "valid_loss", "test_loss", "val", "validation", "valid"),
    "label": ("overfit", "overfitting", "is_overfit", "label", "class", "target"),
}
NEGATIVE = ("non", "not", "no", "normal", "healthy", "good", "under", "fit", "0", "false", "ok")


@dataclass(frozen=True)
class Labelled:
    """One labelled history of losses."""

    name: str
    train: list[float]
    val: list[float]
    overfit: bool


def truth(value: Any) -> bool | None:
    """A label as a truth value; None when it says nothing."""
    if isinstance(value, bool | int | float):
        return bool(value)
    text = str(value).strip().lower().replace("_", "-")
    if text in ("1", "true", "yes") or text.startswith("overfit"):
        return True
    return False if text.startswith(NEGATIVE) else None


def label_of(path: Path, root: Path) -> bool | None:
    """The label from the names of the folders and the file, the nearest first."""
    parts = [path.stem, *(p.name for p in path.relative_to(root).parents)]
    return next((t for part in parts if part and (t := truth(part)) is not None), None)


def pick(row: dict[str, Any], kind: str) -> Any:
    """The first known name of ``kind`` in ``row`` (letter case and separators do not matter)."""
    plain = {str(k).lower().replace("-", "_").replace(" ", "_").replace("/", "_"): v for k, v in row.items()}
    return next((plain[name] for name in NAMES[kind] if name in plain), None)


def numbers(values: Any) -> list[float]:
    """Floats; empty cells become NaN."""
    return [math.nan if v in (None, "") else float(v) for v in values]


def objects(path: Path) -> Iterator[dict[str, Any]]:
    """The histories of one file, as objects of columns."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        yield {k: [row[k] for row in rows] for k in (rows[0] if rows else {})}
        return
    text = path.read_text(encoding="utf-8")
    found = (
        [json.loads(row) for row in text.splitlines() if row.strip()] if path.suffix == ".jsonl" else json.loads(text)
    )
    many = found if isinstance(found, list) else list(found.values()) if not pick_all(found) else [found]
    yield from (entry for entry in many if isinstance(entry, dict))


def pick_all(entry: dict[str, Any]) -> bool:
    """Whether an object is one history (and not a collection of named ones)."""
    return isinstance(flat(entry), dict) and pick(flat(entry), "val") is not None


def flat(entry: dict[str, Any]) -> dict[str, Any]:
    """An object with its ``series`` or ``history`` laid beside it."""
    inner = next((entry[k] for k in ("series", "history", "metrics") if isinstance(entry.get(k), dict)), {})
    return {**entry, **inner}


def read(root: Path) -> list[Labelled]:
    """Every labelled history below ``root``."""
    out = []
    for path in sorted(p for p in root.rglob("*") if p.suffix in (".json", ".jsonl", ".csv")):
        for i, entry in enumerate(objects(path)):
            row = flat(entry)
            train, val, label = pick(row, "train"), pick(row, "val"), pick(row, "label")
            known = (
                truth(label[0] if isinstance(label, list) and label else label)
                if label is not None
                else label_of(path, root)
            )
            if train is not None and val is not None and known is not None:
                out.append(Labelled(f"{path.name}#{i}", numbers(train), numbers(val), known))
    return out


def ours(history: Labelled) -> bool:
    """LD201 on the losses alone."""
    epochs = tuple(
        EpochRecord(epoch=i, values={k: v for k, v in (("train/loss", t), ("val/loss", w)) if not math.isnan(v)})
        for i, (t, w) in enumerate(zip(history.train, history.val, strict=False))
    )
    return bool(diagnose(RunHistory(epochs=epochs), rules=[Overfitting()]).findings)


def one_line(history: Labelled) -> bool:
    """Final validation loss 15 % above its minimum."""
    values = [v for v in history.val if math.isfinite(v)]
    return values[-1] > 1.15 * min(values)


def ratio(history: Labelled) -> bool:
    """(validation - training) / training above 0.1 at any epoch, as SageMaker Debugger documents it."""
    return any(t > 0 and (v - t) / t > 0.1 for t, v in zip(history.train, history.val, strict=False))


RULES: dict[str, Callable[[Labelled], bool]] = {
    "lightning_diag LD201": ours,
    "final > 1.15 x minimum": one_line,
    "gap ratio > 0.1": ratio,
}


def line(name: str, rule: Callable[[Labelled], bool], histories: list[Labelled]) -> str:
    """Recall, false alarms and F1 of one rule."""
    said = [(rule(h), h.overfit) for h in histories]
    hit, missed = said.count((True, True)), said.count((False, True))
    alarms, quiet = said.count((True, False)), said.count((False, False))
    f1 = 2 * hit / max(1, 2 * hit + missed + alarms)
    return f"{name:26s} recall {hit}/{hit + missed}  false alarms {alarms}/{alarms + quiet}  F1 {f1:.2f}"


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.histories", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--list", action="store_true", help="name the histories that were judged wrongly")
    args = parser.parse_args()
    histories = read(args.folder)
    if not histories:
        raise SystemExit(f"{args.folder}: no labelled history found. Expected JSON or CSV with {NAMES}.")
    print(f"{len(histories)} histories, {sum(h.overfit for h in histories)} overfitted")
    for name, rule in RULES.items():
        print(line(name, rule, histories))
    if args.list:
        print(
            *(f"{h.name}: {'missed' if h.overfit else 'false alarm'}" for h in histories if ours(h) != h.overfit),
            sep="\n",
        )


if __name__ == "__main__":
    main()
