"""What a checkpoint and a module share, by content.

* :func:`read_checkpoint`, :func:`read_state_dict`: every common format, read safely.
* :func:`compare`: two state dicts, names aligned, contents compared.
* :func:`verify_files`, :func:`comparison_table`: the same for two files, as ``lightning-diag verify`` prints it.
* :class:`LoadVerification`: a checkpoint and a live module, for ``PretrainLoadVerifier``.
"""

from __future__ import annotations

from lightning_diag.checkpoints.compare import compare
from lightning_diag.checkpoints.comparison import Comparison, Row
from lightning_diag.checkpoints.files import read_state_dict, verify_files
from lightning_diag.checkpoints.fresh import looks_fresh
from lightning_diag.checkpoints.nested import Candidate, find_state_dicts
from lightning_diag.checkpoints.reading import CheckpointFile, read_checkpoint
from lightning_diag.checkpoints.table import comparison_table, exit_code
from lightning_diag.checkpoints.verifier import LoadVerification

__all__ = [
    "Candidate",
    "CheckpointFile",
    "Comparison",
    "LoadVerification",
    "Row",
    "compare",
    "comparison_table",
    "exit_code",
    "find_state_dicts",
    "looks_fresh",
    "read_checkpoint",
    "read_state_dict",
    "verify_files",
]
