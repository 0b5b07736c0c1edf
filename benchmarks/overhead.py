"""What the callbacks cost per training step: ``python -m benchmarks.overhead``.

Each variant trains in one process, and its callbacks are switched off and on in turns of that training: of 17 steps
where a step takes a millisecond, so that the code is as warm as in a run, of nine where it takes longer. Whatever slows the machine
hits both halves alike, and both run on the same weights, addresses and batches. The step after a switch is left out, so that
the rest of a turn has the same share of the steps that are read where one in two or four is. A turn is
timed as a whole, in processor time of the thread on the CPU (torch uses one thread) and in wall-clock time on a GPU, synchronised
at the ends of the turn. Neighbouring turns are compared, the order within a pair alternates, and the median over the pairs is printed with a
bootstrap interval. What is counted together for many steps, or read in few of them (the output of CTC), happens in too few turns to show in a
median: it is timed by itself, shared out over all steps, and added. The first 64 steps, in which the capture calibrates itself, and the rest of the first epoch, in which the first
1,024 batches are fingerprinted, are printed apart.

The process starts itself again with one memory arena and no trimming: an arena that happens to be trimmed makes the user's own
step pay for page faults (measured: 5 % between equal variants).
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
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer

from benchmarks import overhead_models as models
from benchmarks.overhead_epoch import epoch_end
from benchmarks.overhead_table import row, show

FIRST = 64
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
}
BARE = "bare Trainer"


class Switch(Callback):
    """Last callback of a Trainer: takes the others away and gives them back, and times the turns in between."""

    def __init__(self, device: str, turn: int) -> None:
        self.device, self.turn = device, turn
        self.first = 0.0
        self.turns: dict[str, list[tuple[bool, float]]] = {"first epoch": [], "later epochs": []}
        self.phase = "first epoch"
        self.rare: dict[str, dict[str, list[float]]] = {"first epoch": {}, "later epochs": {}}
        self.steps_on = {"first epoch": 0, "later epochs": 0}
        self._others: list[Callback] = []
        self._steps: list = []
        self._on = True
        self._since = 0.0

    def on_train_start(self, trainer, pl_module):
        self._others, self._steps = [c for c in trainer.callbacks if c is not self], stand_ins(trainer)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == 0 and batch_idx == 0:
            self._since = self.now()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        done = batch_idx + 1
        self.phase = "later epochs" if trainer.current_epoch else "first epoch"
        self.steps_on[self.phase] += self._on
        if trainer.current_epoch == 0 and done <= FIRST:
            if done == FIRST:
                self.first, self._since = (self.now() - self._since) / FIRST, 0.0
            return
        if trainer.is_last_batch:  # what ends and begins an epoch is for all
            self._since = 0.0
            self.switch(trainer, on=True)
        elif done % self.turn == 0:
            self._end_turn(trainer)
            turn = done // self.turn
            self.switch(trainer, on=bool(turn % 2) != bool(turn // 2 % 2))
        elif done % self.turn == 1:
            self._since = self.now()

    def switch(self, trainer, *, on: bool) -> None:
        """Lightning reads the list at each hook; the wrapped step of the module is no hook."""
        if on == self._on:
            return
        self._on = on
        trainer.callbacks = [*self._others, self] if on else [self]
        for step in self._steps:
            (step.install if on else step.remove)()

    def _end_turn(self, trainer) -> None:
        if self._since:
            self.turns[self.phase].append((self._on, (self.now() - self._since) / (self.turn - 1)))
            self._since = 0.0

    def now(self) -> float:
        if self.device != "cuda":
            return time.thread_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def timed(self, count: Callable) -> Callable:
        """A method that does in one step what stands for many, timed."""

        def call(*args, **kwargs) -> None:
            since = time.thread_time() if self.device != "cuda" else time.perf_counter()
            count(*args, **kwargs)
            spent = (time.thread_time() if self.device != "cuda" else time.perf_counter()) - since
            self.rare[self.phase].setdefault(count.__qualname__, []).append(spent)

        return call

    def shared(self, phase: str) -> float:
        """Seconds per step of what is not done in each step: as often as it was done, by its median (one call is often slow)."""
        total = sum(len(spent) * float(np.median(spent)) for spent in self.rare[phase].values())
        return total / max(self.steps_on[phase], 1)

    def pairs(self, phase: str) -> tuple[np.ndarray, np.ndarray]:
        """Seconds per step without and with the callbacks, of neighbouring turns."""
        found: list[tuple[float, float]] = []
        before: tuple[bool, float] | None = None
        for turn in self.turns[phase]:
            if before is not None and before[0] != turn[0]:
                found.append((turn[1], before[1]) if before[0] else (before[1], turn[1]))
                before = None
            else:
                before = turn
        off, on = zip(*found, strict=True) if found else ((), ())
        return np.asarray(off), np.asarray(on)


def stand_ins(trainer: Trainer) -> list:
    """What the capture has put in place of the steps of the module."""
    from lightning_diag.capture.wrapping import StandIn

    return [step for step in vars(trainer.lightning_module).values() if isinstance(step, StandIn)]


@dataclass
class Variant:
    name: str
    callbacks: Callable[[models.Setting, str], list[Callback]]
    switch: Switch | None = None
    error: str = ""


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


def train(variant: Variant, setting: models.Setting, options: argparse.Namespace, *, switching: bool = True) -> None:
    """A whole fit of one variant."""
    from lightning_diag.metrics.classification import StageMetrics
    from lightning_diag.metrics.ctc import CTCSignals
    from lightning_diag.signals.split import SplitWatch

    variant.switch = Switch(options.device, setting.turn)
    rare = ((StageMetrics, "flush"), (CTCSignals, "flush"), (CTCSignals, "read_some"), (SplitWatch, "look"))
    try:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            for owner, name in rare:
                stack.enter_context(mock.patch.object(owner, name, variant.switch.timed(getattr(owner, name))))
            torch.manual_seed(0)
            module = setting.module()
            own = variant.callbacks(setting, folder)
            trainer = Trainer(
                max_epochs=options.epochs,
                accelerator="gpu" if options.device == "cuda" else "cpu",
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=[*own, variant.switch] if switching else own,
            )
            trainer.fit(module, setting.loader(options.steps))
    except Exception as error:  # noqa: BLE001  (a peer that does not run is a line in the table)
        variant.error = f"{type(error).__name__}: {error}"[:120]


def peak_memory(setting_name: str, variant_name: str, options: argparse.Namespace) -> int | None:
    """Peak resident memory in KiB of a fresh process that trains one variant alone."""
    command = [sys.executable, "-m", "benchmarks.overhead", "--alone", setting_name, variant_name]
    command += ["--steps", str(options.steps), "--epochs", "2", "--device", options.device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout.split()[-1]) if done.returncode == 0 and done.stdout.strip() else None


def alone(setting_name: str, variant_name: str, options: argparse.Namespace) -> None:
    setting = models.SETTINGS[setting_name](options.device)
    runner = next(v for v in variants([]) if v.name == variant_name)
    train(runner, setting, options, switching=False)
    if runner.error:
        sys.exit(runner.error)
    print(high_water())


def high_water() -> int:
    """Peak resident memory of this process in KiB; what getrusage says would hold that of the process it was started from."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM:"))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--models", nargs="*", default=list(models.SETTINGS), help="which models to train")
    parser.add_argument(
        "--only", nargs="*", default=[], help="variants by part of the name; the bare Trainer always runs"
    )
    parser.add_argument("--steps", type=int, help="steps per epoch (default: by model)")
    parser.add_argument("--epochs", type=int, default=4, help="the first is printed apart")
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
        runners = variants(options.only)
        for runner in runners:
            train(runner, setting, options)
        table = [row(setting.name, runner.name, runner.switch, runner.error) for runner in runners]
        show(table)
        if options.memory:
            for line in table:
                line["peak_kib"] = peak_memory(name, line["variant"], options)
                peak = "did not run" if line["peak_kib"] is None else f"{line['peak_kib']:,} KiB"
                print(f"peak memory, {line['variant']}: {peak}", flush=True)
        found += table
    print(f"\nEpoch end, 1,000 classes x 50,000 samples: {epoch_end():.1f} ms")
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
