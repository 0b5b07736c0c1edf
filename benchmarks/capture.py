"""Which styles of modules are captured in which stage, and what the capture of a step costs.

``python -m benchmarks.capture`` prints the table of styles and stages: task, source, and whether the captured pair was
the true pair in every step. ``python -m benchmarks.capture --cost`` prints the cost of a step in microseconds of CPU
time, interleaved with the bare step.
"""

import argparse
import logging
import statistics
import time
import warnings

import torch
import torch.nn.functional as F
from torch import nn

from lightning_diag.capture import StepCapture


def verdict(style, observer, stage):
    """``n of m`` steps with the true pair."""
    total = right = 0
    for where, seen, (preds, target) in observer.seen:
        if where == stage:
            total += 1
            same = seen.preds.shape == preds.shape and torch.allclose(seen.preds.float(), preds.float(), atol=1e-6)
            right += bool(same and torch.equal(seen.target.double(), target.double()))
    return right, total


def table():
    """One line per style and stage; returns the number of stages without a pair or with a wrong one."""
    from tests.capture.styles import REGISTRY
    from tests.capture.test_styles import run

    failed = wrong = 0
    print(f"{'style':32} {'stage':5} {'true pairs':>10}  task · source")
    for name, style in sorted(REGISTRY.items()):
        _, observer = run(style)
        for stage in ("train", "val", "val:1")[: 1 + style.loaders]:
            right, total = verdict(style, observer, stage)
            failed += total == 0
            wrong += right != total
            facts = observer.capture.facts(stage)
            print(f"{name:32} {stage:5} {right:>4} of {total:<3}  {facts.task} · {facts.source or facts.problem}")
    print(f"\n{len(REGISTRY)} styles; stages without a pair: {failed}; stages with a wrong pair: {wrong}")
    return failed + wrong


class Deep(nn.Module):
    """Ten linear layers; the validation step makes no loss call, so that its calibrated path is measured."""

    def __init__(self, width=64, classes=10):
        super().__init__()
        layers = [part for _ in range(10) for part in (nn.Linear(width, width), nn.ReLU())]
        self.net = nn.Sequential(*layers, nn.Linear(width, classes))

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        return self.net(batch[0]).argmax(1)


def one(module, capture, stage, batch, enabled):
    """CPU seconds of one step, observed when there is a capture."""
    start = time.thread_time()
    if capture is not None:
        capture.begin(stage, batch, 0, enabled=enabled)
    step = module.training_step if stage == "train" else module.validation_step
    result = step(batch, 0)
    if capture is not None:
        capture.end(result)
    return time.thread_time() - start


def paired(module, batch, stage, enabled, rounds):
    """Differences (observed - bare) of neighbouring steps, in microseconds."""
    capture = StepCapture(module)
    capture.install()
    for warm in ("train", "val"):
        for _ in range(4):
            one(module, capture, warm, batch, enabled=True)
    capture.remove()
    found = []
    for _ in range(rounds):
        bare = one(module, None, stage, batch, enabled)
        capture.install()
        one(module, capture, stage, batch, enabled)
        found.append((one(module, capture, stage, batch, enabled) - bare) * 1e6)
        capture.remove()
    return found


def calibration(module, batch, rounds=20):
    """Microseconds of the first step of a stage, with every part tapped."""
    found = []
    for _ in range(rounds):
        capture = StepCapture(module)
        bare = one(module, None, "train", batch, enabled=True)
        capture.install()
        found.append((one(module, capture, "train", batch, enabled=True) - bare) * 1e6)
        capture.remove()
    return found


def show(label, found):
    low, middle, high = statistics.quantiles(found, n=4)
    print(f"{label:44} {middle:8.1f} µs  (quartiles {low:.1f} to {high:.1f})")


def cost(rounds):
    """Prints the cost per step."""
    torch.set_num_threads(1)
    module, batch = Deep(), (torch.randn(16, 64), torch.randint(10, (16,)))
    bare = [one(module, None, "train", batch, enabled=True) * 1e6 for _ in range(rounds)]
    show("bare training step (forward and loss)", bare)
    show("capture from the loss call", paired(module, batch, "train", enabled=True, rounds=rounds))
    show("capture by the calibrated path", paired(module, batch, "val", enabled=True, rounds=rounds))
    show("step that is not sampled", paired(module, batch, "train", enabled=False, rounds=rounds))
    show("a calibration step (two per stage)", calibration(module, batch))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cost", action="store_true", help="measure the cost of a step instead of the table")
    parser.add_argument("--rounds", type=int, default=1500)
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    if options.cost:
        cost(options.rounds)
        return 0
    return min(table(), 1)


if __name__ == "__main__":
    raise SystemExit(main())
