"""What a rule needs, and the sentence for a user when it is not there."""

from __future__ import annotations

from collections.abc import Mapping

from lightning_diag.history import RunHistory
from lightning_diag.rules.base import NOT_IN_LOGS, Rule

_SIGNAL_REASONS: Mapping[str, str] = {
    "val/loss": "no validation loss was recorded (add a validation loader, or log val_loss)",
    "train/loss": "no training loss was recorded (return the loss from training_step, or log train_loss)",
    "val/": "no predictions of the validation set were captured (Configuration says why, under “predictions read from”)",
    "train/": "no predictions of the training set were captured (Configuration says why, under “predictions read from”)",
    "probe/": "the training set was not evaluated in eval mode (leave probe_batches above 0)",
    "grad/clip_ratio": "no clipping of gradients by norm is configured, or gradients were not sampled",
    "grad/": "gradients were not sampled (attach a callback of this library during training; logs alone have none)",
    "update/": "weight updates were not measured (needs a live run; logs alone have none)",
    "param/": "the weights were not measured (needs a live run; logs alone have none)",
    "relu/": "ReLU units were not observed (needs a live run)",
    "loss/": "the loss of single steps was not recorded (needs a live run; epoch logs have none)",
    "batch/": "the labels of training batches were not captured",
    "lr": "the course of the learning rate was not recorded (log it, or run with a callback of this library)",
    "ctc/": "no CTC loss was seen",
    "pretrain/": "no checkpoint was named (add PretrainLoadVerifier(checkpoint=...))",
    "time/": "epochs were not timed",
}
_FACT_REASONS: Mapping[str, str] = {
    "pretrain": "no checkpoint was named (add PretrainLoadVerifier(checkpoint=...))",
    "ctc": "no CTC loss was seen",
    "data.overlap": "samples were not fingerprinted (leave probe_batches above 0)",
    "data.train.size": "the size of the training set is not known",
    "data.train.class_counts": "training samples were not counted by class (no class labels were captured)",
    "data.train.label_purity": "the labels of training batches were not captured",
    "data.train.input": "the inputs were not looked at (leave probe_batches above 0; logs alone have no inputs)",
    "model.norm": "no pretrained normalisation layer with running statistics was found",
    "model.loss_weight": "the loss was called without class weights, or no loss call was seen",
    "model.class_axis_ok": "the loss normalises by itself, or no loss call was seen",
    "model.outputs_are_probabilities": "no cross-entropy call was seen",
    "optim.gradients_kept": "gradients were not sampled (needs a live run; logs alone have none)",
    "stop": "how the run ended is not known",
    "data.shift": "inputs of the two splits were not compared (leave probe_batches above 0)",
    "data": "the data were not looked at (leave probe_batches above 0; logs alone have no inputs)",
    "model": "the module was not observed (needs a live run; logs alone have no module)",
    "optim": "the optimiser was not observed (needs a live run; logs alone have no optimiser)",
    "target": "no target was given (GapMonitor(target=...))",
    "baseline": "the run was not resumed, and no baseline=(correct, samples) was given",
    "resumed_epoch": "the run was not resumed from a checkpoint",
    "classes": "the number of classes is not known",
}


SEVERAL = {
    "multilabel": "a sample has several labels, so that samples are not counted by class",
    "dense": "a sample has a label at each position, so that samples are not counted by class",
}
"""Why training samples and batches have no class of their own."""
FROM_LOGS = ("lr", "train/loss", "val/loss", "train/acc", "val/acc", "target", "baseline", "classes", "data.train.size")
"""Needs that the log of another tool can meet."""
UNCOUNTED = {
    "stage:val": "the accuracies of the log are no counts: they need the size of the validation set (--n-val) and digits enough to tell them",
    "stage:train": "the accuracies of the log are no counts: they need the size of the training set (--n-train) and digits enough to tell them",
}


def missing(rule: Rule, history: RunHistory) -> str | None:
    """Why ``rule`` cannot look at ``history``; None when everything it needs is there."""
    if not history.epochs and rule.needs and not all(need.startswith("pretrain.") for need in rule.needs):
        return "no epoch was finished"  # (pretrained weights are judged before the first update, and may end the run there)
    for need in rule.needs:
        if not any(_present(option, history) for option in need.split("|")):
            return _reason_in_log(need, history) if history.foreign else _reason(need.split("|")[0], history)
    return _too_short(rule, history)


def _uncounted(need: str, history: RunHistory) -> str:
    """Why an accuracy of a log was not counted: it is not in the log, or it is no count."""
    stage = need.removeprefix("stage:")
    if len(history.series(f"{stage}/acc")):
        return UNCOUNTED[need]
    return f"the log holds no {'training' if stage == 'train' else 'validation'} accuracy"


def _reason_in_log(need: str, history: RunHistory) -> str:
    """Why a need is not met by a log: it lacks a column, a size that the user can give, or what no log has."""
    options = need.split("|")
    counted = next((_uncounted(option, history) for option in options if option in UNCOUNTED), None)
    plain = next((option for option in options if option in FROM_LOGS), None)
    return counted or (_reason(plain) if plain else NOT_IN_LOGS)


def _present(need: str, history: RunHistory) -> bool:
    if need.startswith("stage:"):
        return bool(history.stage(need[6:]))
    if need.startswith("classes:"):
        return any(record.classes for _, record in history.stage(need[8:]))
    if "/" in need or need == "lr":
        return bool(len(history.series(need)))
    return fact(history, need) is not None


def fact(history: RunHistory, path: str) -> object | None:
    """The fact at a dotted path of the context; None when it, or anything on the way, is absent or empty."""
    value: object = history.context
    for name in path.split("."):
        value = getattr(value, name)
        if value is None or value in ((), ""):
            return None
    return value


def _reason(need: str, history: RunHistory | None = None) -> str:
    if history is not None and (seen := _seen(need, history)):
        return seen
    if need.startswith(("stage:", "classes:")):
        return _SIGNAL_REASONS["val/" if need.endswith("val") else "train/"]
    reasons = _SIGNAL_REASONS if "/" in need or need == "lr" else _FACT_REASONS
    found = max((key for key in reasons if need.startswith(key)), key=len, default=None)
    return reasons[found] if found else f"{need} was not recorded"


def _seen(need: str, history: RunHistory) -> str:
    """The reason where the record itself tells which of several it is; empty where it does not."""
    data = history.context.data
    if need == "data.overlap" and data.train.hashed and data.val.hashed:
        train, val = data.train.features, data.val.features
        sizes = f" ({train:,} and {val:,} values)" if train and val else ""
        return f"samples of the two splits differ in size{sizes}, as padded ones do: their fingerprints do not compare"
    if need == "grad/clip_ratio" and len(history.series("grad/norm")):
        return "no clipping of gradients by norm is configured"
    if need.startswith("relu/") and history.context.model.relu_missing:
        return history.context.model.relu_missing
    called = any((facts.source or "").startswith("loss call") for facts in history.context.capture)
    if called and need in ("model.loss_weight", "model.class_axis_ok") and not _of_kind(need, history):
        return _FACT_REASONS[need].removesuffix(", or no loss call was seen")
    return _of_kind(need, history)


def _of_kind(need: str, history: RunHistory) -> str:
    """The reason where it lies in the kind of task or of inputs; empty where it does not."""
    data = history.context.data
    if need in ("data.train.class_counts", "data.train.label_purity") and history.context.task in SEVERAL:
        return SEVERAL[history.context.task]
    if (
        need.startswith(("data.train.input", "data.train.feature", "data.train.nonfinite"))
        and data.train.repeated is not None
    ):
        return "the inputs are indices, as of tokens, which have no mean and no spread"
    if need == "model.loss_weight" and history.context.task in ("binary", "multilabel"):
        return "a binary cross-entropy has no weights per class (a pos_weight, where one was given, is not judged)"
    return ""


def _too_short(rule: Rule, history: RunHistory) -> str | None:
    if not rule.needs or rule.min_epochs <= 1:
        return None
    options = rule.needs[0].split("|")
    have = max(_length(option, history) for option in options)
    if have >= rule.min_epochs:
        return None
    times = "once" if have == 1 else f"{have} times"
    return f"measured {times}, at least {rule.min_epochs} evaluations are needed"


def _length(need: str, history: RunHistory) -> int:
    if need.startswith(("stage:", "classes:")):
        return len(history.stage(need.split(":")[1]))
    if "/" in need or need == "lr":
        return len(history.series(need))
    return len(history.epochs)
