"""Run the command line with ``python -m lightning_diag``."""

from __future__ import annotations

import sys

from lightning_diag.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
