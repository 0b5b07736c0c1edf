"""LD610: NaN or infinite values among the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_diag.findings import Evidence, Finding
from lightning_diag.history import RunHistory
from lightning_diag.rules.base import Rule
from lightning_diag.rules.consequences import WEIGHTS_LOST


@dataclass(frozen=True, kw_only=True)
class NonFiniteInputs(Rule):
    """Inputs contain NaN or infinite values."""

    code: ClassVar[str] = "LD610"
    name: ClassVar[str] = "non-finite-inputs"
    needs: ClassVar[tuple[str, ...]] = ("data.train.nonfinite_inputs|data.val.nonfinite_inputs",)

    def check(self, history: RunHistory) -> Finding | None:
        """See the class."""
        data = history.context.data
        found = [
            (name, split)
            for name, split in (("training", data.train), ("validation", data.val))
            if split.nonfinite_inputs
        ]
        if not found:
            return None
        text = " and ".join(
            f"{s.nonfinite_inputs:,} of {s.sampled or s.size or 0:,} sampled {name} samples"
            if s.sampled or s.size
            else f"{s.nonfinite_inputs:,} {name} samples"
            for name, s in found
        )
        return self.finding(
            severity="error",
            confidence=1.0,
            claim="established",
            title="Inputs contain NaN or infinite values",
            summary=f"Inputs are not finite: {text} hold NaN or infinite values.",
            evidence=(
                Evidence(
                    signal="data.train.nonfinite_inputs",
                    text=text,
                    observed=float(found[0][1].nonfinite_inputs or 0),
                    expected=0.0,
                ),
            ),
            why="One such sample makes every weight NaN in the step that sees it; a lower learning rate does not help.",
            actions=(
                "drop or impute these rows before training",
                "find where they come from: empty cells, a division by 0, the log of 0",
            ),
            next_test="count torch.isfinite over the whole data set, by column and by file",
            scope="data",
            explains=(*WEIGHTS_LOST, "LD101", "LD102", "LD604", "LD609"),
        )
