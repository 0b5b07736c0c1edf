"""Shared by all tests."""

import os

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def no_figures(monkeypatch, request):
    """Drawing takes longer than the toy trainings; tests marked ``figures`` draw."""
    if "figures" not in request.keywords:
        monkeypatch.setattr("lightning_diag.output.draw_figures", lambda *_, **__: {})
