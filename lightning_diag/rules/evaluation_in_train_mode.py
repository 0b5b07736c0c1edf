"""LD701: validation runs with dropout or batch statistics on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.words import percent


@dataclass(frozen=True, kw_only=True)
class EvaluationInTrainMode(Rule):
    """Validation runs in training mode, or its answers are random."""

    code: ClassVar[str] = "LD701"
    name: ClassVar[str] = "evaluation-in-train-mode"
    needs: ClassVar[tuple[str, ...]] = ("model.eval_mode_ok|model.nondeterministic_eval",)

    share: float = 0.0
    """Share of validation batches that may run in the wrong mode; it is a fact, not an estimate."""
    tolerance: float = 1e-3
    """Difference of two forwards of one batch in eval mode, as a share of the largest output. Kernels that are not deterministic
    differ by 1e-5 of it in float32; dropout changes it by tenths."""
    rounding: float = 4.0
    """Roundings of a 16-bit precision that the same difference may come to, where they are more than ``tolerance``."""

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        model = history.context.model
        wrong = model.eval_mode_ok is not None and model.eval_mode_ok.n > 0 and model.eval_mode_ok.rate < 1 - self.share
        matters = model.dropout is not False or model.batch_norm is not False
        differs = (model.nondeterministic_eval or 0.0) > self._limit(history)
        if not (wrong and matters) and not differs:
            return None
        evidence = []
        if wrong and model.eval_mode_ok:
            text = (
                f"{model.eval_mode_ok.n - model.eval_mode_ok.k} of {model.eval_mode_ok.n} validation batches ran with "
                "dropout or batch normalisation in training mode"
            )
            evidence.append(
                Evidence(signal="model.eval_mode_ok", text=text, observed=model.eval_mode_ok.rate, expected=1.0)
            )
        if differs and model.nondeterministic_eval:
            text = f"two forward passes of one batch differ by up to {percent(model.nondeterministic_eval)} of the largest output in eval mode"
            evidence.append(
                Evidence(
                    signal="model.nondeterministic_eval", text=text, observed=model.nondeterministic_eval, expected=0.0
                )
            )
        return self.finding(
            severity="error",
            confidence=0.98 if wrong else 0.9,
            claim="established",
            title="Validation runs in training mode" if wrong else "Validation is random",
            summary=f"Validation is not measured on the model as it will be used: {evidence[0].text}.",
            evidence=tuple(evidence),
            why="Validation is noisier and lower than the model deserves, and batch normalisation learns from validation data.",
            actions=(
                "remove self.train() from validation hooks; Lightning sets the mode itself",
                "F.dropout(x, training=self.training) instead of F.dropout(x)",
            ),
            next_test="validate twice without training between: the numbers must be equal",
            scope="val",
            explains=("LD203", "LD204", "LD208", "LD302", "LD604", "LD606", "LD705", "LD706"),
        )

    def _limit(self, history: RunHistory) -> float:
        """The tolerance, in a 16-bit precision at least some roundings of it."""
        precision = history.context.precision or ""
        step = 2.0**-7 if "bf16" in precision else 2.0**-10 if "16" in precision else 0.0
        return max(self.tolerance, self.rounding * step)
