"""Signs of updates that are too large."""

from __future__ import annotations

from lightning_diag.rules.instability import restless
from tests.build import history

ARC = [5.37, 2.7, 2.68, 2.68, 2.67, 2.66, 2.64, 2.56, 2.35, 1.84, 1.02, 0.47, 0.24, 0.15]


def test_a_bent_fall_is_not_restless():
    """The training loss of a healthy CTC run that leaves the all-blank phase late."""
    assert restless(history({"train/loss": ARC}), 0.25, 0.1) is None


def test_jumps_are_restless():
    jumps = [5.4, 2.7, 2.6, 2.9, 2.2, 3.4, 2.1, 3.6, 1.9, 3.3, 2.0, 3.5, 1.8, 3.2]
    assert restless(history({"train/loss": jumps}, classes=10), 0.25, 0.1) is not None
