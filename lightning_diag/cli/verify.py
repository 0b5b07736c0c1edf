"""``lightning-diag verify``."""

from __future__ import annotations

import argparse

from lightning_diag.checkpoints import verify_files
from lightning_diag.cli.reading import say
from lightning_diag.history import PretrainFacts
from lightning_diag.words import percent

_IN = ("loaded", "loaded, since trained or rounded", "resumed")


def run(options: argparse.Namespace) -> int:
    """Print whether the weights of one file are in another; 1 when they are not, or only partly.

    Raises:
        CheckpointError: a file cannot be read safely.
    """
    facts = verify_files(options.checkpoint, options.against, module=options.module, key=options.key)
    say("\n".join(_lines(facts)))
    return int(facts.verdict not in _IN)


def _lines(facts: PretrainFacts) -> list[str]:
    lines = [f"{facts.verdict}: {facts.reason}" if facts.reason else facts.verdict]
    lines += [f"  {b.block}: {percent(b.equal)} of {b.parameters:,} parameters equal" for b in facts.blocks]
    if facts.fix:
        lines.append(f"fix: {facts.fix}")
    return lines
