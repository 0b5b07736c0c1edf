"""Several processes give the record of one: counts exact, one summed reduction per interval and stage."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_diag.store import read_history

pytestmark = pytest.mark.reliability

SCRIPT = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
import toys
from lightning_diag import GapMonitor, all_callbacks
from lightning_diag.callbacks.observer import Observer

class Still(toys.Toy):
    "Weights stand still, so that all counts are comparable whatever the order of the training samples."
    def __init__(self):
        super().__init__(lr=0.0)
        self.encoder[1] = torch.nn.Identity()

if __name__ == "__main__":
    processes, samples, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.manual_seed(0)
    torch.set_num_threads(1)
    calls = []
    if processes > 1:
        original = torch.distributed.all_reduce
        torch.distributed.all_reduce = lambda *a, **k: (calls.append(1), original(*a, **k))[1]
    extra = dict(strategy="ddp", devices=processes) if processes > 1 else {{}}
    trainer = toys.trainer(folder, all_callbacks(dirpath=folder), epochs=2, **extra)
    trainer.fit(Still(), toys.loader(60, 1, batch_size=5), toys.loader(samples, 2, batch_size=5))
    if processes > 1:
        metrics = Observer.find(trainer).parts[0].collectors
        made = {{stage: c.metrics.collectives for stage, c in metrics.items()}}
        (folder / f"rank{{trainer.global_rank}}.json").write_text(__import__("json").dumps(made))
"""


def run(tmp_path, processes, samples):
    folder = tmp_path / str(processes)
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent.parent)))
    command = [sys.executable, "-W", "ignore", str(script), str(processes), str(samples), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, read_history(folder / "history.jsonl")


@pytest.mark.parametrize(("processes", "samples"), [(2, 30), (4, 9)])
def test_the_record_is_that_of_one_process(tmp_path, processes, samples):
    _, one = run(tmp_path, 1, samples)
    folder, many = run(tmp_path, processes, samples)
    assert [r.epoch for r in many.epochs] == [r.epoch for r in one.epochs]
    for mine, theirs in zip(many.epochs, one.epochs, strict=True):
        for stage in ("train", "val"):
            assert mine.stages[stage].correct == theirs.stages[stage].correct
            assert mine.stages[stage].classes == theirs.stages[stage].classes
        assert mine.values["val/acc"] == pytest.approx(theirs.values["val/acc"])
        # the loss call of a batch is a mean over its samples, a repeated one included
        exact = 1e-5 if samples % processes == 0 else 0.05
        assert mine.values["val/loss"] == pytest.approx(theirs.values["val/loss"], rel=exact)
    padded = -samples % processes
    assert many.epochs[-1].stages["val"].padded == padded
    reports = sorted(p.name for p in folder.glob("diagnosis*.md"))
    assert reports == ["diagnosis.md"]
    made = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(processes)]
    # one to agree on the number of classes, then one per interval
    assert made == [{"train": 1 + 2, "val": 1 + 2}] * processes
