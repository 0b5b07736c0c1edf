"""Every example runs and leaves the report that its first lines promise."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_gap_monitor(tmp_path):
    load("gap_monitor").main(tmp_path)
    text = (tmp_path / "diagnosis.md").read_text()
    assert "LD201" in text
    assert "thin" in text


@pytest.mark.slow
def test_class_collapse(tmp_path):
    load("class_collapse").main(tmp_path)
    text = (tmp_path / "diagnosis.md").read_text()
    assert "LD612" in text


@pytest.mark.slow
@pytest.mark.parametrize(("mended", "words"), [(False, "not loaded"), (True, "loaded")])
def test_pretrain_load_verifier(tmp_path, mended, words):
    load("pretrain_load_verifier").main(tmp_path, mended=mended, epochs=1)
    text = (tmp_path / "diagnosis.md").read_text()
    assert words in text
    assert ("LD501" in text.split("Checked and clear")[0]) is not mended


@pytest.mark.slow
def test_adaptive_early_stop(tmp_path, capsys):
    load("adaptive_early_stop").main(tmp_path)
    assert "of 60 epochs" in capsys.readouterr().out
    assert (tmp_path / "best-weights.pt").exists()


def test_lightning_cli(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py"])
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # Lightning calls it the old way
    config = EXAMPLES / "lightning_cli.yaml"
    text = config.read_text().replace("runs/lightning_cli", str(tmp_path)).replace("max_epochs: 10", "max_epochs: 1")
    (tmp_path / "config.yaml").write_text(text)
    args = ["fit", "--config", str(tmp_path / "config.yaml"), "--trainer.enable_progress_bar=false"]
    load("lightning_cli").main(args)
    report = (tmp_path / "diagnosis.md").read_text()
    assert "AdaptiveEarlyStop, CTCBlankMonitor, ClassCollapseDetector, GapMonitor, PretrainLoadVerifier" in report
    assert "rise 0.2" in report


def test_lightning_cli_refuses_what_is_not_a_setting(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py"])
    args = ["fit", "--config", str(EXAMPLES / "lightning_cli.yaml"), "--trainer.callbacks.target=high"]
    with pytest.raises(SystemExit):
        load("lightning_cli").main(args)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Jupyter's packages warn of their own affairs
def test_the_notebook_runs_and_shows_markdown(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    committed = nbformat.read(EXAMPLES / "notebook.ipynb", 4)
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", 4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        notebook, timeout=600, startup_timeout=300, kernel_name="python3", resources=place
    ).execute()

    def headings(cells):
        shown = [output["data"]["text/markdown"] for c in cells for output in c.get("outputs", ()) if "data" in output]
        return [text.splitlines()[0].split(" of ")[0] for text in shown]

    assert headings(notebook.cells) == headings(committed.cells)
    assert len(headings(notebook.cells)) == 3
    assert (tmp_path / "runs/notebook/diagnosis.md").exists()
