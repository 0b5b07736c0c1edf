"""Is it said right whether a checkpoint is in? ``python -m benchmarks.pretraining``

Nine networks, about a hundred ways to load (or not to load) a checkpoint into each, judged by the real callback or the class
behind it. The printed line of code is run on the module, and must leave the checkpoint's weights in it. Then the cost on 100 M
parameters. ``--only TEXT`` takes the networks whose name contains it; ``--verbose`` prints every wrong case.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import tempfile
import threading
import time
import warnings
from collections import Counter
from pathlib import Path

import lightning.pytorch as pl
import safetensors.torch
import torch
from torch import nn

import benchmarks.pretraining_loaded
import benchmarks.pretraining_lost
import benchmarks.pretraining_traps  # noqa: F401  (all three register their scenarios)
import lightning_diag.checkpoints
from benchmarks.pretraining_cases import IN, SCENARIOS, Case, loader
from benchmarks.pretraining_networks import MAKERS, Network
from lightning_diag import PretrainLoadVerifier
from lightning_diag.checkpoints import LoadVerification, compare
from lightning_diag.history import PretrainFacts

SETTINGS = {
    "max_steps": 1, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False, "accelerator": "cpu", "barebones": False,
}  # fmt: skip


def judge(case: Case) -> PretrainFacts:
    """The verdict, through a Trainer where the case acts in a hook of the module."""
    if case.hook is None:
        verification = LoadVerification(case.path, **case.settings)
        verification.early_check(case.model)
        return verification.verify(case.model, resumed_from="last.ckpt" if case.resume else None)
    callback = PretrainLoadVerifier(case.path, on_not_loaded="warn", **case.settings)
    case.model.__class__ = acting(type(case.model), case)
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(callbacks=[callback], default_root_dir=folder, **SETTINGS)
        trainer.fit(case.model, loader())
    return callback.verification.facts


def acting(base: type, case: Case) -> type:
    """A subclass that acts once, in its own hook."""

    def hook(self, *args, **kwargs):
        if not self.__dict__.get("_acted"):
            self.__dict__["_acted"] = True
            case.act(self)
        inherited = getattr(super(made, self), case.hook, None)
        return inherited(*args, **kwargs) if inherited is not None else None

    made = type("Acting", (base,), {case.hook: hook})
    return made


def fix_works(case: Case, facts: PretrainFacts) -> bool:
    """Run the printed line as a user would, and compare what it leaves with what was meant."""
    if facts.fix is None:
        return False
    space = {"torch": torch, "safetensors": safetensors, "lightning_diag": lightning_diag, "model": case.model}
    try:
        for call in facts.fix.split("; "):
            eval(call, space)
    except Exception:  # noqa: BLE001  (whatever it is, the line does not work)
        return False
    return compare(case.want, case.model.encoder.state_dict()).equal >= 0.95


class Score:
    """Counts of one network."""

    def __init__(self) -> None:
        self.n = Counter()

    def add(self, case: Case, facts: PretrainFacts, fixed: bool | None) -> None:
        self.n["cases"] += 1
        self.n[case.kind] += 1
        self.n["right"] += facts.verdict in case.truth
        self.n["false loaded"] += case.kind == "out" and facts.verdict in IN
        self.n["false not"] += case.kind == "in" and facts.verdict in {"not loaded", "partly loaded"}
        self.n["partial right"] += case.kind == "partly" and facts.verdict == "partly loaded"
        if fixed is not None:
            self.n["fixable"] += 1
            self.n["fixed"] += fixed

    def row(self, name: str) -> str:
        n = self.n
        return (
            f"| {name} | {n['false loaded']} / {n['out']} | {n['false not']} / {n['in']} | {n['partial right']} / {n['partly']} "
            f"| {n['right']} / {n['cases']} = {100 * n['right'] / n['cases']:.1f} % "
            f"| {n['fixed']} / {n['fixable']} = {100 * n['fixed'] / max(1, n['fixable']):.1f} % |"
        )


def score(net: Network, verbose: bool) -> Score:
    result = Score()
    for name, make in SCENARIOS.items():
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case = make(net, Path(folder))
            facts = judge(case)
            fixed = (
                fix_works(case, facts)
                if case.want is not None and facts.verdict in {"not loaded", "partly loaded"}
                else None
            )
        result.add(case, facts, fixed)
        if verbose and (facts.verdict not in case.truth or fixed is False):
            print(f"  {net.name}: {name}: {facts.verdict} (fix works: {fixed}). {facts.reason} {facts.fix}")
    return result


def cost(parameters: int = 100_000_000, tensors: int = 24) -> list[str]:
    """CPU seconds and private memory of one verification on one thread, page cache warm."""
    side = int((parameters / tensors) ** 0.5)
    model = nn.ModuleDict({"encoder": nn.ModuleList(nn.Linear(side, side, bias=False) for _ in range(tensors))})
    lines = ["", "| 100 M parameters, one thread | CPU seconds | RssAnon grows by |", "| --- | --- | --- |"]
    with tempfile.TemporaryDirectory() as folder:
        files = {"torch zip": Path(folder, "a.pt"), "safetensors": Path(folder, "a.safetensors")}
        torch.save(model["encoder"].state_dict(), files["torch zip"])
        safetensors.torch.save_file(model["encoder"].state_dict(), files["safetensors"])
        for kind, path in files.items():
            for full in (True, False):
                seconds, grown = measured(path, model, full=full)
                share = 100 * grown / path.stat().st_size
                lines.append(
                    f"| {kind}, {'all values' if full else 'sampled'} | {seconds:.3f} | {share:.1f} % of the file |"
                )
    return lines


def measured(path: Path, model: nn.Module, *, full: bool, repeats: int = 6) -> tuple[float, int]:
    """CPU seconds (the least of some runs), and the most private memory seen while one more ran."""
    seconds = []
    for _ in range(repeats + 1):
        gc.collect()
        start = time.process_time()
        facts = LoadVerification(path, module="encoder", full=full).verify(model)
        seconds.append(time.process_time() - start)
        assert facts.verdict == "loaded", facts
    before, seen, done = private_bytes(), [], threading.Event()
    watcher = threading.Thread(
        target=lambda: [seen.append(private_bytes()) for _ in iter(lambda: done.wait(0.001), True)]
    )
    watcher.start()
    LoadVerification(path, module="encoder", full=full).verify(model)
    done.set()
    watcher.join()
    return min(seconds[1:]), max(seen, default=before) - before  # the first run imports and fills the page cache


def private_bytes() -> int:
    """RssAnon of this process; 0 where there is no /proc."""
    with contextlib.suppress(OSError), Path("/proc/self/status").open(encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))
    return 0


def main() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start, total, rows = time.perf_counter(), Score(), []
    for name, make in MAKERS.items():
        if options.only.lower() in name.lower():
            try:
                network = Network(name, make)
            except (ImportError, RuntimeError) as error:  # a package that does not fit this torch
                print(f"{name} left out: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
                continue
            result = score(network, options.verbose)
            total.n.update(result.n)
            rows.append(result.row(name))
    print(
        "| network | said loaded though not | said not though loaded | partial recognised | verdict right | printed fix works |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    print("\n".join([*rows, total.row(f"**all, {len(SCENARIOS)} scenarios each**")]))
    print("\n".join(cost()))
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
