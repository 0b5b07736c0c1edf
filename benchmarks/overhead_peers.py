"""What projects use today for the same purpose, as callbacks."""

from __future__ import annotations

from lightning.pytorch import Callback
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics import classification as tm


class TorchmetricsMonitor(Callback):
    """Per-class accuracy, precision, recall, F1 and the confusion matrix, updated in every training step.

    The predictions are taken with a patch of the loss function as cheap as it can be, so that only the metrics count.
    """

    def __init__(self, classes: int) -> None:
        per_class = {"num_classes": classes, "average": "none", "validate_args": False}
        self.metrics = MetricCollection(
            {
                "accuracy": tm.MulticlassAccuracy(**per_class),
                "precision": tm.MulticlassPrecision(**per_class),
                "recall": tm.MulticlassRecall(**per_class),
                "f1": tm.MulticlassF1Score(**per_class),
            }
        )
        if classes <= 1_000:  # 50,000 classes would be a table of 20 GB
            self.metrics["confusion"] = tm.MulticlassConfusionMatrix(classes, validate_args=False)
        self._seen = None
        self._original = None

    def on_train_start(self, trainer, pl_module):
        self.metrics.to(pl_module.device)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._original = F.cross_entropy
        F.cross_entropy = self._noting

    def _noting(self, preds, target, *args, **kwargs):
        self._seen = preds, target
        return self._original(preds, target, *args, **kwargs)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        F.cross_entropy = self._original
        if self._seen is None:
            raise RuntimeError("no cross entropy in the step")
        preds, target = self._seen
        self._seen = None
        self.metrics.update(preds.detach(), target)

    def on_train_epoch_end(self, trainer, pl_module):
        self.metrics.compute()
        self.metrics.reset()


class ItemMonitor(Callback):
    """Gradient norm and weight statistics of each parameter, read with ``.item()`` in each step."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        row = {}
        for name, p in pl_module.named_parameters():
            if p.grad is not None:
                row[f"grad/{name}"] = p.grad.norm().item()
                row[f"weight/{name}"] = p.detach().norm().item()
        self.rows = [*self.rows[-99:], row]


def doctor_callback() -> Callback:
    """``training-doctor`` as its authors mean it: its own subclass puts Lightning's empty hooks before its methods."""
    from training_doctor.integrations.lightning import LightningCallback

    return type("TrainingDoctor", (LightningCallback, Callback), {})(auto_print=False)
