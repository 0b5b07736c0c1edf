import csv

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from toys import fit

from lightning_diag import all_callbacks


def test_scalars_reach_a_csv_logger(tmp_path):
    logger = CSVLogger(tmp_path)
    fit(tmp_path, all_callbacks(), epochs=2, logger=logger)
    rows = list(csv.DictReader((tmp_path / "lightning_logs/version_0/metrics.csv").read_text().splitlines()))
    values = [float(row["diag/val_balanced_acc"]) for row in rows if row.get("diag/val_balanced_acc")]
    assert len(values) == 2
    steps = {name: [int(row["step"]) for row in rows if row.get(name)] for name in ("diag/val_acc", "val_loss")}
    assert steps["diag/val_acc"] == steps["val_loss"]
    assert (tmp_path / "lightning_logs" / "version_0" / "diagnosis.md").exists()


def test_loggers_are_left_alone_where_that_is_asked_for(tmp_path):
    keep = ModelCheckpoint(tmp_path, monitor="diag/val_acc")
    logger = CSVLogger(tmp_path)
    fit(tmp_path, [*all_callbacks(loggers=False), keep], epochs=2, logger=logger, enable_checkpointing=True)
    text = (tmp_path / "lightning_logs/version_0/metrics.csv").read_text()
    assert "val_loss" in text
    assert "diag/" not in text
    assert keep.best_model_path  # the values are still there to monitor
    assert (tmp_path / "lightning_logs" / "version_0" / "diagnosis.md").exists()


@pytest.mark.figures
def test_tensorboard_gets_scalars_the_report_and_pictures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)
    fit(tmp_path, all_callbacks(), epochs=2, logger=logger)
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    assert len(events.Scalars("diag/val_acc")) == 2
    assert "diag/curves" in events.Tags()["images"]
    assert any("diagnosis" in tag for tag in events.Tags()["tensors"])
