"""What the column names of other tools mean.

A name is split into words (``valLoss``, ``Loss/val`` and ``val_loss_epoch`` are the same words); one word says the stage,
the others the quantity. Names are read literally: what is not listed here is shown as it is and read by no rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lightning_diag.history import SIGNALS

_STAGES = {
    "train": ("train", "training", "tr", "trn"),
    "val": ("val", "valid", "validation", "eval", "evaluation", "dev"),
    "test": ("test", "testing"),
}
_STAGE_OF = {word: stage for stage, words in _STAGES.items() for word in words}
_NOISE = frozenset(
    [
        "epoch",
        "epochs",
        "step",
        "avg",
        "average",
        "mean",
        "running",
        "total",
        "metrics",
        "metric",
        "log",
        "logs",
        "scalars",
        "history",
        "the",
    ]
)
_QUANTITIES = {
    "loss": "loss losses cost criterion nll nll_loss ce ce_loss cross_entropy cross_entropy_loss crossentropy bce_loss",
    "acc": (
        "acc accuracy top1 acc1 acc_1 top_1 accuracy_top1 accuracy_top_1 acc_top1 acc_top_1 top1_acc top1_accuracy "
        "top_1_acc top_1_accuracy prec1 prec_1 accuracy_score categorical_accuracy sparse_categorical_accuracy "
        "binary_accuracy multiclass_accuracy"
    ),
    "balanced_acc": "balanced_acc balanced_accuracy bal_acc bacc uar macro_recall recall_macro class_accuracy",
    "macro_f1": "macro_f1 f1_macro macro_f1_score f1_score_macro f1score_macro",
    "ece": "ece expected_calibration_error",
}
_QUANTITY_OF = {
    word: (quantity, rank) for quantity, words in _QUANTITIES.items() for rank, word in enumerate(words.split())
}
_RUN_WIDE = {
    "lr": "lr",
    "learning_rate": "lr",
    "grad_norm": "grad/norm",
    "gradient_norm": "grad/norm",
    "grad_2_norm": "grad/norm",
    "grad_2_0_norm": "grad/norm",
    "epoch_time": "time/epoch",
    "time_epoch": "time/epoch",
    "epoch_seconds": "time/epoch",
}
_MONITORS = {
    "max": "map50_95 map map50 miou mean_iou iou dice f1 f1_score macro_f1 auc auroc roc_auc bleu rouge_l psnr ssim r2 spearman",
    "min": "ter wer cer perplexity ppl rmse mse mae error error_rate eer",
}
_MODE_OF = {word: mode for mode, words in _MONITORS.items() for word in words.split()}
_EPOCH = frozenset(
    ["epoch", "epochs", "ep", "epoch_num", "epoch_number", "epoch_idx", "epoch_index", "current_epoch", "trainer_epoch"]
)
_STEP = frozenset(
    [
        "step",
        "steps",
        "global_step",
        "iteration",
        "iter",
        "iterations",
        "trainer_global_step",
        "trainer_step",
        "batch_idx",
    ]
)
_CLOCK = frozenset(
    ["time", "timestamp", "wall_time", "walltime", "datetime", "date", "elapsed", "runtime", "relative_time"]
)
_PUBLISHED = {"diag/" + signal.replace("/", "_"): signal for signal in SIGNALS if "{" not in signal}
"""As the monitors name their own signals for loggers: ``diag/val_balanced_acc``."""
_AXES = {"epoch": _EPOCH, "step": _STEP, "clock": _CLOCK}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_LOADER = re.compile(r"[/_]?dataloader_idx_(\d+)$")


@dataclass(frozen=True)
class Meaning:
    """What a column holds.

    Attributes:
        stage: ``train``, ``val``, ``test``, ``val:1`` ... or None where the name does not say.
        quantity: the part of the signal name after the stage; for run-wide signals the whole name.
        rank: position in the list of usual names; the lowest wins where two columns mean the same.
        known: whether rules read it. per_step: whether the name says that it is one training step.
        run_wide: a signal without stage (``lr``).
    """

    stage: str | None
    quantity: str
    rank: int = 0
    known: bool = True
    per_step: bool = False
    run_wide: bool = False


def words(name: str) -> list[str]:
    """The words of a column name, in lower case; digits stay with the word before them (``top1``)."""
    found: list[str] = []
    end = -1
    for match in _WORD.finditer(name[:200]):
        word = match.group().lower()
        if word.isdigit() and found and match.start() == end:
            found[-1] += word
        else:
            found.append(word)
        end = match.end()
    return found


def mode_of(name: str) -> str | None:
    """``max`` or ``min`` where ``name`` is a usual measure of validation by which runs are judged; else None."""
    meaning = meaning_of(name)
    return _MODE_OF.get(meaning.quantity) if (meaning.stage or "").startswith("val") else None


def axis_of(name: str) -> str | None:
    """``epoch``, ``step`` or ``clock`` when the column counts instead of measuring."""
    key = "_".join(words(name))
    return next((axis for axis, names in _AXES.items() if key in names), None)


def meaning_of(name: str) -> Meaning:
    """What the column ``name`` holds, read from its name alone."""
    bare = _PUBLISHED.get(name) or name.removeprefix("diag/")
    if bare in SIGNALS or bare.startswith("ctc/"):
        first, _, quantity = bare.partition("/")
        staged = first in _STAGES and quantity
        return Meaning(first, quantity, -1) if staged else Meaning(None, bare, -1, run_wide=True)
    loader = _LOADER.search(name)
    parts = words(name[: loader.start()] if loader else name)
    stage = next((_STAGE_OF[w] for w in parts if w in _STAGE_OF), None)
    if stage == "val" and loader and int(loader.group(1)[:6]):
        stage = f"val:{int(loader.group(1)[:6])}"
    content = [w for w in parts if w not in _STAGE_OF and (w not in _NOISE)] or parts
    return _meaning(stage, content, "_".join(parts), per_step=parts[-1:] == ["step"])


def _meaning(stage: str | None, content: list[str], whole: str, *, per_step: bool) -> Meaning:
    key = "_".join(content)
    if whole in _RUN_WIDE or (stage is None and key in _RUN_WIDE):
        return Meaning(None, _RUN_WIDE.get(whole) or _RUN_WIDE[key], run_wide=True)
    if content[:1] == ["lr"] or content[:2] == ["learning", "rate"]:  # lr-AdamW/pg1, lr/pg0
        return Meaning(None, "lr", 1, run_wide=True)
    if key in _QUANTITY_OF:
        quantity, rank = _QUANTITY_OF[key]
        return Meaning(stage, quantity, rank, per_step=per_step)
    return Meaning(stage, key, known=False, per_step=per_step)
