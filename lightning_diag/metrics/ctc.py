"""CTC: what a callback needs (:class:`CTCCollector`) and the metric beneath it (:class:`CTCSignals`)."""

from __future__ import annotations

from lightning_diag.metrics.ctc_checks import CallChecks, Check
from lightning_diag.metrics.ctc_collector import CTCCollector
from lightning_diag.metrics.ctc_edits import Decoded, token_errors
from lightning_diag.metrics.ctc_facts import merge_facts
from lightning_diag.metrics.ctc_frames import ctc_call, greedy_decode
from lightning_diag.metrics.ctc_mapping import mapping_test
from lightning_diag.metrics.ctc_signals import CTCSignals
from lightning_diag.metrics.ctc_trivial import TrivialLoss, trivial_loss

__all__ = [
    "CTCCollector",
    "CTCSignals",
    "CallChecks",
    "Check",
    "Decoded",
    "TrivialLoss",
    "ctc_call",
    "greedy_decode",
    "mapping_test",
    "merge_facts",
    "token_errors",
    "trivial_loss",
]
