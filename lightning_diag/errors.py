"""The exceptions that lightning_diag raises on purpose.

Each message says what was given, what was expected and what to do. Nothing here ever escapes from a hook during
training: an observer must not end a run (see ``docs/reliability.md``).
"""

from __future__ import annotations

import math


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


_SHARES = ("acc", "balanced_acc", "macro_f1", "top5_acc", "ter", "wer", "cer")


def check_target(value: object, metric: str) -> None:
    """Refuse a target that no value of ``metric`` can reach.

    Raises:
        ConfigError: it is no number, or a share outside 0 to 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigError(f"target={value!r}: expected a number, for example 0.82.")
    if metric.rpartition("/")[2] in _SHARES and not 0 <= value <= 1:
        near = f" Did you mean {value / 100:g}?" if 1 < value <= 100 else ""
        raise ConfigError(f"target={value:g}: {metric} is a share between 0 and 1.{near}")
