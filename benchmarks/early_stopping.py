"""Replay stopping rules on recorded runs: what each saves and what it misses.

    python -m benchmarks.early_stopping --curves ../shared/curves             # ours cross-validated by repository
    python -m benchmarks.early_stopping --curves OTHER_RUNS --fitted          # ours as shipped

*saved*: share of the evaluations not run. *missed*: (best of the whole run - best until the stop) / (best - first value).
``all`` holds every run; ``uncensored``, ``per_repository`` (mean of the repositories' means) and ``loss`` leave out the
runs that were themselves stopped early. Rules see one evaluation after the other and the planned number of evaluations.
``adaptive@X`` sees the learning rate up to now; ``adaptive+plan@X`` also the one recorded for the rest of the run, as
read from a scheduler; ``adaptive-open@X`` is not told the planned length. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recorded_curves import Curve, load
from benchmarks.stopping_peers import PEERS
from lightning_diag.stopping import SETTINGS, StoppingCriterion
from lightning_diag.stopping.model import Model, shipped

Models = tuple[Model, Model]
LINE = (0.01, 0.0175, 0.035, 0.07, 0.15)
"""Further values of ``max_missed_gain`` for the line of the figure."""


def ran(curve: Curve, setting: str | float, models: Models, *, planned: bool = True, plan: bool = False) -> int:
    """Evaluations that run under the criterion."""
    criterion = StoppingCriterion(
        curve.mode,
        setting,
        planned=curve.planned if planned else None,
        plan=curve.plan() if plan else None,
        models=models,
    )
    for i, evaluation in enumerate(curve.evaluations()):
        if criterion.update(evaluation).stop:
            return i + 1
    return len(curve)


def models_of(curves: Sequence[Curve]) -> dict[str, Models]:
    """Per repository the models that were fitted without it."""
    from benchmarks.fit_stopping import cross_validated

    return cross_validated(curves)


def stops(curves: Sequence[Curve], models: dict[str, Models]) -> dict[str, list[int]]:
    """Rule -> evaluations run, in the order of ``curves``."""
    found = {name: [rule(curve) for curve in curves] for name, rule in PEERS.items()}
    for setting in SETTINGS:
        for name, how in (("adaptive", {}), ("adaptive+plan", {"plan": True}), ("adaptive-open", {"planned": False})):
            found[f"{name}@{setting}"] = [ran(c, setting, models[c.repo], **how) for c in curves]
    return found


def score(curves: Sequence[Curve], evaluations: Sequence[int], groups: Sequence[str] | None = None) -> dict[str, Any]:
    """Mean saved and missed in per cent, the 95th percentile of missed, and the number averaged over."""
    saved = np.array([100.0 * (1.0 - k / len(c)) for c, k in zip(curves, evaluations, strict=True)])
    missed = np.array([100.0 * c.missed[k - 1] for c, k in zip(curves, evaluations, strict=True)])
    if groups is not None:
        names = np.array(groups)
        saved, missed = (np.array([x[names == g].mean() for g in np.unique(names)]) for x in (saved, missed))
    if not len(saved):
        return {"saved": None, "missed": None, "p95": None, "n": 0}
    figures = {"saved": saved.mean(), "missed": missed.mean(), "p95": np.percentile(missed, 95)}
    return {**{name: round(float(value), 2) for name, value in figures.items()}, "n": len(saved)}


def tables(curves: Sequence[Curve], found: dict[str, list[int]]) -> dict[str, dict[str, Any]]:
    """The four tables of scores, by rule."""
    kept = [i for i, c in enumerate(curves) if not c.censored]
    losses = [i for i in kept if curves[i].is_loss]
    result: dict[str, dict[str, Any]] = {"all": {}, "uncensored": {}, "per_repository": {}, "loss": {}}
    for rule, evaluations in found.items():
        result["all"][rule] = score(curves, evaluations)
        for table, rows, grouped in (("uncensored", kept, 0), ("per_repository", kept, 1), ("loss", losses, 0)):
            chosen = [curves[i] for i in rows]
            groups = [c.repo for c in chosen] if grouped else None
            result[table][rule] = score(chosen, [evaluations[i] for i in rows], groups)
    return result


def show(result: dict[str, dict[str, Any]]) -> None:
    """The tables as text, saved / missed / 95th percentile of missed."""
    counts = {name: next(iter(rows.values()))["n"] for name, rows in result.items()}
    head = "".join(f"{f'{name} (n={n})':>28}" for name, n in counts.items())
    print(f"{'saved % / missed % / p95 %':26}{head}")
    for rule in result["all"]:
        cells = "".join(_cell(rows[rule]) for rows in result.values())
        print(f"{rule:26}{cells}")


def _cell(row: dict[str, Any]) -> str:
    return f"{'-':>28}" if not row["n"] else f"{row['saved']:>14.1f} /{row['missed']:>5.1f} /{row['p95']:>5.1f}"


def figure(path: Path, curves: Sequence[Curve], result: dict[str, dict[str, Any]], models: dict[str, Models]) -> None:
    """Saved against missed over uncensored runs: our line, our settings, patience, the other rules."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    kept = [c for c in curves if not c.censored]
    rows = result["uncensored"]
    line = [score(kept, [ran(c, share, models[c.repo]) for c in kept]) for share in LINE]
    line = sorted([*line, *(rows[f"adaptive@{s}"] for s in SETTINGS)], key=lambda row: row["saved"])
    fig, ax = plt.subplots(figsize=(7, 4.5))
    ax.plot([r["missed"] for r in line], [r["saved"] for r in line], color="C0", label="adaptive")
    for setting in SETTINGS:
        row = rows[f"adaptive@{setting}"]
        ax.annotate(setting, (row["missed"], row["saved"]), xytext=(-4, 6), textcoords="offset points", ha="right")
        ax.plot(row["missed"], row["saved"], "o", color="C0")
    waits = [row for rule, row in rows.items() if rule.startswith("patience")]
    ax.plot([r["missed"] for r in waits], [r["saved"] for r in waits], "s-", color="C7", label="patience 3 to 60")
    for rule, row in rows.items():
        if not rule.startswith(("patience", "adaptive")):
            ax.plot(row["missed"], row["saved"], "x", color="C3")
            ax.annotate(rule, (row["missed"], row["saved"]), fontsize=7, xytext=(4, 2), textcoords="offset points")
    ax.set(xlabel="missed gain, %", ylabel="evaluations saved, %", xlim=(0, None), ylim=(0, None))
    ax.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, bbox_inches="tight")
    plt.close(fig)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables, write the figure, print the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=Path("../shared/curves"), help="folder with one JSON per run")
    parser.add_argument("--fitted", action="store_true", help="score the shipped coefficients as they are")
    parser.add_argument("--figure", type=Path, default=Path("build/early-stopping.svg"))
    args = parser.parse_args(argv)
    curves = load(args.curves)
    models = {c.repo: shipped() for c in curves} if args.fitted else models_of(curves)
    result = tables(curves, stops(curves, models))
    show(result)
    figure(args.figure, curves, result, models)
    print("figure:", args.figure)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
