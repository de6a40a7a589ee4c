"""The memory that a container has left, by both versions of control groups."""

from __future__ import annotations

import pytest
import torch

from tracinctl.engine import memory
from tracinctl.engine.container import container_memory

V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


def group(folder, names, limit, usage, cached):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\n")


def named(root, line):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"12:cpu,cpuacct:/x\n{line}\n")


@pytest.mark.parametrize(
    ("line", "top", "names"),
    [("0::/a/b", "", V2), ("4:memory:/a/b", "memory", V1), ("4:hugetlb,memory:/a/b", "memory", V1)],
)
def test_the_narrowest_limit_of_the_group_and_its_parents_counts(tmp_path, line, top, names):
    named(tmp_path, line)
    top = tmp_path / "sys/fs/cgroup" / top
    group(top / "a/b", names, 1000, 300, 50)
    assert container_memory(tmp_path) == 750
    group(top / "a", names, 900, 800, 20)
    assert container_memory(tmp_path) == 120
    # a container sees its own group at the top
    group(top, names, 100, 200, 0)
    assert container_memory(tmp_path) == 0


@pytest.mark.parametrize("stat", [None, "", "what is this\n", "inactive_file many\n"])
def test_a_limit_counts_even_if_the_size_of_cached_files_is_unknown(tmp_path, stat):
    named(tmp_path, "0::/")
    group(tmp_path / "sys/fs/cgroup", V2, 1000, 300, 50)
    statistics = tmp_path / "sys/fs/cgroup/memory.stat"
    statistics.unlink() if stat is None else statistics.write_text(stat)
    assert container_memory(tmp_path) == 700


@pytest.mark.parametrize("line", ["0::/a", "0::/", "0::/../elsewhere"])
def test_no_limit_is_none(tmp_path, line):
    assert container_memory(tmp_path) is None
    named(tmp_path, line)
    group(tmp_path / "sys/fs/cgroup/a", V2, "max", 300, 50)
    assert container_memory(tmp_path) is None


def test_a_container_has_no_more_than_its_limit(monkeypatch):
    free = memory.free_memory(torch.device("cpu"))
    monkeypatch.setattr(memory, "container_memory", lambda: 1 << 20)
    assert memory.free_memory(torch.device("cpu"), local=2) == 1 << 19
    monkeypatch.setattr(memory, "container_memory", lambda: None)
    assert memory.free_memory(torch.device("cpu")) > (free >> 1)
