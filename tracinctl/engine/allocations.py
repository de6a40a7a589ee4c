"""Count the memory of the tensors that torch makes during some work.

Only this module uses a private part of torch, because no public one sees every tensor that an operation makes and
drops, including on the CPU and on the meta device. Public parts see only calls from Python (``torch.overrides``),
tensors that autograd saves, or a GPU.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import Any, Self

import torch


class AllocationWatch:
    """Count bytes while it is active; ``peak`` is the largest number at a time."""

    def __init__(self) -> None:
        self.peak = 0
        self._live = 0
        self._storages: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._mode: Any = None

    def __enter__(self) -> Self:
        from torch.utils._python_dispatch import TorchDispatchMode

        watch = self

        class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                return watch._run(func, args, kwargs or {})

        self._mode = Mode()  # type: ignore[no-untyped-call]  # nor here
        self._mode.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._mode.__exit__(*error)
        self._storages.clear()

    def _run(self, func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        for tensor in _tensors((args, kwargs)):  # views of earlier tensors are not new
            self._see(tensor.untyped_storage(), 0)
        result = func(*args, **kwargs)
        for tensor in _tensors(result):
            self._see(tensor.untyped_storage(), tensor.untyped_storage().nbytes())
        return result

    def _see(self, storage: torch.UntypedStorage, size: int) -> None:
        key = id(storage)  # torch keeps one object per storage, which views share
        if key not in self._storages:
            self._storages[key] = weakref.ref(storage, lambda _: self._forget(key, size))
            self._live += size
            self.peak = max(self.peak, self._live)

    def _forget(self, key: int, size: int) -> None:
        del self._storages[key]
        self._live -= size


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        if value.layout == torch.strided:  # a sparse tensor has no storage
            yield value
    elif isinstance(value, (list, tuple, Mapping)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(part)
