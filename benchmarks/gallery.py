"""The reports in ``docs/gallery``: six faults, two healthy runs and the two write-ups that started this project.

``python -m benchmarks.gallery --records DIR [DIR ...]`` takes the records that ``benchmarks.faults --out DIR`` kept and
writes one folder per report, under the rules as they are now.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from lightning_diag.engine import diagnose
from lightning_diag.history import RunHistory
from lightning_diag.output import write_report
from lightning_diag.store import read_history
from tests.seeds import seed1, seed2

CASES = {
    "label_noise40": "40 % of the training labels are wrong",
    "val_labels_permuted": "validation labels are shifted by one class",
    "leakage_dup": "70 % of the validation samples are in training",
    "sorted_noshuffle": "training batches are sorted by class",
    "pretrained_prefix": "a checkpoint that was loaded and did not reach the model",
    "ctc_infeasible": "text lines with more labels than frames",
    "c_digits_mlp": "a healthy classifier",
    "c_ctc": "a healthy CTC reader",
}
OUT = Path(__file__).parents[1] / "docs" / "gallery"


def without_paths(history: RunHistory) -> RunHistory:
    """The record without the folders of the machine that made it."""
    context, pretrain = history.context, history.context.pretrain
    if pretrain is not None:
        path = Path(pretrain.checkpoint)
        fix = pretrain.fix.replace(str(path), path.name) if pretrain.fix else None
        pretrain = replace(pretrain, checkpoint=path.name, fix=fix)
    return replace(history, context=replace(context, settings={}, pretrain=pretrain))


def written_up(history: RunHistory) -> RunHistory:
    """A history that was typed in says so, as one that was read from a log does."""
    return replace(history, context=replace(history.context, source="a write-up"))


def write(name: str, history: RunHistory) -> str:
    """One report; its verdict."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    diagnosis = diagnose(history)
    write_report(folder, history, diagnosis)
    (folder / "diagnosis.json").unlink()
    return diagnosis.verdict


def main() -> None:
    """Write all reports and the page that lists them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gallery", description=__doc__)
    parser.add_argument(
        "--records", nargs="+", type=Path, required=True, help="folders given to benchmarks.faults --out"
    )
    args = parser.parse_args()
    rows = [("seed1", "a resumed fit, from its write-up", write("seed1", written_up(seed1())))]
    rows.append(("seed2", "a run of 100 classes, from its write-up", write("seed2", written_up(seed2()))))
    for name, what in CASES.items():
        record = next((p for d in args.records if (p := d / "_work" / f"{name}__s0" / "history.jsonl").exists()), None)
        if record is None:
            raise SystemExit(
                f"{name}: no record below {', '.join(map(str, args.records))}; run benchmarks.faults --only {name}"
            )
        rows.append((name, what, write(name, without_paths(read_history(record)))))
    table = "\n".join(
        f"| [{what}]({name}/diagnosis.md) | {verdict.replace('|', ' ')} |" for name, what, verdict in rows
    )
    text = "# Gallery\n\nReports as they are written, of runs with a known fault, of healthy runs, and of two write-ups typed in as histories.\n"
    (OUT / "index.md").write_text(f"{text}\n| run | first line |\n|---|---|\n{table}\n", encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
