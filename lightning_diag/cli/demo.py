"""``lightning-diag demo``."""

from __future__ import annotations

import argparse

from lightning_diag.cli.reading import say, writable
from lightning_diag.demo import run as demo


def run(options: argparse.Namespace) -> int:
    """Run a demo and print the first lines of its report.

    Raises:
        ConfigError: there is no such demo, or its folder cannot be written.
    """
    say(demo.run(options.name, options.out and writable(options.out)))
    return 0
