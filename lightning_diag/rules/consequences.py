"""What follows from a cause: codes of symptoms that several causes share, for ``Finding.explains``."""

from __future__ import annotations

NOTHING_LEARNED = ("LD115", "LD202", "LD204", "LD205", "LD208", "LD301", "LD302")
"""The steps did not bring the model to an answer that depends on the input, or not far enough in the time."""
WEIGHTS_LOST = ("LD106", "LD113", "LD203", "LD706", *NOTHING_LEARNED)
"""Values that are not finite reached the weights, or the steps that met them changed nothing."""
NOTHING_MEASURED = ("LD202", "LD203", "LD205", "LD208", "LD706")
"""What validation reports has nothing to do with the model."""
WITHOUT_PRETRAINING = ("LD115", "LD201", "LD202", "LD203", "LD204", "LD205", "LD208")
"""The model had to learn from its own few samples what it was to bring along."""
VALIDATION_BEHIND = ("LD201", "LD203", "LD207", "LD302")
"""Training can be memorised, and what is memorised does not answer validation."""
