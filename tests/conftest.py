"""Shared by all tests."""

import contextlib
import os

import pytest
import torch

os.environ.setdefault("MPLBACKEND", "Agg")

with contextlib.suppress(ImportError):  # the suite that runs from the wheel does without hypothesis
    from hypothesis import HealthCheck, settings
    from hypothesis.internal.conjecture import providers

    # The same examples each time, in any order, on a machine that is busy: a failure is a defect, never a draw.
    settings.register_profile(
        "same", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("same")
    if hasattr(providers, "_get_local_constants"):  # it mixes in constants of whatever modules are imported by then
        providers._get_local_constants = providers.Constants


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
