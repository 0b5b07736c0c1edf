"""The exceptions that lightning_diag raises on purpose.

Each message says what was given, what was expected and what to do. Nothing here ever escapes from a hook during
training: an observer must not end a run (see ``docs/reliability.md``).
"""

from __future__ import annotations


class DiagError(Exception):
    """Base class of all errors of this library."""


class RecordError(DiagError):
    """A record on disk (``history.jsonl``, ``diagnosis.json``, a foreign log) cannot be understood."""


class CheckpointError(DiagError):
    """A checkpoint file cannot be read safely, or holds no tensors."""


class WeightsNotLoadedError(DiagError):
    """The pretrained weights are not in the module: the only error that ends a training, because the user asked."""


class ConfigError(DiagError):
    """A setting of a rule, a callback or the command line is wrong."""
