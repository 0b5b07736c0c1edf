"""``lightning-diag schema``."""

from __future__ import annotations

import argparse
import json

from lightning_diag.cli.reading import say
from lightning_diag.report import json_schema


def run(options: argparse.Namespace) -> int:  # noqa: ARG001  (every command takes its options)
    """Print the JSON schema of ``diagnosis.json``."""
    say(json.dumps(json_schema(), indent=2))
    return 0
