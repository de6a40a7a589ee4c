"""Where the first users' own files lie beside the repository, for the tests that read them."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "shared" / "reference"
PROJECT = ROOT / "their-project"

needs_reference = pytest.mark.skipif(
    not PROJECT.is_dir(), reason="the users' reference files are not beside this repository (../shared/reference)"
)
