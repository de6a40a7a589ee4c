"""What all tests share."""

from __future__ import annotations

import os

# small tensors are quicker on one thread, and the tests run side by side
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# machines differ in speed, and a run that fails must fail again
settings.register_profile("tracinctl", deadline=None, derandomize=True)
settings.load_profile("tracinctl")


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """No setting of the person who runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith("TRACINCTL_") or name in {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}:
            monkeypatch.delenv(name)
