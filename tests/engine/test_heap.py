"""Freed memory goes back to the system before the process is too large."""

from __future__ import annotations

import pytest
import torch

from tracinctl.engine.heap import Heap

MIB = 1 << 20


def test_freed_pieces_between_pieces_in_use_are_given_back():
    heap = Heap(32 * MIB)
    if heap._trim is None:
        pytest.skip("no glibc")
    # what other tests freed must not make room for the pieces
    heap._trim(0)
    heap = Heap(32 * MIB)
    # each piece is too small to be a mapping of its own
    pieces = [torch.ones(16 * 1024 // 4) for _ in range(4096)]
    before = heap._resident()
    del pieces[::2]
    assert heap._resident() > before - 8 * MIB, "freed, and still there"
    heap.trim()
    assert heap._resident() < before - 24 * MIB
