"""Loggers of services, each without a network, where its package is installed."""

import json
import time
import warnings
import zipfile

import pytest
from toys import fit

from lightning_diag import all_callbacks
from lightning_diag.readers import read_run

pytestmark = [pytest.mark.figures, pytest.mark.filterwarnings("default")]  # their packages warn of their own affairs


def train(folder, logger):
    """A fit of two epochs whose files and log go to the same folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(folder, all_callbacks(dirpath=folder / "report"), epochs=2, logger=logger, log_every_n_steps=1)


def test_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from lightning.pytorch.loggers import WandbLogger

    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True, project="toys")
    train(tmp_path, logger)
    logger.experiment.finish()
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (log,) = folder.glob("*.wandb")
    size = -1  # W&B's service process may write its file after finish has returned
    while size != log.stat().st_size:
        size = log.stat().st_size
        time.sleep(2)
    files = folder / "files"
    assert "# Diagnosis" in (files / "diagnosis.md").read_text()
    assert {"curves", "confusion"} <= {path.name.split("_")[0] for path in (files / "media/images/diag").glob("*.png")}
    history, _ = read_run(folder)
    assert len(history.series("val/acc")) == len(history.series("val/balanced_acc")) == 2


@pytest.mark.parametrize("store", ["sqlite", "files"])
def test_mlflow(tmp_path, store, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    from lightning.pytorch.loggers import MLFlowLogger

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"sqlite:///{tmp_path}/mlflow.db" if store == "sqlite" else f"file:{tmp_path}/mlruns"
    logger = MLFlowLogger("toys", tracking_uri=uri, artifact_location=str(tmp_path / "artifacts"))
    train(tmp_path, logger)
    client = mlflow.tracking.MlflowClient(uri)
    values = client.get_metric_history(logger.run_id, "diag/val_acc")
    assert len(values) == 2
    (report,) = tmp_path.rglob("artifacts/**/diagnosis.md")
    assert "# Diagnosis" in report.read_text()
    assert {"curves.png", "curves.svg", "confusion.png"} <= {path.name for path in report.parent.iterdir()}
    history, _ = read_run(tmp_path / ("mlflow.db" if store == "sqlite" else "mlruns"))
    assert [record.epoch for record in history.epochs] == [0, 1]
    assert len(history.series("val/balanced_acc")) == 2


def test_comet_offline(tmp_path, monkeypatch):
    comet = pytest.importorskip("comet_ml")
    from lightning.pytorch.loggers import CometLogger

    monkeypatch.setenv("COMET_LOGGING_CONSOLE", "error")
    logger = CometLogger(api_key="none", project="toys", online=False, offline_directory=str(tmp_path))
    logger._experiment = comet.OfflineExperiment(project_name="toys", offline_directory=str(tmp_path))
    train(tmp_path, logger)
    logger.experiment.end()
    (archive,) = tmp_path.glob("*.zip")
    with zipfile.ZipFile(archive) as packed:
        messages = [json.loads(line) for line in packed.read("messages.json").decode().splitlines()]
    metrics = [m["payload"]["metric"] for m in messages if m["type"] == "metric_msg"]
    assert sum(metric["metricName"] == "diag/val_acc" for metric in metrics) == 2
    uploads = " ".join(json.dumps(m["payload"]) for m in messages if "upload" in m["type"])
    assert "diagnosis.md" in uploads
    assert "diag/curves" in uploads


def test_neptune_offline(tmp_path, monkeypatch):
    pytest.importorskip("neptune.types")
    loggers = pytest.importorskip("lightning.pytorch.loggers")
    if not hasattr(loggers, "NeptuneLogger"):
        pytest.skip("this version of Lightning has no NeptuneLogger any more")
    monkeypatch.chdir(tmp_path)
    logger = loggers.NeptuneLogger(
        api_key="ANONYMOUS", project="toys/toys", mode="offline", log_model_checkpoints=False
    )
    train(tmp_path, logger)
    logger.experiment.stop()
    written = b"".join(path.read_bytes() for path in (tmp_path / ".neptune").rglob("*") if path.is_file())
    assert b"diag/val_acc" in written or b"val_acc" in written
    assert b"curves" in written
