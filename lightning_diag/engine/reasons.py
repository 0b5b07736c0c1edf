"""The sentence for a user when something that a rule needs was not measured; it must be true of that run."""

from __future__ import annotations

from collections.abc import Mapping

from lightning_diag.engine.failures import failed
from lightning_diag.engine.tasks import REASONS
from lightning_diag.history import CaptureFacts, RunHistory

NO_CHECKPOINT = "no checkpoint was named (add PretrainLoadVerifier(checkpoint=...))"
NO_CTC = "no call of a CTC loss was read (a run that makes none misses nothing)"
UNREAD = "no predictions of the {} set were captured"
_SIGNALS: Mapping[str, str] = {
    "val/loss": "no validation loss was recorded (add a validation loader, or log val_loss)",
    "train/loss": "no training loss was recorded (return the loss from training_step, or log train_loss)",
    "val/": UNREAD.format("validation"),
    "train/": UNREAD.format("training"),
    "stage:val": UNREAD.format("validation"),
    "stage:": UNREAD.format("training"),
    "classes:val": UNREAD.format("validation"),
    "classes:": UNREAD.format("training"),
    "probe/": "the training set was not evaluated in eval mode (leave probe_batches above 0)",
    "grad/clip_ratio": "no clipping of gradients by norm is configured, or gradients were not sampled",
    "grad/": "gradients were not sampled (attach a callback of this library during training; logs alone have none)",
    "update/": "weight updates were not measured (needs a live run; logs alone have none)",
    "param/": "the weights were not measured (needs a live run; logs alone have none)",
    "relu/": "ReLU units were not observed (needs a live run)",
    "loss/": "the loss of single steps was not recorded (needs a live run; epoch logs have none)",
    "batch/": "the labels of training batches were not captured",
    "lr": "the course of the learning rate was not recorded (log it, or run with a callback of this library)",
    "ctc": NO_CTC,
    "pretrain/": NO_CHECKPOINT,
    "time/": "epochs were not timed",
}
_FACTS: Mapping[str, str] = {
    "pretrain": NO_CHECKPOINT,
    "ctc": NO_CTC,
    "data.overlap": "samples were not fingerprinted (leave probe_batches above 0)",
    "data.train.size": "the size of the training set is not known",
    "data.train.class_counts": "training samples were not counted by class (no class labels were captured)",
    "data.train.label_purity": "the labels of training batches were not captured",
    "data.train.input": "the inputs were not looked at (leave probe_batches above 0; logs alone have no inputs)",
    "model.norm": "no pretrained normalisation layer with running statistics was found",
    "model.loss_weight": "the loss was called without class weights, or no loss call was seen",
    "model.class_axis_ok": "the loss normalises by itself, or no loss call was seen",
    "model.outputs_are_probabilities": "no call of a loss that normalises its input itself was seen",
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
    "ctc": "a line has several tokens, so that lines are not counted by class",
}
"""Why training samples and batches have no class of their own."""
OF_TRAINING = ("data.train.class_counts", "data.train.label_purity", "model.loss_weight", "model.class_axis_ok", "model.outputs_are_probabilities")  # fmt: skip
"""Facts that are read off what the training step gave to its loss."""


def reason(need: str, history: RunHistory) -> str:
    """Why ``need`` is not there in a run that was watched."""
    said = failed(need, history) or _of_capture(need, history) or _of_validation(need, history) or _seen(need, history)
    return said or usual(need)


def usual(need: str) -> str:
    """The reason where nothing is known but what is missing."""
    reasons = _SIGNALS if "/" in need or ":" in need or need == "lr" else _FACTS
    found = max((key for key in reasons if need.startswith(key)), key=len, default=None)
    return reasons[found] if found else f"{need} was not recorded"


def _of_capture(need: str, history: RunHistory) -> str:
    """The reason where it lies in the kind of task, or in what was read of the steps; empty where it does not."""
    task, stage = history.context.task, _stage(need)
    if not stage or (task != "ctc" and need.startswith("ctc")):
        return ""
    facts = next((f for f in history.context.capture if f.stage == stage), None)
    if of_task := _of_task(need, task):
        return of_task
    if facts is not None and not facts.source:
        why = " (Configuration says why, under “predictions read from”)" if facts.problem else ""
        return UNREAD.format("validation" if stage == "val" else "training") + why
    return _of_loss(need, history, facts) or (NOT_MEASURED if need.startswith("ctc") else "")


def _of_task(need: str, task: str | None) -> str:
    if need in OF_TRAINING[:2] and task in SEVERAL:
        return SEVERAL[task]
    if task in ("regression", "other", "soft", "mixup") and not need.startswith("model.outputs"):
        return REASONS[task]
    return "a CTC loss has no weights per class" if need == "model.loss_weight" and task == "ctc" else ""


NOT_MEASURED = "what was read of the CTC loss and its outputs does not hold it"


def _of_loss(need: str, history: RunHistory, facts: CaptureFacts | None) -> str:
    """What the loss call of training says; empty for other needs, and where it is not known how the step was read."""
    loss, called = history.context.model.loss_name or "", facts is not None and "loss call" in (facts.source or "")
    binary = called and loss.startswith(("binary_cross_entropy", "bce"))
    if facts is None or need not in OF_TRAINING[2:4]:
        return ""
    if not called:
        return "no loss call was read: predictions and targets were found without one"
    if need == "model.loss_weight":
        per_element = (
            "a binary cross-entropy has no weights per class (a pos_weight, where one was given, is not judged)"
        )
        return per_element if binary else "the loss was called without class weights"
    return "a binary cross-entropy normalises nothing over the classes" if binary else "the loss normalises by itself"


def _of_validation(need: str, history: RunHistory) -> str:
    """The reason for no validation loss in a run that has a validation; empty for other needs, and without one."""
    validated = any(f.stage == "val" and (f.source or f.remedy) for f in history.context.capture)
    return NO_LOSS if need == "val/loss" and validated else ""


NO_LOSS = "no loss that could be read is computed in validation_step (log val_loss)"


def _stage(need: str) -> str:
    """The stage that ``need`` is read from; empty for what is not read off its predictions."""
    if need in OF_TRAINING or need.startswith("batch/"):
        return "train"
    parts = need.replace(":", "/").split("/")
    stage = next((part for part in parts if part in ("train", "val")), "")
    return "" if need.endswith("/loss") else stage or ("train" if need.startswith("ctc") else "")


def _seen(need: str, history: RunHistory) -> str:
    """The reason where the record itself tells which of several it is; empty where it does not."""
    data, model = history.context.data, history.context.model
    if need == "data.overlap" and data.train.hashed:
        train, val = data.train.features, data.val.features
        sizes = f" ({train:,} and {val:,} values)" if train and val else ""
        if not data.val.hashed:
            return "no validation sample was fingerprinted"
        return f"samples of the two splits differ in size{sizes}, as padded ones do: their fingerprints do not compare"
    if need.startswith("grad/") and len(history.series("grad/norm")):
        return _MISSING_GRADIENTS.get(need, "")
    if need.startswith("relu/") and model.relu_missing:
        return model.relu_missing
    inputs = ("data.train.input", "data.train.feature", "data.train.nonfinite")
    if need.startswith(inputs) and data.train.repeated is not None:
        return "the inputs are indices, as of tokens, which have no mean and no spread"
    return ""


_MISSING_GRADIENTS = {
    "grad/clip_ratio": "no clipping of gradients by norm is configured",
    "grad/first_last_ratio": "no two weight matrices had gradients that compare",
}
"""What a run with sampled gradients lacks."""
