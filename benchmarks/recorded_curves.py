"""Recorded runs as JSON files: one object per run with ``series``, ``monitor``, ``mode``, ``planned_evals``, ``censored``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lightning_diag.stopping import Evaluation, LearningRatePlan


@dataclass(frozen=True)
class Curve:
    """One recorded run; values are oriented, so that higher is better."""

    name: str
    repo: str
    data: dict[str, Any]

    @property
    def mode(self) -> str:
        return self.data["mode"]

    @property
    def monitor(self) -> str:
        return self.data["monitor"]

    @property
    def censored(self) -> bool:
        """Whether the run itself was stopped early or ended at a target: what it would still have gained is unknown."""
        return self.data.get("censored") is not None

    @property
    def is_loss(self) -> bool:
        return "loss" in self.monitor

    @cached_property
    def raw(self) -> list[float]:
        return [math.nan if v is None else float(v) for v in self.data["series"][self.monitor]]

    @cached_property
    def values(self) -> np.ndarray:
        values = np.array(self.raw)
        values = -values if self.mode == "min" else values
        return np.where(np.isfinite(values), values, -np.inf)

    @cached_property
    def best(self) -> np.ndarray:
        return np.maximum.accumulate(self.values)

    @cached_property
    def missed(self) -> np.ndarray:
        """Share of the gain that stopping after each evaluation would miss; 0 where the run gained nothing."""
        first = self.values[np.isfinite(self.values)][:1]
        gain = self.best[-1] - first[0] if len(first) else 0.0
        return np.clip((self.best[-1] - self.best) / gain, 0.0, 1.0) if gain > 0 else np.zeros(len(self.values))

    @property
    def planned(self) -> int:
        """Planned number of evaluations; the length that the run had where no plan is on record."""
        return int(self.data.get("planned_evals") or len(self.values))

    def __len__(self) -> int:
        return len(self.values)

    def evaluations(self) -> Iterator[Evaluation]:
        """What a criterion sees, placed at 1, 2, 3, ..."""
        series = self.data["series"]
        skip = {self.monitor, "val_loss", "lr"}
        others = [name for name in series if name.startswith("val_") and name not in skip]
        for i, value in enumerate(self.raw):
            yield Evaluation(
                index=i + 1,
                value=value,
                train_loss=_at(series, "train_loss", i),
                val_loss=None if self.monitor == "val_loss" else _at(series, "val_loss", i),
                others={name: v for name in others if (v := _at(series, name, i)) is not None},
                lr=_at(series, "lr", i),
            )

    def plan(self) -> LearningRatePlan | None:
        """The run's learning rates as a plan, where they are on record."""
        rates = self.data["series"].get("lr")
        if not rates:
            return None
        known = [(i + 1.0, float(r)) for i, r in enumerate(rates) if r is not None and math.isfinite(r)]
        return LearningRatePlan(points=tuple(known))


def variants(curve: Curve, rng: np.random.Generator) -> list[Curve]:
    """What else can be learnt from a run: cut short, seen at every second or third evaluation, judged by its loss.

    A run planned to end earlier is a run like any other, and so is one that is validated less often. Learning from them
    keeps the criterion from remembering the lengths of the runs it was fitted on.
    """
    length, data = len(curve), curve.data
    found = []
    if length >= 12:
        found.append(_picked(curve, range(int(length * rng.uniform(0.35, 0.85)))))
    if length >= 24:
        found.append(_picked(curve, range(0, length, int(rng.integers(2, 4)))))
    if "val_loss" in data["series"] and curve.monitor != "val_loss":
        found.append(Curve(curve.name, curve.repo, {**data, "monitor": "val_loss", "mode": "min"}))
    return found


def _picked(curve: Curve, places: range) -> Curve:
    series = {name: [values[i] for i in places] for name, values in curve.data["series"].items()}
    return Curve(curve.name, curve.repo, {**curve.data, "series": series, "planned_evals": len(places)})


def _at(series: dict[str, list[float | None]], name: str, i: int) -> float | None:
    values = series.get(name)
    return None if values is None or i >= len(values) else values[i]


def load(folder: Path) -> list[Curve]:
    """All runs of a folder that evaluated anything, by file name.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise FileNotFoundError(f"--curves {folder}: expected a folder with one JSON file per run, found none")
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    curves = [Curve(data["id"], data["source_repo"], data) for data in runs]
    return [curve for curve in curves if len(curve)]
