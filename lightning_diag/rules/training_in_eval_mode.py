"""LD702: training runs with dropout and batch statistics off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import VALIDATION_BEHIND


@dataclass(frozen=True, kw_only=True)
class TrainingInEvalMode(Rule):
    """Training runs with its modules in eval mode."""

    code: ClassVar[str] = "LD702"
    name: ClassVar[str] = "training-in-eval-mode"
    needs: ClassVar[tuple[str, ...]] = ("model.train_mode_ok",)

    share: float = 0.5
    """Share of steps in the right mode below which it is said: most of training was without these layers."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        model = history.context.model
        ok = model.train_mode_ok
        if ok is None or ok.n == 0 or ok.rate >= self.share or (model.dropout is False and model.batch_norm is False):
            return None
        text = f"{ok.n - ok.k} of {ok.n} sampled training steps ran with dropout or batch normalisation in eval mode"
        layers = " and ".join(
            name for name, has in (("dropout", model.dropout), ("batch normalisation", model.batch_norm)) if has
        )
        return self.finding(
            severity="error",
            confidence=0.95,
            claim="established",
            title="Training runs in eval mode",
            summary=f"Training does not use {layers or 'its training-time layers'}: {text}.",
            evidence=(Evidence(signal="model.train_mode_ok", text=text, observed=ok.rate, expected=1.0),),
            why="Dropout does not regularise and batch normalisation keeps its initial statistics, so that training can become unstable.",
            actions=(
                "call self.train() after every self.eval() in your hooks",
                "load submodules before fit, or set them to train() in on_train_epoch_start",
            ),
            next_test="print [n for n, m in model.named_modules() if not m.training] in training_step: only frozen parts may appear",
            scope="train",
            explains=(*VALIDATION_BEHIND, "LD102", "LD106", "LD204", "LD205", "LD208"),
            outweighs=("LD602",),
        )
