"""The path of the first users' files beside the repository, for the tests that read them."""

from __future__ import annotations

import pytest
from places import REFERENCE

ROOT = REFERENCE
PROJECT = ROOT / "their-project"

needs_reference = pytest.mark.skipif(
    not PROJECT.is_dir(), reason="the users' reference files are not beside this repository (../shared/reference)"
)
