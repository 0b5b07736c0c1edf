"""Shared by all tests."""

import os

import pytest
import torch

os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_collection_modifyitems(items):
    """Tests marked ``cuda`` skip where there is no GPU."""
    if not torch.cuda.is_available():
        for item in items:
            if "cuda" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(autouse=True)
def no_figures(monkeypatch, request):
    """Drawing takes longer than the toy trainings; tests marked ``figures`` draw."""
    if "figures" not in request.keywords:
        monkeypatch.setattr("lightning_diag.output.draw_figures", lambda *_, **__: {})
