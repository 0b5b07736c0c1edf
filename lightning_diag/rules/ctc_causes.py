"""What holds a CTC model on the all-blank plateau, told apart by the loss over the trivial loss and by its fall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lightning_diag.findings import Severity


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One cause of a blank collapse, with what speaks against it and what to do."""

    title: str
    meaning: str
    against: str
    actions: tuple[str, ...]
    next_test: str
    severity: Severity = "error"
    confidence: float = 0.8


_SMALL = "train on 8 lines for 300 steps: a sound set-up reads them without an error"

CAUSES: Mapping[str, Cause] = {
    "axes": Cause(
        title="the axes of the scores are mixed",
        meaning="The scores look reshaped where they should be transposed, so frames of different lines are mixed.",
        against="the axes are judged by how alike neighbours are, which an unusual network could imitate",
        actions=(
            "log_probs = logits.log_softmax(-1).transpose(0, 1) for logits of shape (N, T, C); never reshape or view",
            "check on one line that frame t of the scores is frame t of the input",
        ),
        next_test=_SMALL,
        confidence=0.9,
    ),
    "wiring": Cause(
        title="worse than ignoring the input",
        meaning="That is worse than an output that ignores the input, so scores and targets do not meet: wrong axes, a "
        "wrong normalisation, or steps far too small.",
        against="a learning rate that is far too low looks the same while the loss still falls",
        actions=(
            "log_probs = logits.log_softmax(-1).transpose(0, 1) for logits of shape (N, T, C); never reshape",
            "take log_softmax once, on logits, not on probabilities",
            "raise the learning rate if the loss falls at all",
        ),
        next_test=_SMALL,
        confidence=0.85,
    ),
    "independent": Cause(
        title="the output does not depend on the input",
        meaning="That is what an output reaches that ignores the input: the targets may not belong to the inputs, the input "
        "may be empty or dead, or the rate or the weight decay holds the weights there.",
        against="with many tokens a healthy run leaves the plateau while the loss is still near the trivial one",
        actions=(
            "look at three training inputs with their targets, as the network gets them",
            "lower weight decay and learning rate by 10, add 100 steps of warm-up",
            "check that the encoder gives different features for different inputs",
        ),
        next_test=_SMALL,
    ),
    "weak": Cause(
        title="it stopped learning on the plateau",
        meaning="That is a little better than ignoring the input, and it no longer falls: the steps are too large or too "
        "small, or too little of the model is trained.",
        against="a slow run may still leave the plateau: at a rate of 1e-4 healthy runs needed 358 to 430 steps",
        actions=(
            "learning rate 10 times lower, with 100 steps of warm-up",
            "train the encoder as well, not the last layer alone",
        ),
        next_test="the same run with a tenth of the rate for 300 steps",
        confidence=0.65,
    ),
    "short": Cause(
        title="the run ended in the warm-up",
        meaning="The loss still fell: the run ended before the all-blank phase did, which every CTC model passes through.",
        against="the loss still fell when the run ended",
        actions=(
            "train longer: healthy runs leave this phase after 36 to 430 steps",
            "raise the learning rate (5e-4 to 2e-3 with Adam left it after 36 to 137 steps)",
        ),
        next_test="the same run for three times as many steps",
        severity="warning",
        confidence=0.6,
    ),
}


def stuck_by(ratio: float, wiring: float, weak: float) -> Cause:
    """The cause that fits a loss which rests at this multiple of the trivial loss."""
    return CAUSES["wiring" if ratio > wiring else "independent" if ratio >= weak else "weak"]
