"""Predictions and targets of a step, read from what an unmodified module computes."""

from lightning_diag.capture.extractor import Extractor, Extractors, Pair, Step
from lightning_diag.capture.observation import KINDS, LABELLED, TASKS, Observation
from lightning_diag.capture.step import StepCapture

__all__ = ["KINDS", "LABELLED", "TASKS", "Extractor", "Extractors", "Observation", "Pair", "Step", "StepCapture"]
