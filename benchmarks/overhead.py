"""What the callbacks cost per training step: ``python -m benchmarks.overhead``.

All variants train at the same time in one process, one thread each, and take turns: 16 steps of the bare Trainer, 16 of each
variant, and again. A slow moment of the machine hits all of them alike, and within a turn the caches hold what they hold in
a training of its own. (With turns of one step a step finds them filled by the other variants: measured in the same minutes,
a bare step of the MLP then took 2.3 ms instead of 1.4.) Each step is timed from the start of one batch
hook to the start of the next, so everything that a callback does between two steps counts: processor time of the thread on
the CPU (torch uses one thread), wall-clock time on a GPU. Steps are averaged in blocks
of 64 (work that is done once in a while is inside), blocks are compared pairwise, and the median over the blocks is
printed with a bootstrap interval. The first blocks, in which the capture calibrates itself and data are fingerprinted, are
printed apart.

The process starts itself again with one memory arena and no trimming: glibc gives each thread an arena of its own, and
a variant whose arena happens to be trimmed pays for page faults in the user's convolutions (measured: 5 % between
equal variants), which no training alone in its process would.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer

from benchmarks import overhead_models as models

BLOCK, TURN = 64, 16
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
}
BARE = "bare Trainer"


class Baton:
    """Lets one thread at a time run, in a fixed order."""

    def __init__(self, players: int) -> None:
        self._turn, self._players = 0, players
        self._done: set[int] = set()
        self._condition = threading.Condition()

    def wait(self, player: int) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._turn == player)

    def pass_on(self, player: int, *, leave: bool = False) -> None:
        with self._condition:
            if leave:
                self._done.add(player)
            following = [(player + k) % self._players for k in range(1, self._players + 1)]
            self._turn = next((p for p in following if p not in self._done), -1)
            self._condition.notify_all()


class Clock(Callback):
    """First callback of each Trainer: times whole steps and hands the baton over between them."""

    def __init__(self, baton: Baton, player: int, device: str) -> None:
        self.baton, self.player, self.device = baton, player, device
        self.steps: list[float] = []
        self._since: float | None = None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self._since is not None:
            self.steps.append(self.now() - self._since)
            if len(self.steps) % TURN == 0:
                self.baton.pass_on(self.player)
                self.baton.wait(self.player)
        self._since = self.now()

    def now(self) -> float:
        if self.device != "cuda":
            return time.thread_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def on_train_epoch_end(self, trainer, pl_module):
        self._since = None


@dataclass
class Variant:
    name: str
    callbacks: Callable[[models.Setting, str], list[Callback]]
    clock: Clock | None = None
    error: str = ""
    seconds: list[float] = field(default_factory=list)


def ours(*names: str) -> Callable[[models.Setting, str], list[Callback]]:
    def make(setting: models.Setting, folder: str) -> list[Callback]:
        import lightning_diag as diag

        own = {"dirpath": folder}
        built = {
            "GapMonitor": lambda: diag.GapMonitor(**own),
            "ClassCollapseDetector": lambda: diag.ClassCollapseDetector(**own),
            "CTCBlankMonitor": lambda: diag.CTCBlankMonitor(**own),
            "PretrainLoadVerifier": lambda: diag.PretrainLoadVerifier(_checkpoint(setting, folder), dirpath=folder),
            "AdaptiveEarlyStop": lambda: diag.AdaptiveEarlyStop(dirpath=folder),
        }
        return [built[name]() for name in names]

    return make


def _checkpoint(setting: models.Setting, folder: str) -> str:
    path = f"{folder}/start.pt"
    torch.manual_seed(0)
    torch.save({"state_dict": setting.module().state_dict()}, path)
    return path


FIVE = ("GapMonitor", "ClassCollapseDetector", "CTCBlankMonitor", "PretrainLoadVerifier", "AdaptiveEarlyStop")


def training_doctor(setting: models.Setting, folder: str) -> list[Callback]:
    """The PyPI package, attached as its README says."""
    from benchmarks.overhead_peers import doctor_callback

    return [doctor_callback()]


def variants(which: list[str]) -> list[Variant]:
    from benchmarks.overhead_peers import ItemMonitor, TorchmetricsMonitor

    every = [Variant(BARE, lambda s, f: [])]
    every += [Variant(name, ours(name)) for name in FIVE]
    every.append(Variant("all five", ours(*FIVE)))
    every.append(Variant("torchmetrics.MetricCollection", lambda s, f: [TorchmetricsMonitor(s.classes)]))
    every.append(Variant("per-parameter .item() monitor", lambda s, f: [ItemMonitor()]))
    every.append(Variant("training-doctor (PyPI)", training_doctor))
    return [v for v in every if not which or v.name == BARE or any(w in v.name for w in which)]


def train(variant: Variant, setting: models.Setting, baton: Baton, player: int, options: argparse.Namespace) -> None:
    """One thread: a whole fit of one variant."""
    variant.clock = Clock(baton, player, options.device)
    baton.wait(player)
    try:
        with tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(0)
            module = setting.module()
            trainer = quiet_trainer([variant.clock, *variant.callbacks(setting, folder)], setting, options)
            trainer.fit(module, setting.loader(options.steps))
    except Exception as error:  # noqa: BLE001  (a peer that does not run is a line in the table)
        variant.error = f"{type(error).__name__}: {error}"[:120]
    finally:
        variant.seconds = variant.clock.steps
        baton.pass_on(player, leave=True)


def quiet_trainer(callbacks: list[Callback], setting: models.Setting, options: argparse.Namespace) -> Trainer:
    return Trainer(
        max_epochs=options.epochs,
        accelerator="gpu" if options.device == "cuda" else "cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )


def race(setting: models.Setting, options: argparse.Namespace) -> list[Variant]:
    """All variants in lock-step."""
    runners = variants(options.only)
    baton = Baton(len(runners))
    threads = [
        threading.Thread(target=train, args=(variant, setting, baton, i, options)) for i, variant in enumerate(runners)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return runners


def blocks(seconds: list[float], size: int) -> np.ndarray:
    usable = len(seconds) // size * size
    return np.asarray(seconds[:usable]).reshape(-1, size).mean(1)


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Median and a 95 % bootstrap interval."""
    rng = np.random.default_rng(seed)
    draws = np.median(rng.choice(values, (2000, len(values))), axis=1)
    return float(np.median(values)), *(float(q) for q in np.quantile(draws, (0.025, 0.975)))


def rows(setting: models.Setting, runners: list[Variant], options: argparse.Namespace) -> list[dict]:
    block = max(1, min(BLOCK, options.steps // 4))
    per_epoch = options.steps - 1
    bare = runners[0].seconds
    found = []
    for variant in runners:
        n = min(len(bare), len(variant.seconds))
        if variant.error or n <= per_epoch:
            found.append({"model": setting.name, "variant": variant.name, "error": variant.error or "no steps"})
            continue
        a, b = (blocks(s[per_epoch:n], block) for s in (bare, variant.seconds))
        first_a, first_b = (float(np.mean(s[: min(block, per_epoch)])) for s in (bare, variant.seconds))
        extra, low, high = interval((b - a) * 1e6)
        found.append(
            {
                "model": setting.name,
                "variant": variant.name,
                "step_ms": float(np.median(variant.seconds[per_epoch:n])) * 1e3,
                "extra_us": extra,
                "extra_us_interval": [low, high],
                "ratio": 1 + extra / (float(np.median(a)) * 1e6),
                "ratio_interval": [1 + v / (float(np.median(a)) * 1e6) for v in (low, high)],
                "first_block_extra_us": (first_b - first_a) * 1e6,
            }
        )
    return found


def show(found: list[dict]) -> None:
    print(f"\n### {found[0]['model']}\n")
    print("| variant | step, median | extra per step (95 %) | ratio (95 %) | first steps, extra |")
    print("|---|---:|---:|---:|---:|")
    for row in found:
        if "error" in row:
            print(f"| {row['variant']} | did not run: {row['error']} | | | |")
            continue
        low, high = row["extra_us_interval"]
        ratio_low, ratio_high = row["ratio_interval"]
        print(
            f"| {row['variant']} | {row['step_ms']:.2f} ms | {row['extra_us']:+.0f} µs [{low:+.0f}, {high:+.0f}] "
            f"| {row['ratio']:.3f} [{ratio_low:.3f}, {ratio_high:.3f}] | {row['first_block_extra_us']:+.0f} µs |"
        )


def peak_memory(setting_name: str, variant_name: str, options: argparse.Namespace) -> int | None:
    """Peak resident memory in KiB of a fresh process that trains one variant alone."""
    command = [sys.executable, "-m", "benchmarks.overhead", "--alone", setting_name, variant_name]
    command += ["--steps", str(options.steps), "--epochs", "2", "--device", options.device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout.split()[-1]) if done.returncode == 0 and done.stdout.strip() else None


def alone(setting_name: str, variant_name: str, options: argparse.Namespace) -> None:
    setting = models.SETTINGS[setting_name](options.device)
    runner = next(v for v in variants([]) if v.name == variant_name)
    train(runner, setting, Baton(1), 0, options)
    if runner.error:
        sys.exit(runner.error)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def epoch_end(classes: int = 1_000, samples: int = 50_000) -> float:
    """Milliseconds from the last validation batch to the finished record, paired comparison included."""
    from lightning_diag.metrics.classification import StageMetrics
    from lightning_diag.metrics.memory import SampleMemory

    metrics, spent = StageMetrics(memory=SampleMemory()), []
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, classes, (samples,), generator=generator)
    for epoch in range(5):
        for target in targets.split(1_000):
            metrics.accumulate(torch.randn(len(target), classes), target, task="multiclass", kind="logits")
        since = time.perf_counter()
        metrics.result().to_record()
        metrics.memory.surest_mistakes()
        metrics.memory.settle(epoch, best=True)
        metrics.reset()
        spent.append(time.perf_counter() - since)
    return float(np.median(spent)) * 1e3


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--models", nargs="*", default=list(models.SETTINGS), help="which models to train")
    parser.add_argument(
        "--only", nargs="*", default=[], help="variants by part of the name; the bare Trainer always runs"
    )
    parser.add_argument("--steps", type=int, help="steps per epoch (default: by model)")
    parser.add_argument("--epochs", type=int, default=3, help="the first epoch is warm-up")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--memory", action="store_true", help="also peak memory, each variant in a process of its own")
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--alone", nargs=2, metavar=("MODEL", "VARIANT"), help=argparse.SUPPRESS)
    return parser.parse_args()


def settle_allocator() -> None:
    """Start again with the allocator set, which only works before the first allocation."""
    if any(name not in os.environ for name in ALLOCATOR):
        arguments = [sys.executable, "-m", "benchmarks.overhead", *sys.argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, **ALLOCATOR})


def main() -> None:
    options = parse()
    settle_allocator()
    warnings.filterwarnings("ignore")
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    if options.alone:
        alone(*options.alone, options)
        return
    found, given = [], options.steps
    for name in options.models:
        setting = models.SETTINGS[name](options.device)
        options.steps = given or setting.steps
        table = rows(setting, race(setting, options), options)
        show(table)
        if options.memory:
            for row in table:
                row["peak_kib"] = peak_memory(name, row["variant"], options)
                print(f"peak memory, {row['variant']}: {row['peak_kib'] or 0:,} KiB")
        found += table
    print(f"\nEpoch end, 1,000 classes x 50,000 samples: {epoch_end():.1f} ms")
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
