"""Logs written by the real tools in the test itself, and read back."""

import csv
import json
import logging
import math
import os
import sqlite3
import time
import warnings

import pytest

from lightning_diag.errors import ConfigError, RecordError
from lightning_diag.history import Count, EpochRecord, RunContext
from lightning_diag.readers import find_logs, read_run
from lightning_diag.store import append_context, append_epoch


def series(history, name):
    return dict(history.series(name))


# ---------------------------------------------------------------- own


def test_own_folder(tmp_path):
    append_context(tmp_path / "history.jsonl", RunContext(seed=3))
    append_epoch(tmp_path / "history.jsonl", EpochRecord(epoch=0, values={"val/loss": 1.5}))
    history, report = read_run(tmp_path, n_val=29, classes=4)
    assert series(history, "val/loss") == {0: 1.5}
    assert (history.context.data.val.size, history.context.classes, history.context.seed) == (29, 4, 3)
    assert report.kind == "lightning_diag record"
    (tmp_path / "diagnosis.md").write_text("x")
    assert read_run(tmp_path / "diagnosis.md")[0].epochs == history.epochs
    with pytest.raises(ConfigError, match="leave the mapping out"):
        read_run(tmp_path, {"val_acc": "x"})


# ---------------------------------------------------------------- Lightning


@pytest.fixture
def fitted(tmp_path):
    """A real fit of two epochs, logged by Lightning's loggers."""
    import torch
    from lightning.pytorch import LightningModule, Trainer, seed_everything
    from lightning.pytorch.callbacks import LearningRateMonitor
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
    from torch.utils.data import DataLoader, TensorDataset

    class Model(LightningModule):
        def __init__(self, lr=0.1, width=2):
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(2, 2)

        def training_step(self, batch):
            loss = torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
            self.log("train_loss", loss, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch):
            logits = self.layer(batch[0])
            self.log("val_loss", torch.nn.functional.cross_entropy(logits, batch[1]))
            self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), self.hparams.lr)

    seed_everything(0)
    x = torch.randn(29, 2)
    data = TensorDataset(x, (x[:, 0] > 0).long())
    loggers = [CSVLogger(tmp_path, "csv"), TensorBoardLogger(tmp_path, "tb")]
    trainer = Trainer(
        max_epochs=2,
        logger=loggers,
        callbacks=[LearningRateMonitor()],
        log_every_n_steps=2,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(Model(), DataLoader(data, batch_size=5, shuffle=True), DataLoader(data, batch_size=29))
    return tmp_path, {k: float(v) for k, v in trainer.callback_metrics.items()}


def test_lightning_csv_and_tensorboard_of_one_fit_agree(fitted):
    folder, last = fitted
    from_csv, report = read_run(folder / "csv", n_val=29, classes=2)
    from_tb, tb_report = read_run(folder / "tb", n_val=29, classes=2)
    assert report.kind == "Lightning metrics.csv"
    assert tb_report.kind == "TensorBoard events"
    for history in (from_csv, from_tb):
        assert [r.epoch for r in history.epochs] == [0, 1]
        assert series(history, "train/loss")[1] == pytest.approx(last["train_loss_epoch"], rel=1e-6)
        assert series(history, "val/loss")[1] == pytest.approx(last["val_loss"], rel=1e-6)
        correct = history.last_stage("val").correct
        assert correct == Count(k=round(last["val_acc"] * 29), n=29)
        assert series(history, "val/acc")[1] == correct.rate
        assert series(history, "lr") == pytest.approx({0: 0.1, 1: 0.1})
        assert history.context.optim.lr == 0.1
        assert history.context.hparams == {"lr": "0.1", "width": "2"}
        assert history.epochs[0].values["loss/step_min"] <= history.epochs[0].values["loss/step_max"]
    assert report.understood["train_loss_epoch"] == "train/loss"
    assert report.understood["train_loss_step"] == "train/loss (single steps)"
    for a, b in zip(from_csv.epochs, from_tb.epochs, strict=True):
        assert a.values == pytest.approx(b.values, rel=1e-6)


def test_the_newest_of_several_versions_is_taken_and_said(fitted):
    folder, _ = fitted
    other = folder / "csv" / "version_10"
    other.mkdir()
    (other / "metrics.csv").write_text("epoch,val_loss\n0,1.0\n")
    os.utime(other / "metrics.csv", (1, 1))
    history, report = read_run(folder / "csv")
    assert len(history.epochs) == 2
    assert "holds 2 runs" in report.notes[0]
    assert [p.path.parent.name for p in find_logs(folder / "csv")] == ["version_0", "version_10"]


def test_several_validations_per_epoch_are_records_of_their_own(tmp_path):
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,train_loss_step,val_loss\n0,4,1.0,\n0,5,,0.9\n0,9,0.8,\n0,10,,0.7\n1,14,0.6,\n1,15,,0.5\n1,19,0.4,\n"
    )
    history, _ = read_run(tmp_path)
    assert [(r.epoch, r.step) for r in history.epochs] == [(0, 5), (0, 10), (1, -1)] or [
        (r.epoch, r.step) for r in history.epochs
    ] == [(0, 5), (0, 10), (1, 15)]
    assert [r.values["train/loss"] for r in history.epochs] == [1.0, 0.8, 0.5]


# ---------------------------------------------------------------- TensorBoard


def test_tensorboard_of_plain_torch_with_epochs_as_steps(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        for epoch in range(3):
            writer.add_scalar("Loss/train", 1.0 - epoch / 10, epoch)
            writer.add_scalar("Loss/test", 1.0, epoch)
            writer.add_scalar("Accuracy/test", 62.5, epoch)
            writer.add_text("note", "hello", epoch)
    history, report = read_run(tmp_path, n_val=8)
    assert series(history, "train/loss") == {0: 1.0, 1: pytest.approx(0.9), 2: pytest.approx(0.8)}
    assert history.last_stage("val").correct == Count(k=5, n=8)
    assert any("taken as validation" in note for note in report.notes)
    assert any("per cent" in note for note in report.notes)


def test_tensorboard_with_stages_in_folders_as_keras_writes_them(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    for stage, value in (("train", 0.5), ("validation", 0.75)):
        with SummaryWriter(tmp_path / stage) as writer:
            for epoch in range(2):
                writer.add_scalar("epoch_loss", value + epoch, epoch, new_style=True)
    history, _ = read_run(tmp_path)
    assert series(history, "train/loss") == {0: 0.5, 1: 1.5}
    assert series(history, "val/loss") == {0: 0.75, 1: 1.75}


def test_tensorboard_cut_anywhere_is_read_up_to_there(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        for epoch in range(3):
            writer.add_scalar("val/loss", float(epoch), epoch)
    file = next(tmp_path.glob("*tfevents*"))
    data = file.read_bytes()
    for cut in range(len(data)):
        file.write_bytes(data[:cut])
        try:
            history, _ = read_run(tmp_path)
        except RecordError:
            continue
        assert series(history, "val/loss") == {e: float(e) for e in range(len(history.epochs))}


# ---------------------------------------------------------------- Keras, own CSV


def keras_csv(path, rows):
    """Keras' CSVLogger: ``csv.DictWriter`` over sorted keys, epoch first."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", *sorted(rows[0])])
        writer.writeheader()
        writer.writerows({"epoch": i, **row} for i, row in enumerate(rows))


def test_keras_csv(tmp_path):
    rows = [{"accuracy": 0.5, "loss": 0.9, "val_accuracy": 0.7241379, "val_loss": 0.8, "learning_rate": 0.001}] * 2
    keras_csv(tmp_path / "training.log", rows)
    history, report = read_run(tmp_path / "training.log", n_val=29)
    assert set(history.signals()) == {"train/acc", "train/loss", "val/acc", "val/loss", "lr"}
    assert history.last_stage("val").correct == Count(k=21, n=29)
    assert report.left_out == {"epoch": "counts, does not measure"}


def test_keras_appended_after_a_resume(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss,val_loss\n0,1,1\n1,2,2\n2,3,3\n1,20,20\n2,30,30\n")
    history, report = read_run(tmp_path)
    assert series(history, "val/loss") == {0: 1.0, 1: 20.0, 2: 30.0}
    assert any("starts again" in note for note in report.notes)


def test_keras_history_as_json(tmp_path):
    (tmp_path / "history.json").write_text(
        json.dumps({"loss": [1.0, 0.5], "val_loss": [2.0, math.nan], "lr": [[0.1], [0.2]]})
    )
    history, report = read_run(tmp_path)
    assert series(history, "train/loss") == {1: 1.0, 2: 0.5}
    assert math.isnan(series(history, "val/loss")[2])
    assert series(history, "lr") == {1: 0.1, 2: 0.2}
    assert "1, 2, 3" in report.notes[0]


def test_own_csv_with_semicolons_commas_and_per_cent(tmp_path):
    path = tmp_path / "my log.csv"
    path.write_text("\ufeffEpoche;Train Loss;Val Acc\n1;0,5;72,41\n2;0,4;65,52\n", encoding="utf-8")
    history, report = read_run(path, n_val=29)
    assert series(history, "train/loss") == {1: 0.5, 2: 0.4}
    assert [s.correct.k for _, s in history.stage("val")] == [21, 19]
    assert "Epoche" in report.shown


def test_mapping_where_names_do_not_say_it(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,train_loss,top1,score\n1,0.5,72.41,1\n2,0.4,62.07,2\n")
    assert "val/acc" not in read_run(path)[0].signals()
    assert any("--map val_acc=top1" in note for note in read_run(path)[1].notes)
    history, report = read_run(path, {"val_acc": "top1"}, 29, 4)
    assert [s.correct.k for _, s in history.stage("val")] == [21, 18]
    assert report.understood["top1"] == "val/acc"
    assert report.shown == ("score",)
    with pytest.raises(ConfigError, match="no column 'top2'; it has for example top1"):
        read_run(path, {"val_acc": "top2"})
    with pytest.raises(ConfigError, match="not the name of a signal"):
        read_run(path, {"accu": "top1"})


@pytest.mark.parametrize(
    ("header", "monitored"),
    [
        ("epoch,train_loss,val_wer", ("val_wer", "min")),
        ("epoch,train_loss,val_f1", ("val_f1", "max")),
        ("epoch,train_loss,eval/auc", ("eval/auc", "max")),
        ("epoch,train_loss,val_macro_f1", ("val/macro_f1", "max")),
        ("epoch,val_loss,val_f1", ("val/loss", "min")),
        ("epoch,train_loss,train_f1", None),
        ("epoch,train_loss,val_mood", None),
    ],
)
def test_best_is_judged_by_what_the_log_has(tmp_path, header, monitored):
    path = tmp_path / "log.csv"
    path.write_text(f"{header}\n1,0.5,0.6\n2,0.4,0.7\n")
    assert read_run(path)[0].monitored() == monitored


def test_accuracies_that_are_no_counts_stay_without_interval(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,val_acc\n1,0.7241\n2,0.5555\n")
    history, report = read_run(path, n_val=29)
    assert [s.correct.k for _, s in history.stage("val")] == [21]
    assert any("1 of 2 values of val/acc are no k of 29" in note for note in report.notes)
    history, report = read_run(path, n_val=100_000)
    assert history.stage("val") == ()
    assert any("too few digits to say which k of 100000" in note for note in report.notes)


def test_values_that_are_not_numbers_are_named(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,model,val_loss,note,empty\n1,resnet,tensor(0.5),a,\n2,resnet,nan,b,\n")
    history, report = read_run(path)
    assert series(history, "val/loss")[1] == 0.5
    assert math.isnan(series(history, "val/loss")[2])
    assert report.left_out["model"] == "text"
    assert report.left_out["empty"] == "empty"


def test_text_between_numbers_is_said(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss,val_acc\n0,1.0,0.5\n1,oops,0.6\n2,,n/a\n3,0.4,n/a\n")
    history, report = read_run(path)
    assert series(history, "train/loss") == {0: 1.0, 3: 0.4}
    said = "\n".join(report.lines())
    assert "column 'loss': 1 cell holds no number and is left out, the first 'oops'" in said
    assert "column 'val_acc': 2 cells hold no number and are left out, the first 'n/a'" in said


@pytest.mark.parametrize("text", ["", "\n\n", "hello", "1,2,3\n4,5,6\n", "a,b\nx,y\n", "\0" * 100])
def test_no_table_is_a_clear_error(tmp_path, text):
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(RecordError, match=r"log\.csv: (its first line|there is no row)"):
        read_run(path)


# ---------------------------------------------------------------- YOLO


def test_yolo_detection(tmp_path):
    (tmp_path / "results.csv").write_text(
        "                  epoch,         train/box_loss,         train/cls_loss,  metrics/precision(B),  metrics/mAP50-95(B),"
        "           val/box_loss,           val/cls_loss,                 lr/pg0,                 lr/pg1\n"
        "                      1,                 1.5,                 0.5,  0.6, 0.3,   1.0,  1.25,  0.01,  0.02\n"
        "                      2,                 1.0,                 0.5,  0.7, 0.4,   1.0,  1.00,  0.005,  0.01\n"
    )
    (tmp_path / "args.yaml").write_text("epochs: 100\nlr0: 0.01\nmodel: yolov8n.pt\n")
    history, report = read_run(tmp_path)
    assert series(history, "train/loss") == {1: 2.0, 2: 1.5}
    assert series(history, "val/loss") == {1: 2.25, 2: 2.0}
    assert history.monitored() == ("metrics/mAP50-95(B)", "max")
    assert history.epochs[1].lrs == (0.005, 0.01)
    assert history.context.optim.planned_epochs == 100
    assert "sum of" in report.notes[0]


def test_yolo_classification(tmp_path):
    (tmp_path / "results.csv").write_text(
        "epoch,time,train/loss,metrics/accuracy_top1,metrics/accuracy_top5,val/loss,lr/pg0\n1,3.1,2.3,0.125,0.5,2.2,0.01\n"
    )
    history, report = read_run(tmp_path, n_val=8)
    assert history.last_stage("val").correct == Count(k=1, n=8)
    assert report.left_out["time"] == "counts, does not measure"


# ---------------------------------------------------------------- Hugging Face


def test_hugging_face_trainer_state(tmp_path):
    pytest.importorskip("transformers", reason="in the extra `benchmarks`")
    from transformers import TrainerState

    state = TrainerState(num_train_epochs=2, train_batch_size=8, best_model_checkpoint="out/checkpoint-10")
    state.log_history = [
        {"loss": 2.0, "grad_norm": 1.5, "learning_rate": 1e-4, "epoch": 0.5, "step": 5},
        {"loss": 1.0, "grad_norm": 1.0, "learning_rate": 9e-5, "epoch": 1.0, "step": 10},
        {"eval_loss": 0.9, "eval_accuracy": 0.75, "eval_runtime": 0.1, "epoch": 1.0, "step": 10},
        {"loss": 0.5, "grad_norm": 0.5, "learning_rate": 5e-5, "epoch": 2.0, "step": 20},
        {"eval_loss": 0.8, "eval_accuracy": 0.5, "eval_runtime": 0.1, "epoch": 2.0, "step": 20},
        {"train_runtime": 3.0, "train_loss": 1.1, "epoch": 2.0, "step": 20},
    ]
    state.save_to_json(str(tmp_path / "trainer_state.json"))
    history, report = read_run(tmp_path, n_val=4)
    assert series(history, "train/loss") == {1: 1.5, 2: 0.5}
    assert series(history, "val/loss") == {1: 0.9, 2: 0.8}
    assert [s.correct.k for _, s in history.stage("val")] == [3, 2]
    assert series(history, "grad/norm") == {1: 1.0, 2: 0.5}
    assert report.kind == "Hugging Face trainer state"


def test_hugging_face_evaluations_within_an_epoch(tmp_path):
    rows = [{"eval_loss": 1.0 - i / 10, "epoch": i / 4, "step": i * 5} for i in range(1, 9)]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": rows}))
    history, _ = read_run(tmp_path)
    assert [(r.epoch, r.step) for r in history.epochs] == [(1 + i // 4, 5 * (i + 1)) for i in range(8)]


# ---------------------------------------------------------------- MLflow


def mlflow_folder(root):
    """The file store's documented layout, as MLflow 3.17 wrote it for ``log_metric`` and ``log_params``."""
    run = root / "mlruns" / "0" / "ab62b8e6ddb04608a9dac6eb7248a98d"
    for folder in ("metrics/val", "params", "tags", "artifacts"):
        (run / folder).mkdir(parents=True)
    (root / "mlruns" / "0" / "meta.yaml").write_text("experiment_id: '0'\nname: Default\n")
    (run / "meta.yaml").write_text("run_id: ab62b8e6ddb04608a9dac6eb7248a98d\nstatus: 3\n")
    (run / "metrics" / "train_loss").write_text("1795347593085 0.5 0\n1795347593088 0.25 2\n1795347593087 0.375 1\n")
    (run / "metrics" / "val" / "loss").write_text("1795347593076 1.0 0\n1795347593086 nan 1\n1795347593087 0.8 2\n")
    (run / "params" / "lr").write_text("0.1")
    return run


def test_mlflow_file_store(tmp_path):
    run = mlflow_folder(tmp_path)
    for place in (run, tmp_path / "mlruns", tmp_path):
        history, report = read_run(place)
        assert series(history, "train/loss") == {0: 0.5, 1: 0.375, 2: 0.25}
        assert math.isnan(series(history, "val/loss")[1])
        assert history.context.optim.lr == 0.1
        assert report.kind == "MLflow run"
    (run / "metrics" / "bad").write_text("1 2\n")
    with pytest.raises(RecordError, match="bad: expected 'timestamp value step'"):
        read_run(run)


def test_mlflow_database(tmp_path):
    """The tables that MLflow 3.17 makes, with the columns that are read."""
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as store:
        store.executescript(
            "CREATE TABLE runs (run_uuid VARCHAR(32), start_time BIGINT, lifecycle_stage VARCHAR(20));"
            "CREATE TABLE metrics (key VARCHAR(250), value FLOAT, timestamp BIGINT, run_uuid VARCHAR(32), step BIGINT, is_nan BOOLEAN);"
            "CREATE TABLE params (key VARCHAR(250), value VARCHAR(8000), run_uuid VARCHAR(32));"
            "INSERT INTO runs VALUES ('old', 1, 'active'), ('new', 2, 'active'), ('gone', 3, 'deleted');"
            "INSERT INTO metrics VALUES ('val/loss', 1.0, 5, 'old', 0, 0), ('val/loss', 0, 6, 'new', 0, 1),"
            " ('val/loss', 1.7976931348623157e308, 7, 'new', 1, 0);"
            "INSERT INTO params VALUES ('lr', '0.3', 'new');"
        )
    store.close()
    history, report = read_run(tmp_path)
    assert [math.isnan(series(history, "val/loss")[0]), series(history, "val/loss")[1]] == [True, math.inf]
    assert history.context.optim.lr == 0.3
    assert "holds 2 runs" in report.notes[0]
    assert [p.run for p in find_logs(path)] == ["old", "new"]
    path.write_bytes(b"SQLite format 3\0" + b"x" * 500)
    with pytest.raises(RecordError, match="no MLflow store"):
        read_run(path)


def test_mlflow_itself(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path}/mlruns")
    with mlflow.start_run():
        mlflow.log_params({"lr": 0.1})
        for epoch in range(3):
            mlflow.log_metrics({"val/loss": 1.0 - epoch / 4, "train_loss": 0.5}, step=epoch)
    history, _ = read_run(tmp_path)
    assert series(history, "val/loss") == {0: 1.0, 1: 0.75, 2: 0.5}


# ---------------------------------------------------------------- W&B


@pytest.fixture
def wandb_run(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = wandb.init(mode="offline", dir=str(tmp_path), project="p", config={"lr": 0.1, "net": {"width": 8}})
        for epoch in range(3):
            run.log({"epoch": epoch, "train/loss": 1.0, "val_loss": 1.0 - epoch / 4, "picture": "text"})
        run.finish()
    size = -1  # W&B's service process may write its file after finish has returned
    while size != (size := sum(p.stat().st_size for p in tmp_path.rglob("*.wandb"))) or size < 1000:
        time.sleep(1)
    return tmp_path


@pytest.mark.slow
def test_wandb_offline(wandb_run):
    history, report = read_run(wandb_run)
    assert series(history, "val/loss") == {0: 1.0, 1: 0.75, 2: 0.5}
    assert history.context.hparams["net.width"] == "8"
    assert report.kind == "W&B offline run"
    file = next(wandb_run.rglob("*.wandb"))
    data = file.read_bytes()
    for cut in range(0, len(data), 97):
        file.write_bytes(data[:cut])
        try:
            assert len(read_run(file)[0].epochs) <= 3
        except RecordError as error:
            assert str(file) in str(error)  # noqa: PT017  (either outcome is fine, but it must name the file)


# ---------------------------------------------------------------- nothing there


def test_nothing_to_read_is_a_clear_error(tmp_path):
    with pytest.raises(RecordError, match="does not exist"):
        read_run(tmp_path / "none")
    with pytest.raises(RecordError, match="holds no log"):
        read_run(tmp_path)
    for name, message in (("notes.pdf", "expected one of"), ("model.ckpt", "looks like weights")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(RecordError, match=message):
            read_run(tmp_path / name)
