"""The wheel holds what an installed library needs, and the site builds without a warning."""

import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from lightning_diag.rules import RULES

ROOT = Path(__file__).parents[1]


def run(*arguments, cwd=ROOT, **env):
    done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, **env})
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(find_spec("build") is None or find_spec("hatchling") is None, reason="needs build and hatchling")
def test_the_wheel_explains_a_rule_without_the_checkout(tmp_path):
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT))
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
        entry_points = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert {f"lightning_diag/rules/pages/{rule.code}.md" for rule in RULES} <= names
    assert "lightning_diag/py.typed" in names
    for line in ("lightning-diag = lightning_diag.__main__:main", "[lightning.pytorch.callbacks_factory]"):
        assert line in entry_points
    place = str(tmp_path / "installed")
    out = run(sys.executable, "-m", "lightning_diag", "explain", "LD201", cwd=tmp_path, PYTHONPATH=place)
    assert out.startswith("# LD201")
    where = run(
        sys.executable, "-c", "import lightning_diag; print(lightning_diag.__file__)", cwd=tmp_path, PYTHONPATH=place
    )
    assert where.startswith(place)
    if find_spec("twine"):
        run(sys.executable, "-m", "twine", "check", "--strict", *map(str, tmp_path.glob("lightning_diag*")))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None or find_spec("material") is None, reason="needs mkdocs-material")
def test_the_site_builds_without_a_warning(tmp_path):
    run(sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site"), PYTHONPATH=str(ROOT))
    index = (tmp_path / "site" / "rules" / "index.html").read_text()
    for rule in RULES:
        assert rule.code in index


def test_every_rule_has_a_page_that_the_command_finds():
    from lightning_diag.cli.explain import page

    for rule in RULES:
        assert page(rule.code).startswith(f"# {rule.code}")
