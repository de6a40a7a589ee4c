"""Freed memory is returned to the system before the process grows too large."""

from __future__ import annotations

import platform
import re
import subprocess
import sys

import pytest
import torch

from tracinctl.engine import heap as heap_module
from tracinctl.engine.heap import Heap

MIB = 1 << 20


def test_freed_pieces_between_used_pieces_are_returned():
    heap = Heap(32 * MIB)
    if heap._trim is None:
        pytest.skip("no glibc")
    # memory that other tests freed must not serve these pieces
    heap._trim(0)
    heap = Heap(32 * MIB)
    # pieces this small have no mapping of their own
    pieces = [torch.ones(16 * 1024 // 4) for _ in range(4096)]
    before = heap._resident()
    del pieces[::2]
    assert heap._resident() > before - 8 * MIB, "freed memory stays with the process"
    heap.trim()
    assert heap._resident() < before - 24 * MIB


PASSES = """
import resource, runpy, sys
heap = runpy.run_path(sys.argv[1])["Heap"](int(sys.argv[2]))
if kept := int(sys.argv[3]):
    heap.keep(kept)
faults = []
for _ in range(3):
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [bytearray(8 << 20) for _ in range(int(sys.argv[4]))]
    del pieces
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun)
print(faults[-1])
"""


def faults_of_a_pass(memory, keep, pieces):
    """Page faults of the third pass that uses this many pieces of 2,048 pages."""
    if Heap(memory)._trim is None:
        pytest.skip("no glibc")
    command = [sys.executable, "-c", PASSES, heap_module.__file__, *map(str, (memory, keep, pieces))]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(("memory", "reused"), [(1 << 30, True), (48 * MIB, False)])
def test_pages_are_reused_if_memory_allows(memory, reused):
    assert (faults_of_a_pass(memory, 0, pieces=4) < 1000) == reused


@pytest.mark.parametrize(
    ("memory", "keep", "kept"), [(1 << 30, 128, True), (1 << 30, 0, False), (48 * MIB, 128, False)]
)
def test_pages_of_large_passes_stay_if_they_are_to(memory, keep, kept):
    assert (faults_of_a_pass(memory, keep * MIB, pieces=14) < 1000) == kept


def test_memory_that_is_filled_and_stays_in_use_is_no_freed_memory(monkeypatch):
    resident, trims = [0], []
    heap = Heap(1000)
    monkeypatch.setattr(Heap, "_resident", lambda _: resident[0])
    heap._trim, heap._begin = trims.append, 0
    heap.fill(800)
    for _ in range(8):
        resident[0] += 100
        heap.filled(100)
        heap.trim()
    assert not trims
    resident[0] += 90
    heap.trim()
    assert not trims, "half of the rest may be freed memory"
    resident[0] += 20
    heap.trim()
    assert len(trims) == 1
    heap.release()
    resident[0] = 510
    heap.trim()
    assert len(trims) == 2, "without a tile, half of the limit"


@pytest.mark.parametrize("threads", [1, 2])
def test_one_thread_takes_pages_together_before_they_are_used(threads):
    heap, tensor = Heap(1 << 30), torch.empty(80 * MIB // 4)
    if heap._trim is None or tuple(map(int, re.findall(r"\d+", platform.release())[:2])) < (5, 14):
        pytest.skip("no glibc, or an old Linux")
    before, usual = heap._resident(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        heap.populate([tensor[1 << 10 :]])
    finally:
        torch.set_num_threads(usual)
    assert (heap._resident() - before > 70 * MIB) == (threads == 1)
