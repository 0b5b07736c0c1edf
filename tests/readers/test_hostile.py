"""Damaged and hostile files: a clear error or a valid result, never a traceback, never unbounded memory or time."""

import contextlib
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seeds import CSV, diagnosis, history, mutated, seed_files

from lightning_diag.cli import main
from lightning_diag.engine import diagnose
from lightning_diag.errors import DiagError, RecordError
from lightning_diag.history import RunHistory
from lightning_diag.readers import read_run
from lightning_diag.readers.jsonlog import json_log
from lightning_diag.readers.log import Log
from lightning_diag.readers.tabular import parse, table
from lightning_diag.report import read_json, render_json, render_markdown
from lightning_diag.store import lines_to_history

FORMATS = (
    "own",
    "lightning",
    "hparams",
    "csv",
    "yolo",
    "state",
    "keras",
    "lines",
    "tensorboard",
    "mlflow",
    "mlflow-db",
)
SLOWEST = 5.0
"""Seconds that reading a damaged file of a few kilobytes may take on a loaded machine."""


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def prepared(folder, kind):
    """A run folder with the companions of a format; where to read it, which file to damage, its content."""
    name, content = seed_files(folder)[kind]
    if kind == "hparams":
        put(folder, "metrics.csv", CSV)
    if kind == "mlflow":
        put(folder, "meta.yaml", b"")
    path = put(folder, name, content)
    where = path if kind in {"csv", "keras", "lines", "mlflow-db"} else folder
    return where, path, content


def outcome(where):
    """The history at ``where`` or the error; everything else is a failure of the test."""
    start = time.process_time()
    try:
        result = read_run(where, n_val=29, classes=4)[0]
    except DiagError:
        result = None
    assert time.process_time() - start < SLOWEST
    return result


def fuzz(kind, folder, rounds, seed):
    """Read ``rounds`` damaged files of one format, judge and write every tenth that can be read."""
    generator = random.Random(seed)
    (folder / kind).mkdir(exist_ok=True)
    where, path, content = prepared(folder / kind, kind)
    read = 0
    for _ in range(rounds):
        path.write_bytes(mutated(content, generator))
        found = outcome(where)
        if found is not None:
            read += 1
            if read % 10 == 1:
                assert render_markdown(found, diagnose(found))
    return read


@pytest.mark.parametrize("kind", FORMATS)
def test_the_undamaged_seed_is_read(kind, tmp_path):
    where, _, _ = prepared(tmp_path, kind)
    assert len(read_run(where)[0].epochs) >= 1


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_give_a_history_or_a_clear_error(kind, tmp_path):
    fuzz(kind, tmp_path, 60, seed=1)


@pytest.mark.reliability
@pytest.mark.parametrize("kind", FORMATS)
def test_ten_thousand_damaged_files_of_each_format_in_bounded_memory(kind, tmp_path):
    """In a process that may hold 2 GiB more than it starts with."""
    code = (
        "import resource, sys\n"
        "sys.path[:0] = sys.argv[3:]\n"
        "from pathlib import Path\n"
        "import test_hostile\n"
        "import scipy.stats\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, used + 2**31))\n"
        "print(test_hostile.fuzz(sys.argv[1], Path(sys.argv[2]), 10_000, 2))\n"
    )
    arguments = [sys.executable, "-c", code, kind, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 0


@pytest.mark.parametrize("rounds", [200, pytest.param(10_000, marks=pytest.mark.reliability)])
def test_a_damaged_report_is_read_or_refused(rounds):
    data = render_json(history(), diagnosis()).encode()
    generator = random.Random(3)
    for _ in range(rounds):
        with contextlib.suppress(RecordError):
            read_json(mutated(data, generator).decode(errors="replace"))


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes_are_json_or_a_clear_error(data):
    with contextlib.suppress(RecordError):
        assert isinstance(json_log(data), Log)


@settings(max_examples=200)
@given(st.lists(st.text(max_size=60), max_size=6))
def test_any_lines_are_a_table_or_a_clear_error(lines):
    with contextlib.suppress(RecordError):
        assert isinstance(table([f"{line}\n" for line in lines], "CSV"), Log)


@settings(max_examples=200)
@given(st.lists(st.text(max_size=80) | st.just('{"type":"epoch","epoch":1}'), max_size=5))
def test_any_lines_are_a_record_or_a_clear_error(lines):
    with contextlib.suppress(RecordError):
        assert isinstance(lines_to_history(lines), RunHistory)


@given(st.text(max_size=30) | st.floats().map(repr) | st.floats(allow_nan=False).map(lambda x: f"{x:.4e}"))
def test_a_cell_is_a_number_or_nothing(text):
    value, decimals = parse(text)
    assert value is None or isinstance(value, float)
    assert decimals >= 0


def test_a_number_with_a_huge_exponent_costs_nothing():
    start = time.process_time()
    assert parse("1e999999999") == (None, 0)
    assert parse("1" * 399)[0] > 1e300
    assert time.process_time() - start < SLOWEST  # (digit by digit it would take hours)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
)


EMPTY_BOMB = "a: &a {}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{{', '.join(f'k{j}: *{chr(97 + i)}' for j in range(9))}}}\n" for i in range(12)
)


@pytest.mark.parametrize(
    "text",
    [BOMB, EMPTY_BOMB, "x: !!python/object/apply:os.system ['touch hacked']\n", "[" * 10_000, "a: " + "{b: " * 5000],
)
def test_a_yaml_file_neither_explodes_nor_runs(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "metrics.csv", CSV)
    put(tmp_path, "hparams.yaml", text.encode())
    found = outcome(tmp_path)
    assert found is not None
    assert sum(map(len, found.context.hparams.values())) < 200_000
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"epoch," + b",".join(b"c%d" % i for i in range(20_000)) + b"\n",
        b"epoch,val_loss\n" + b"9" * (3 << 20) + b"\n",
        b"epoch,val_loss\n" + b'"' + b"x" * (2 << 20),
        b"a" * (5 << 20),
    ],
)
def test_absurd_tables_are_refused_quickly(tmp_path, content):
    path = put(tmp_path, "log.csv", content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RecordError):
        read_run(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_hostile_names_reach_the_report_escaped_and_write_nowhere_else(tmp_path, capsys):
    folder = tmp_path / "a|b `c` <b>"
    folder.mkdir()
    header = 'epoch,train_loss,val_loss,"x|y\n# injected <script>alert(1)</script> `","../../../etc/passwd"\n'
    rows = "".join(f"{i},{1 / (i + 1)},{1 + i},{i},{i}\n" for i in range(6))
    put(folder, "log.csv", (header + rows).encode())
    assert main(["diagnose", str(folder / "log.csv"), "--no-figures"]) == 0
    text = (folder / "log-diagnosis" / "diagnosis.md").read_text()
    assert "\n# injected" not in text
    assert "<script>" not in text
    assert sorted(p.name for p in tmp_path.iterdir()) == [folder.name]


def test_links_and_special_files_do_not_hang(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(RecordError, match="no log"):
        read_run(tmp_path)
