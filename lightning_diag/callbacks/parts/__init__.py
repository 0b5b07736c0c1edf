"""The concerns of the observer, one part per file."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_diag.callbacks.parts.data import DataPart
from lightning_diag.callbacks.parts.ending import EndingPart
from lightning_diag.callbacks.parts.logged import LoggedPart
from lightning_diag.callbacks.parts.loggers import LoggerPart
from lightning_diag.callbacks.parts.loss import LossPart
from lightning_diag.callbacks.parts.optimisation import OptimisationPart
from lightning_diag.callbacks.parts.output import OutputPart
from lightning_diag.callbacks.parts.probe import ProbePart
from lightning_diag.callbacks.parts.stages import StagePart
from lightning_diag.callbacks.parts.stopping import StoppingPart
from lightning_diag.callbacks.parts.timeline import TimelinePart
from lightning_diag.callbacks.run import Part


def default_parts(added: Sequence[Part] = ()) -> list[Part]:
    """The parts in the order of their hooks: measure, then decide, then judge and write, then hand over.

    Args:
        added: parts of the attached monitors; without a stopper the run is only replayed at its end.
    """
    stopping = [] if any(isinstance(part, StoppingPart) for part in added) else [StoppingPart()]
    return [
        StagePart(),
        LoggedPart(),
        TimelinePart(),
        OptimisationPart(),
        LossPart(),
        ProbePart(),
        DataPart(),
        EndingPart(),
        *stopping,
        *added,
        OutputPart(),
        LoggerPart(),
    ]
