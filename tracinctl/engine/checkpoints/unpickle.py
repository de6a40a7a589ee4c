"""Read pickles without running anything that they name, with memory in proportion to their bytes.

A pickle names classes and functions, and asks to call them. This reader never imports a name: its own functions make
tensors, containers and numbers, objects of other classes become ``Inert``, and other calls are refused.
``torch.load(weights_only=True)`` runs no code either, but it refuses harmless objects, and it allocates what the pickle
asks for, so a few hundred bytes can fill the memory. Here every opcode and every call is charged to a ``Budget``.
"""

from __future__ import annotations

import collections
import pickle
import pickletools
import re
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # names of Python 2, which protocols below 3 use
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from typing import IO, Any, Final, Self

import numpy as np
import torch

_ROOM: Final = 64 << 20  # bytes that any file may use beyond its size
_TIMES: Final = 8  # multiple of its size that a file may use, as containers of small numbers do
_BYTES_OF: Final = {
    "EMPTY_SET": 224,
    "EMPTY_DICT": 72,
    "EMPTY_LIST": 64,
    "MARK": 8,
    "STOP": 0,
    "PROTO": 0,
} | dict.fromkeys(("NEWOBJ", "NEWOBJ_EX", "REDUCE", "OBJ", "INST"), 400)
_BYTES_OF_OTHERS: Final = 48  # bytes per opcode: a small object and its place in a container
_BYTES_OF_CLASS: Final = 2048
_BYTES_OF_ELEMENT: Final = 104  # bytes per element of a set or dictionary
_DEPTH: Final = 100  # limit on nested modules
_PUTS: Final = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
# modules of the standard library whose classes only hold values
_VALUES: Final = frozenset(
    {"argparse", "collections", "datetime", "decimal", "enum", "fractions", "ipaddress", "numbers", "pathlib"}
    | {"pathlib._local", "types", "uuid", "zoneinfo"}
)
_PLAIN_DTYPE: Final = re.compile(r"[<>=|]?(?:[biuf][1248]|f16|c8|c16|c32|b1|\?|[SU]\d{1,9}|[mM]8)")
_FLOATS: Final = {"Half": torch.half, "BFloat16": torch.bfloat16, "Float": torch.float, "Double": torch.double}
_INTEGERS: Final = {"Byte": torch.uint8, "Char": torch.int8, "Short": torch.short, "Int": torch.int, "Long": torch.long}
_OTHERS: Final = {"Bool": torch.bool, "ComplexFloat": torch.cfloat, "ComplexDouble": torch.cdouble}
_STORAGES: Final = {f"{kind}Storage": dtype for kind, dtype in (_FLOATS | _INTEGERS | _OTHERS).items()} | {
    "UntypedStorage": torch.uint8,
    "_UntypedStorage": torch.uint8,
}


class AsksForCodeError(Exception):
    """A pickle asks for a call that does not construct a value."""


class SwellsError(Exception):
    """A pickle asks for too much memory for its size."""


class Budget:
    """The memory in bytes that a file of a given size may use."""

    def __init__(self, size: int) -> None:
        self._room = _ROOM + _TIMES * size

    def spend(self, size: int) -> None:
        """Charge bytes.

        Raises:
            SwellsError: the budget is used up.
        """
        self._room -= size
        if self._room < 0:
            raise SwellsError


class _Calls(type):
    """Metaclass of inert classes: a call constructs a value, and is refused if the name is that of a function."""

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        if not cls.constructs:  # type: ignore[attr-defined]  # of Inert
            raise AsksForCodeError(cls.origin)  # type: ignore[attr-defined]  # of Inert
        inert: Any = cls
        return inert.__new__(inert, *arguments, **keywords)


class Inert(dict[Any, Any], metaclass=_Calls):
    """An object of a class that was not imported, with the pickle's data but without behaviour.

    For a subclass of dict, it holds the entries.

    Attributes:
        origin: module and name of the class.
        constructs: whether a call of the class constructs a value, judged by its name.
        arguments: the arguments of the construction.
        state: its attributes.
    """

    origin = ""
    constructs = True
    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *arguments: Any, **_: Any) -> Self:
        """Keep the arguments."""
        inert = super().__new__(cls)
        inert.arguments = arguments
        return inert

    def __init__(self, *_: Any, **__: Any) -> None:
        """Do nothing, because entries are added one by one."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, _: Any) -> None:
        """Ignore the elements of a subclass of list or set."""

    extend = add = append

    def __hash__(self) -> int:  # type: ignore[override]  # a dictionary has none
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


@dataclass(frozen=True)
class NoPlainTensor:
    """A tensor that is not strided numbers in memory; ``kind`` says what it is."""

    kind: str


def module_state(module: Inert, prefix: str = "") -> dict[str, Any]:
    """The parameters and saved buffers of a pickled ``torch.nn.Module``; empty for anything else."""
    inner = module.state if isinstance(module.state, dict) else {}
    if prefix.count(".") > _DEPTH or not isinstance(inner.get("_parameters"), dict):
        return {}
    unsaved = inner.get("_non_persistent_buffers_set") or ()
    buffers = {key: value for key, value in (inner.get("_buffers") or {}).items() if key not in unsaved}
    state = {f"{prefix}{key}": value for key, value in (inner["_parameters"] | buffers).items() if value is not None}
    for key, child in (inner.get("_modules") or {}).items():
        if isinstance(child, Inert):
            state |= module_state(child, f"{prefix}{key}.")
    return state


class SafePickle(pickle.Unpickler):
    """Read one pickle; ``storage`` returns the numbers, in one dimension, that a tensor of the pickle refers to."""

    def __init__(self, stream: IO[bytes], budget: Budget, storage: Callable[[Any], Any] | None = None) -> None:
        super().__init__(stream, encoding="latin1")  # Python 2 wrote text as bytes
        self._stream = stream
        self._room = budget
        self._storage = storage
        self._stand_ins: dict[str, Any] = {}
        self._makers = _makers(budget)

    def load(self) -> Any:
        """The content.

        Raises:
            AsksForCodeError: the pickle asks for a call that does not construct a value.
            SwellsError: the pickle needs more memory than the budget.
            ValueError, pickle.UnpicklingError: the pickle is broken.
        """
        self._check_opcodes()
        return super().load()

    def _check_opcodes(self) -> None:
        """Charge the objects of the opcodes; ``genops`` raises on lengths beyond the bytes."""
        begin = self._stream.tell()
        for number, (opcode, argument, _) in enumerate(pickletools.genops(self._stream)):
            self._room.spend(_BYTES_OF.get(opcode.name, _BYTES_OF_OTHERS))
            # the reader allocates memory up to the number of a memo's place
            if opcode.name in _PUTS and isinstance(argument, int) and argument > number:
                raise SwellsError
        self._stream.seek(begin)

    def persistent_load(self, pid: Any) -> Any:
        """A storage."""
        if self._storage is None:
            raise pickle.UnpicklingError("it refers to a storage that does not exist")
        return self._storage(pid)

    def find_class(self, module: str, name: str) -> Any:
        """The replacement for a class or function that the pickle names."""
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        origin = f"{module}.{name}"
        if origin not in self._stand_ins:
            self._room.spend(_BYTES_OF_CLASS)
            self._stand_ins[origin] = self._stand_in(module, name, origin)
        return self._stand_ins[origin]

    def _stand_in(self, module: str, name: str, origin: str) -> Any:
        if origin in self._makers:
            return self._makers[origin]
        if module in {"torch", "torch.storage"} and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        if module == "torch._utils" and name.startswith("_rebuild_"):
            kind = name.removeprefix("_rebuild_").replace("_", " ")
            return lambda *_: NoPlainTensor(kind)
        return _Calls("Inert", (Inert,), {"origin": origin, "constructs": _constructs(module, name)})


def _constructs(module: str, name: str) -> bool:
    """Whether calling a name constructs a value, of a class that only holds values or of a user's class."""
    if module in _VALUES or module.startswith("numpy"):
        return True
    top = module.partition(".")[0]
    return top not in sys.stdlib_module_names and name.rpartition(".")[2].lstrip("_")[:1].isupper()


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> Any:
    """A view of a storage; ``as_strided`` checks that it is inside."""
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


def _tensor_of_dtype(storage: Any, offset: int, size: Any, stride: Any, _: Any, __: Any, dtype: Any, *___: Any) -> Any:
    """A view of a storage whose class has no dtype."""
    return _tensor(storage.view(dtype), offset, size, stride)


def _reconstructed(cls: Any, *_: Any) -> Any:
    """Construct an object as the oldest protocols do."""
    inert: Any = cls if isinstance(cls, _Calls) else Inert
    return inert.__new__(inert)


class _Dtype:
    """A NumPy dtype of plain numbers."""

    def __init__(self, text: Any, *_: Any) -> None:
        if not isinstance(text, str) or not _PLAIN_DTYPE.fullmatch(text):
            raise pickle.UnpicklingError(f"its array is of dtype {text!r}")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


def _scalar(dtype: Any, data: Any) -> Any:
    """A NumPy scalar as a Python number."""
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, dtype.dtype, 1)[0].item()


def _makers(budget: Budget) -> Mapping[str, Any]:
    """Makers of tensors, containers and numbers by name; growing ones are charged."""

    def counted(make: Callable[..., Any], *kinds: type[Sized]) -> Callable[..., Any]:
        def made(*arguments: Any) -> Any:
            for argument in arguments:
                if not isinstance(argument, kinds):
                    raise pickle.UnpicklingError(f"it makes a {make.__name__} from a {type(argument).__name__}")
                budget.spend(_BYTES_OF_ELEMENT * len(argument))
            return make(*arguments)

        return made

    def encoded(text: Any, encoding: Any = "utf-8", *_: Any) -> bytes:
        if not isinstance(text, str) or encoding not in {"latin1", "utf-8", "ascii"}:
            raise SwellsError
        budget.spend(4 * len(text))
        return text.encode(encoding)

    def room(data: Any = b"", *_: Any) -> bytes:
        if not isinstance(data, (bytes, bytearray, str)):
            raise SwellsError
        budget.spend(4 * len(data))
        return data.encode("latin1") if isinstance(data, str) else bytes(data)

    lists = (list, tuple, set, frozenset, dict)
    return {
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
        "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
        "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
        "torch._utils._rebuild_from_type_v2": lambda *_: NoPlainTensor("of its own class"),
        "torch._tensor._rebuild_from_type_v2": lambda *_: NoPlainTensor("of its own class"),
        "torch.serialization._get_layout": lambda name: name,
        "torch.device": lambda *_: "device",
        "torch.Size": counted(tuple, *lists),
        "collections.OrderedDict": counted(collections.OrderedDict, *lists),
        "collections.Counter": counted(dict, dict),
        "collections.defaultdict": lambda *_: {},
        "collections.deque": lambda *_: Inert(),
        **{f"builtins.{kind.__name__}": counted(kind, *lists) for kind in (list, tuple, set, frozenset)},
        "builtins.dict": counted(dict, dict),
        "builtins.complex": complex,
        "builtins.object": Inert,
        "builtins.bytearray": room,
        "builtins.bytes": room,
        "builtins.slice": lambda *_: Inert(),
        "builtins.range": lambda *_: Inert(),
        "_codecs.encode": encoded,
        "copyreg._reconstructor": _reconstructed,
        "functools.partial": _Calls("Inert", (Inert,), {"origin": "functools.partial"}),
        "numpy.dtype": _Dtype,
        "numpy.core.multiarray.scalar": _scalar,
        "numpy._core.multiarray.scalar": _scalar,
    }
