"""What the CTC monitor says of healthy and of broken runs, and what it costs.

``python -m benchmarks.ctc`` trains every variant of :mod:`lightning_diag.demo.lines` with the real callback, judges the
record after each evaluation, and prints per run the first evaluation from which the right finding held to the end.
``--quick``: one seed. ``--only NAME``: some runs. ``--keep DIR``: keep the records; finished runs are not trained again,
only judged. ``--cost``: only the cost per training step and per validation step against the CTC loss itself.
"""

from __future__ import annotations

import argparse
import platform
import re
import shutil
import statistics
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.nn import functional as F

from lightning_diag.demo.lines import FAULTS, HEALTHY, LineRun, line_run
from lightning_diag.engine import diagnose
from lightning_diag.history import RunHistory
from lightning_diag.store import read_history

EXPECTED: dict[str, tuple[str, ...]] = {
    "raw-scores": ("LD404",),
    "softmax": ("LD404",),
    "softmax-twice": ("LD404",),
    "wrong-axis": ("LD404",),
    "reshaped": ("LD401",),
    "blank-of-loss": ("LD402",),
    "blank-in-targets": ("LD402",),
    "blank-of-decoder": ("LD402", "LD410"),
    "padding-counted": ("LD409",),
    "targets-truncated": ("LD409",),
    "val-ids": ("LD408",),
    "lengths-halved": ("LD405",),
    "lengths-quartered": ("LD405",),
    "lengths-eighth": ("LD405",),
    "lengths-constant": ("LD405",),
    "infeasible": ("LD403",),
    "infeasible-hidden": ("LD403",),
    "labels-shuffled": ("LD401", "LD607"),
    "zero-input": ("LD401", "LD611"),
    "frozen-encoder": ("LD401", "LD110"),
    "lr-x250": ("LD406", "LD401", "LD102"),
    "lr-tiny": ("LD401", "LD103"),
    "clip-tiny": ("LD103", "LD112", "LD401"),
    "weight-decay": ("LD401", "LD108"),
    "no-warm-up": ("LD401", "LD102"),
    "memorised": ("LD407",),
    "pairs-few-lines": ("LD407", "LD201", "LD202"),
    "pairs-val-ids": ("LD408",),
}
"""Fault -> codes that name it. A second code is the same fault seen by another rule (optimisation, data)."""


BENIGN = ("LD205",)
"""What is no alarm on a healthy run: the runs are short, and that they still improve is true."""


@dataclass(frozen=True)
class Verdict:
    """What was said of one run.

    Attributes:
        first: index of the first evaluation from which the answer held to the end; None when it did not.
        causes: causes at the end, most important first. checks: code words of the call checks, made at the first calls.
    """

    run: str
    seed: int
    evaluations: int
    first: int | None
    causes: tuple[str, ...]
    checks: tuple[str, ...]
    seconds: float


def train(run: LineRun, folder: Path) -> None:
    """Train with the monitor; its record is left in the folder."""
    from lightning.pytorch import Trainer

    from lightning_diag import CTCBlankMonitor

    trainer = Trainer(
        max_epochs=run.epochs,
        accelerator="cpu",
        gradient_clip_val=run.clip,
        callbacks=[CTCBlankMonitor(blank=run.decoder_blank, dirpath=str(folder))],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(run.module(), *run.loaders())


def prefix(history: RunHistory, epochs: int) -> RunHistory:
    """The record as it was after some evaluations; the mapping test is made at the end only."""
    if epochs == len(history.epochs):
        return history
    ctc = history.context.ctc
    early = replace(ctc, mapping=None, never_emitted=()) if ctc else None
    stop = replace(history.context.stop, status="running")
    context = replace(history.context, ctc=early, stop=stop)
    return replace(history, context=context, epochs=history.epochs[:epochs])


def causes(history: RunHistory) -> tuple[str, ...]:
    """Codes of the causes, most important first."""
    return tuple(f.code for f in diagnose(history).causes if f.code not in BENIGN)


def judge(name: str, seed: int, history: RunHistory) -> Verdict:
    """Judge a run after each of its evaluations."""
    expected = EXPECTED.get(name, ())
    said = [causes(prefix(history, n)) for n in range(1, len(history.epochs) + 1)]
    right = [bool(c) and c[0] in expected if expected else not c for c in said]
    first = len(right) - next((i for i, ok in enumerate(reversed(right)) if not ok), len(right))
    last = said[-1] if said else ()
    checks = tuple(word for word, _ in history.context.ctc.checks) if history.context.ctc else ()
    return Verdict(
        run=name,
        seed=seed,
        evaluations=len(said),
        first=first + 1 if first < len(right) else None,
        causes=last,
        checks=checks,
        seconds=sum(record.values.get("time/epoch", 0.0) for record in history.epochs),
    )


def measured(name: str, seed: int, keep: Path) -> Verdict:
    """One run, trained unless its record is kept already."""
    folder = keep / f"{name}-{seed}"
    record = folder / "history.jsonl"
    # a run that was killed has left a record, too
    if not record.exists() or read_history(record).context.stop.status != "finished":
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the call checks warn; the record holds what they said
            train(line_run(name, seed=seed), folder)
    return judge(name, seed, read_history(record))


def show(verdict: Verdict) -> None:
    healthy = verdict.run in HEALTHY
    held = "-" if verdict.first is None else f"{verdict.first}/{verdict.evaluations}"
    checks = ", ".join(verdict.checks) or "-"
    state = "quiet" if healthy and not verdict.causes else ", ".join(verdict.causes) or "nothing"
    print(f"| {verdict.run} | {verdict.seed} | {state} | {held} | {checks} | {verdict.seconds:.0f} |", flush=True)


def totals(verdicts: list[Verdict]) -> None:
    healthy = [v for v in verdicts if v.run in HEALTHY]
    broken = [v for v in verdicts if v.run in FAULTS]
    kinds = {v.run for v in broken}
    named = {run for run in kinds if all(v.first is not None for v in broken if v.run == run)}
    print(f"\nHealthy: {len(healthy)} runs of {len({v.run for v in healthy})} variants, "
          f"{sum(bool(v.causes) for v in healthy)} with an alarm at the end.")  # fmt: skip
    print(f"Faults: {len(named)} of {len(kinds)} kinds named as the first cause in every seed "
          f"({sum(v.first is not None for v in broken)} of {len(broken)} runs).")  # fmt: skip
    print("Missed:", ", ".join(sorted(kinds - named)) or "none")


def runs(only: Iterable[str], seeds: int, keep: Path) -> list[Verdict]:
    names = [n for n in (*HEALTHY, *FAULTS) if not only or n in only]
    print("| run | seed | causes at the end | right from evaluation | call checks | s |\n|---|---|---|---|---|---|")
    verdicts = []
    for seed in range(seeds):
        for name in names:
            verdicts.append(measured(name, seed, keep))
            show(verdicts[-1])
    return verdicts


def cost(frames: int, lines: int, classes: int, blocks: int) -> None:
    """Cost of the signals per step against the CTC loss, forward and backward: process CPU time, one thread.

    Loss and signals alternate step by step. Training reads every eighth step, as in an epoch of up to 256 batches (longer ones
    are read more rarely), and counts 32 steps together, so steps are summed over blocks of 32, and the median over the blocks is printed.
    """
    from lightning_diag.metrics.ctc import CTCCollector

    torch.manual_seed(0)
    logits = torch.randn(frames, lines, classes, requires_grad=True)
    targets = torch.randint(1, classes, (lines, 30))
    given: Any = (targets, torch.full((lines,), frames), torch.full((lines,), 30))
    collectors = {stage: CTCCollector(stage) for stage in ("train", "val")}
    spent = {name: [0.0] * (blocks + 1) for name in ("loss", "train", "val")}
    for step in range(32 * (blocks + 1)):
        log_probs = logits.log_softmax(-1)
        leaf = log_probs.detach().requires_grad_()
        began = time.process_time()
        loss = F.ctc_loss(leaf, *given)
        loss.backward()
        marks = [time.process_time()]
        for stage, collector in collectors.items():
            if stage == "train" and collector.checks.done:  # the short way, see ``StageCollector.expecting``
                collector.metric.accumulate(log_probs.detach(), *given, loss.detach())
            else:
                collector.observe(log_probs, *given, loss=loss)
            marks.append(time.process_time())
        for name, now, before in zip(spent, marks, (began, *marks), strict=False):
            spent[name][step // 32] += (now - before) / 32
    # the first 16 calls are checked on the host, once per fit
    medians = {name: 1e3 * statistics.median(values[1:]) for name, values in spent.items()}
    shares = {
        name: statistics.median(own / loss for own, loss in zip(spent[name][1:], spent["loss"][1:], strict=True))
        for name in ("train", "val")
    }
    print(f"| {frames}, {lines}, {classes} | {medians['loss']:.2f} ms | {medians['train']:.3f} ms = "
          f"{shares['train']:.1%} | {medians['val']:.2f} ms = {shares['val']:.1%} |", flush=True)  # fmt: skip


def _processor() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return names[0] if names else platform.processor() or "an unknown processor"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed")
    parser.add_argument("--only", nargs="*", default=(), help="names of runs")
    parser.add_argument("--keep", type=Path, help="folder that keeps the records")
    parser.add_argument("--cost", action="store_true", help="only the cost")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.only:
        print(f"torch {torch.__version__}, Python {platform.python_version()}, one thread of {_processor()}\n")
        print("| T, N, C | CTC loss, forward and backward | training step | validation step |\n|---|---|---|---|")
        cost(200, 16, 101, 10)
        cost(500, 32, 5000, 2)
        print()
    if not arguments.cost:
        with TemporaryDirectory() as scratch:
            totals(runs(arguments.only, 1 if arguments.quick else 2, arguments.keep or Path(scratch)))


if __name__ == "__main__":
    main()
