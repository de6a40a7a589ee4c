"""Paths of the repository, its tests, and files beside it that some tests read."""

from __future__ import annotations

from pathlib import Path

HELPERS = Path(__file__).resolve().parent
TESTS = HELPERS.parent
ROOT = TESTS.parent
BENCHMARKS = TESTS / "benchmarks"
SHARED = ROOT.parent / "shared"
REFERENCE = SHARED / "reference"
