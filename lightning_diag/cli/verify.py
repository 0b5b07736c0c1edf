"""``lightning-diag verify``."""

from __future__ import annotations

import argparse

from lightning_diag.checkpoints import comparison_table, verify_files
from lightning_diag.checkpoints.table import exit_code
from lightning_diag.cli.reading import say


def run(options: argparse.Namespace) -> int:
    """Print whether the weights of one file are in another; 1 when they are not, or only partly.

    Raises:
        CheckpointError: a file cannot be read safely.
    """
    facts = verify_files(options.checkpoint, options.against, module=options.module, key=options.key)
    say(comparison_table(facts, str(options.against)).rstrip())
    return exit_code(facts)
