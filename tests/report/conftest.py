from __future__ import annotations

import os
from pathlib import Path

import pytest

GOLD = Path(__file__).parent / "gold"


@pytest.fixture
def gold():
    """Compares a text with the file of that name; ``UPDATE_GOLD=1`` writes it instead, to be read in the diff."""

    def compare(name: str, text: str) -> None:
        path = GOLD / name
        if os.environ.get("UPDATE_GOLD"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare
