"""The free memory of a container, which the machine's count does not show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")


def container_memory(root: Path = Path("/")) -> int | None:
    """Free bytes under the lowest memory limit of this process's control groups; None without a limit."""
    free_by_group = [free for folder, names in _groups(root) if (free := _free(folder, *names)) is not None]
    return min(free_by_group, default=None)


def _groups(root: Path) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """The folders of the control groups of this process up to the top, of both versions.

    In a container, the system's path may be outside of it; then the top is the container's own group.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            top, names = mounted, _V2
        elif "memory" in controllers.split(","):
            top, names = mounted / "memory", _V1
        else:
            continue
        group = Path(path.lstrip("/"))
        yield from ((top / folder, names) for folder in (group, *group.parents) if ".." not in folder.parts)


def _free(folder: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    """Free bytes of a group; cached files that the system can drop count as free."""
    try:
        most = int((folder / limit).read_text(encoding="ascii"))
        taken = int((folder / usage).read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such group, or the limit is "max"
        return None
    return max(0, most - taken + _counted(folder / "memory.stat", reclaimable))


def _counted(path: Path, name: str) -> int:
    """A count of the group; 0 if unknown."""
    try:
        return int(dict(line.split() for line in path.read_text(encoding="ascii").splitlines()).get(name, 0))
    except (OSError, ValueError):
        return 0
