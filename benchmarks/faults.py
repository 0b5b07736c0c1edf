"""Does the diagnosis name the right cause? Runs the fault benchmark and prints the table.

``python -m benchmarks.faults --bench ../shared/faultbench`` runs all open cases with three seeds (about ten minutes on
one core), ``--grid 200`` the random healthy configurations. ``--half 0`` or ``1`` keeps one half of the faults, by the
MD5 of their id. Peers' rules are restated by the benchmark and judged on the very same runs. With ``--out DIR`` a
broken-off command goes on where it ended: a run whose diagnosis is in DIR is not trained again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import io
import json
import os
import shutil
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

IDS = Path(__file__).with_name("fault_ids.json")


def make(out_dir: str, case_id: str, seed: int) -> list[Any]:
    """The callbacks under test, as a user would attach them; nothing of the case is read."""
    from lightning_diag import all_callbacks

    return all_callbacks(
        dirpath=out_dir,
        checkpoint=lambda module: getattr(module, "pretrained_path", None),
        on_not_loaded="warn",
    )


def half_of(case_id: str) -> int:
    """Which half of the faults a case belongs to; the rules were written looking at half 0."""
    return int(hashlib.md5(case_id.encode(), usedforsecurity=False).hexdigest(), 16) % 2


def run_one(job: tuple[str, str, int, str]) -> str | None:
    """One training with the tool attached; the error where the tool (or the case) failed."""
    bench, case, seed, out = job
    target = Path(out) / f"{case}__s{seed}.json"
    if target.exists() and isinstance(json.loads(target.read_text(encoding="utf-8")).get("crashed"), list):
        return None  # done by an earlier command; one that failed is run again
    sys.path.insert(0, bench)
    from bench.run import run_case

    folder = Path(out) / "_work" / f"{case}__s{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            run_case(case, seed, make(str(folder), "run", seed), out=str(folder / "history.json"))
        (folder / "diagnosis.json").replace(target)  # in one piece: a cut-off leaves no half file
    except Exception as error:  # noqa: BLE001  (a crash counts as: no finding)
        target.write_text(json.dumps({"findings": [], "crashed": repr(error)}), encoding="utf-8")
        return f"{case} s{seed}: {error!r}\n{traceback.format_exc()[-600:]}"
    return None


def judge_again(job: tuple[str, str, int, str]) -> str | None:
    """The kept record of one training under the rules as they are now; no training is run."""
    from lightning_diag.engine import diagnose
    from lightning_diag.report import render_json
    from lightning_diag.store import read_history

    _, case, seed, out = job
    record = Path(out) / "_work" / f"{case}__s{seed}" / "history.jsonl"
    if not record.exists():
        return None
    history = read_history(record)
    (Path(out) / f"{case}__s{seed}.json").write_text(render_json(history, diagnose(history)), encoding="utf-8")
    return None


def run_all(jobs: list[tuple[str, str, int, str]], workers: int, work: Any = run_one) -> list[str]:
    """All jobs; the errors."""
    if workers == 1:
        return [e for e in map(work, jobs) if e]
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return [e for e in pool.imap_unordered(work, jobs) if e]


class Score:
    """The benchmark's own judgement over the diagnoses in a folder."""

    def __init__(self, out: Path, cases: dict[str, Any], ids: dict[str, list[str]]) -> None:
        from bench import score

        self.out, self.cases, self.bench = out, cases, score
        score.SYN.clear()
        score.SYN.update(ids)

    def diagnosis(self, case: str, seed: int) -> dict[str, Any] | None:
        path = self.out / f"{case}__s{seed}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def words(self, finding: dict[str, Any]) -> set[str]:
        return set(self.bench.SYN.get(finding["id"], [finding["id"]]))

    def ours(self, case: str, seed: int) -> list[set[str]] | None:
        found = self.diagnosis(case, seed)
        return None if found is None else [self.words(f) for f in found["findings"] if f["severity"] != "info"]

    def peer(self, rule: Any, case: str, seed: int) -> list[set[str]] | None:
        from bench.hist import H

        path = self.out / "_work" / f"{case}__s{seed}" / "history.json"
        return [x[1] for x in rule(H(json.loads(path.read_text())))] if path.exists() else None

    def row(self, verdicts: Any) -> dict[str, Any]:
        """Aggregate of one tool; ``verdicts(case, seed)`` gives its ordered findings."""
        runs: dict[str, list[Any]] = {}
        for name, case in self.cases.items():
            found = [v for s in self.bench.seeds_of(case) if (v := verdicts(name, s)) is not None]
            if found:
                runs[name] = [self.bench.score_run(case, v) for v in found]
        return self.bench.agg(self.cases, runs)

    def same_verdict(self) -> float:
        """Share of the cases whose first finding (or silence) is the same in all seeds."""
        first = []
        for name, case in self.cases.items():
            found = [v for s in self.bench.seeds_of(case) if (v := self.ours(name, s)) is not None]
            if found:  # (a case that was not run yet has no verdict to differ)
                first.append(len({tuple(sorted(v[0])) if v else () for v in found}) == 1)
        return sum(first) / len(first) if first else 0.0


def share(cell: Any) -> str:
    """A bootstrap triple as ``0.95 [0.90, 1.00]``."""
    return "-" if cell[0] is None else f"{cell[0]:.2f} [{cell[1]:.2f}, {cell[2]:.2f}]"


HEADER = f"{'':34s} {'hit':19s} {'top-1':19s} {'forbidden':19s} {'precision':9s} {'false alarms on controls'}"


def line(name: str, row: dict[str, Any]) -> str:
    """One line of the table."""
    cells = " ".join(f"{share(row[key]):19s}" for key in ("hit", "top1", "forb"))
    return f"{name[:34]:34s} {cells} {row['precision_all'] if row['precision_all'] is not None else '-':<9} {share(row['false_alarm'])}"


def print_details(score: Score) -> None:
    """What was said where it was not the best answer, and every ``info`` on controls."""
    for name, case in score.cases.items():
        for seed in score.bench.seeds_of(case):
            found = score.diagnosis(name, seed)
            if found is None:
                continue
            said = " ".join(f"{f['id']}({f['severity'][0]})" for f in found["findings"])
            loud = score.ours(name, seed) or []
            if case.kind == "control":
                judged = "ALARM" if any(not (w & case.acceptable) for w in loud) else "quiet"
            else:
                judged = (
                    "top-1"
                    if loud and loud[0] & case.expected
                    else "hit"
                    if any(w & case.expected for w in loud)
                    else "MISS"
                )
                wrong = [sorted(w) for w in loud if not w & (case.expected | case.acceptable)]
                judged += f" wrong {wrong}" if wrong else ""
            if judged not in ("top-1", "quiet") or (case.kind == "control" and said):
                print(
                    f"  {name} s{seed}: {judged}: {said or 'nothing'}"
                    + (f" CRASHED {found['crashed']}" if found.get("crashed") else "")
                )


def report_open(score: Score) -> None:
    """The table with the peers below, by half, and the details."""
    from bench.peers import PEERS

    print(HEADER)
    ours = score.row(score.ours)
    print(line("lightning_diag", ours))
    for half in (0, 1):
        part = Score(
            score.out,
            {n: c for n, c in score.cases.items() if c.kind == "control" or half_of(n) == half},
            dict(score.bench.SYN),
        )
        print(line(f"  half {half} ({'looked at' if half == 0 else 'left out'})", part.row(part.ours)))
    for name, rule in PEERS.items():
        print(line(name, score.row(lambda case, seed, rule=rule: score.peer(rule, case, seed))))
    print(
        f"same first finding in all seeds: {score.same_verdict():.2f} of cases; same findings and hits: {ours['stable_over_seeds']}"
    )
    print_details(score)


def report_grid(cases: dict[str, Any], out: Path, ids: dict[str, list[str]]) -> None:
    """Alarms on the configurations that turned out healthy."""
    from bench.eval_tool import grid_alarms
    from bench.score import SYN

    SYN.update(ids)
    found = grid_alarms(cases, str(out))
    low, high = (max(0.0, end) for end in found["wilson95"])  # (rounding leaves a negative zero)
    print(
        f"grid: alarms on {found['alarms']} of {found['healthy']} healthy configurations, 95 % [{low}, {high}], "
        f"{found['rules']} {found['cases']}"
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--bench", required=True, help="folder of the fault benchmark")
    parser.add_argument("--out", help="where diagnoses are kept (a temporary folder by default)")
    parser.add_argument("--only", nargs="*", help="case ids")
    parser.add_argument("--seeds", nargs="*", type=int, help="subset of the seeds")
    parser.add_argument("--half", type=int, choices=(0, 1), help="one half of the faults")
    parser.add_argument("--grid", type=int, metavar="N", help="run N random configurations instead of the open cases")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--judge-again", action="store_true", help="apply the rules of now to the records in --out")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if args.grid:
        os.environ["FAULTBENCH_GRID"] = str(args.grid)
    bench = str(Path(args.bench).resolve())
    sys.path.insert(0, bench)
    group = "grid" if args.grid else "open"
    cases = {k: c for k, c in importlib.import_module("bench.run").load(group).items() if c.group == group}
    if args.half is not None:
        cases = {k: c for k, c in cases.items() if c.kind == "control" or half_of(k) == args.half}
    cases = {k: c for k, c in cases.items() if not args.only or k in args.only}
    out = Path(args.out or tempfile.mkdtemp(prefix="faults-"))
    out.mkdir(parents=True, exist_ok=True)
    seeds = args.seeds if args.seeds is not None else [0, 1, 2]
    jobs = [(bench, k, s, str(out)) for k in cases for s in ([int(k[5:])] if args.grid else seeds)]
    errors = run_all(jobs, args.jobs, judge_again if args.judge_again else run_one)
    ids = json.loads(IDS.read_text(encoding="utf-8"))
    if args.grid:
        report_grid(cases, out, ids)
    else:
        report_open(Score(out, cases, ids))
    done = sum((out / f"{case}__s{seed}.json").exists() for _, case, seed, _ in jobs)
    print(f"{done} of {len(jobs)} runs, {len(errors)} failed", *errors, sep="\n")


if __name__ == "__main__":
    main()
