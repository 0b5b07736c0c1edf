"""The figures of ``benchmarks.overhead`` from the times of the steps, and their table."""

from __future__ import annotations

from typing import Any

import numpy as np


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Median and a 95 % bootstrap interval."""
    rng = np.random.default_rng(seed)
    draws = np.median(rng.choice(values, (2000, len(values))), axis=1)
    return float(np.median(values)), *(float(q) for q in np.quantile(draws, (0.025, 0.975)))


def row(model: str, variant: str, switch: Any, error: str | None) -> dict:
    """The figures of one variant."""
    found = {"model": model, "variant": variant}
    off, on = switch.pairs("later epochs")
    if error or not len(off):
        return found | {"error": error or "no steps"}
    base = float(np.median(off))
    shared = switch.shared("later epochs") * 1e6
    extra, low, high = (value + shared for value in interval((on - off) * 1e6))
    return found | {
        "step_ms": base * 1e3,
        "pairs": len(off),
        "extra_us": extra,
        "shared_us": shared,
        "extra_us_interval": [low, high],
        "ratio": 1 + extra / (base * 1e6),
        "ratio_interval": [1 + v / (base * 1e6) for v in (low, high)],
        "first_epoch_extra_us": _first_epoch(switch) * 1e6,
        "first_steps_extra_us": (switch.first - base) * 1e6,
    }


def _first_epoch(switch: Any) -> float:
    off, on = switch.pairs("first epoch")
    return float(np.median(on - off)) + switch.shared("first epoch") if len(off) else float("nan")


def show(found: list[dict]) -> None:
    """The figures of one model as a Markdown table."""
    print(f"\n### {found[0]['model']}\n")
    print(
        "| variant | step without, median | extra per step (95 %) | of it counted together | ratio (95 %) | rest of the first epoch, extra | first 64 steps, extra |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for row in found:
        if "error" in row:
            print(f"| {row['variant']} | did not run: {row['error']} | | | | | |")
            continue
        low, high = row["extra_us_interval"]
        ratio_low, ratio_high = row["ratio_interval"]
        print(
            f"| {row['variant']} | {row['step_ms']:.2f} ms | {row['extra_us']:+.0f} µs [{low:+.0f}, {high:+.0f}] "
            f"| {row['shared_us']:.0f} µs | {row['ratio']:.3f} [{ratio_low:.3f}, {ratio_high:.3f}] | {row['first_epoch_extra_us']:+.0f} µs "
            f"| {row['first_steps_extra_us']:+.0f} µs |",
            flush=True,
        )
