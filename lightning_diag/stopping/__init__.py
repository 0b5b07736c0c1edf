"""The stopping criterion: plain numbers in, decision and reason out."""

from lightning_diag.stopping.criterion import SETTINGS, StoppingCriterion
from lightning_diag.stopping.exits import Exits
from lightning_diag.stopping.joint import JointCriterion
from lightning_diag.stopping.replay import Replay, compared, inputs, missed_gain, replay, worsening_p
from lightning_diag.stopping.schedule import LearningRatePlan
from lightning_diag.stopping.values import Decision, Evaluation

__all__ = [
    "SETTINGS",
    "Decision",
    "Evaluation",
    "Exits",
    "JointCriterion",
    "LearningRatePlan",
    "Replay",
    "StoppingCriterion",
    "compared",
    "inputs",
    "missed_gain",
    "replay",
    "worsening_p",
]
