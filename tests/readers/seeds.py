"""One small valid log of each format, and ways to damage it."""

import json
import random
import sqlite3
import struct

from lightning_diag.findings import Clear, Diagnosis, Evidence, Finding
from lightning_diag.history import ClassRow, Confusion, Count, EpochRecord, RunContext, RunHistory, StageRecord
from lightning_diag.store import history_to_lines


def history():
    rows = tuple(ClassRow(index=i, support=5, predicted=4, correct=3) for i in range(4))
    stage = StageRecord(
        n=20,
        correct=Count(k=12, n=20),
        classes=rows,
        confusions=(Confusion(target=0, predicted=1, count=2),),
        matrix=((3, 2), (1, 4)),
    )
    epochs = tuple(
        EpochRecord(
            epoch=i, step=i * 7, values={"val/loss": 1 / (i + 1), "val/acc": 0.6}, stages={"val": stage}, lrs=(0.1,)
        )
        for i in range(4)
    )
    return RunHistory(context=RunContext(task="multiclass", classes=4, class_names=("a", "b", "c", "d")), epochs=epochs)


def diagnosis():
    finding = Finding(
        code="LD201",
        name="overfitting",
        severity="error",
        confidence=0.9,
        claim="likely",
        title="t",
        summary="s",
        evidence=(Evidence(signal="val/loss", text="e", epoch=3, observed=1.0, expected=0.5, p_value=0.01),),
    )
    return Diagnosis(verdict="v", findings=(finding,), clear=(Clear(code="LD101", name="non-finite-loss"),))


def events():
    """Three scalars as TensorBoard frames them (checksums are not read)."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    data = b""
    for step in range(3):
        value = Summary.Value(tag="val/loss", simple_value=1.0 / (step + 1))
        message = Event(step=step, wall_time=1.0, summary=Summary(value=[value])).SerializeToString()
        data += struct.pack("<QI", len(message), 0) + message + b"\0\0\0\0"
    return data


def mlflow_db(path):
    with sqlite3.connect(path) as store:
        store.executescript(
            "CREATE TABLE runs (run_uuid, start_time, lifecycle_stage);"
            "CREATE TABLE metrics (key, value, timestamp, run_uuid, step, is_nan);"
            "CREATE TABLE params (key, value, run_uuid);"
            "INSERT INTO runs VALUES ('new', 2, 'active');"
            "INSERT INTO metrics VALUES ('val/loss', 1.0, 5, 'new', 0, 0), ('val/loss', 0.5, 6, 'new', 1, 0);"
            "INSERT INTO params VALUES ('lr', '0.3', 'new');"
        )
    store.close()
    return path.read_bytes()


CSV = b"epoch,step,lr-SGD,train_loss_step,train_loss_epoch,val_loss,val_acc\n" + b"".join(
    b"%d,%d,,%.3f,,,\n%d,%d,0.1,,%.3f,%.3f,%.4f\n"
    % (e, 2 * e, 1 / (e + 1), e, 2 * e + 1, 1 / (e + 1), 1 / (e + 1), e / 29)
    for e in range(5)
)
HPARAMS = b"lr: 0.1\nmodel:\n  layers: [1, 2, &a 3]\n  name: *a\nwidth: 1e3\n"
STATE = json.dumps(
    {
        "num_train_epochs": 3,
        "log_history": [
            {"loss": 2.0, "epoch": 0.5, "step": 5, "learning_rate": 1e-4},
            {"eval_loss": 0.9, "eval_accuracy": 0.75, "epoch": 1.0, "step": 10},
            {"eval_loss": 0.8, "eval_accuracy": 0.5, "epoch": 2.0, "step": 20},
        ],
    }
).encode()
KERAS = json.dumps(
    {"loss": [1.0, 0.5], "val_loss": [2.0, 1.5], "val_accuracy": [0.5, 0.75], "lr": [[0.1], [0.2]]}
).encode()
LINES = b'{"epoch": 1, "val_loss": 0.5}\n{"epoch": 2, "val_loss": 0.25, "train": {"x": 1}}\n'
METRIC = b"1795347593085 0.5 0\n1795347593087 0.375 1\n1795347593088 nan 2\n"


def seed_files(folder):
    """Format -> (file name in a run folder, content)."""
    return {
        "own": ("history.jsonl", "\n".join(history_to_lines(history())).encode() + b"\n"),
        "lightning": ("metrics.csv", CSV),
        "hparams": ("hparams.yaml", HPARAMS),
        "csv": ("log.csv", CSV.replace(b",", b";")),
        "yolo": (
            "results.csv",
            b"epoch,time,train/box_loss,val/box_loss,metrics/mAP50-95(B),lr/pg0\n1,2,3,4,0.5,0.1\n",
        ),
        "state": ("trainer_state.json", STATE),
        "keras": ("history.json", KERAS),
        "lines": ("log.jsonl", LINES),
        "tensorboard": ("events.out.tfevents.1.host", events()),
        "mlflow": ("metrics/val_loss", METRIC),
        "mlflow-db": ("mlflow.db", mlflow_db(folder / "seed.db")),
    }


_NASTY = (
    b"nan", b"-inf", b"1e999", b"9" * 30, b"-1", b"0", b"\0", b'"', b"\n", b"{", b"[" * 50, b"|", b"../../x", b"\xff\xfe",
    b"<script>", "\u202e".encode(), b"`", b"epoch", b"val_loss", b",,,,", b"null", b"1" * 5000, b"&a [*a,*a,*a]", b"\x7f" * 9,
)  # fmt: skip


def mutated(data, generator: random.Random):
    """``data`` with one to four damages."""
    out = bytearray(data)
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(out) + 1)
        kind = generator.randrange(6)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << generator.randrange(8)
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            del out[at : at + generator.randint(1, 40)]
        elif kind == 3:
            out[at:at] = generator.choice(_NASTY)
        elif kind == 4:
            out[at:at] = out[at : at + generator.randint(1, 200)] * generator.randint(1, 5)
        else:
            out[at : at + 8] = generator.randbytes(8)
    return bytes(out)
