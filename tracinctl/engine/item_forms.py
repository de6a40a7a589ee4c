"""The forms of items (see ``Samples``), each read as rows: row k is the input of item k.

Documented forms are read as documented, and everything else is refused. Nothing is reinterpreted.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
import torch

ItemInput = Any
"""A tensor, or tensors by the name or number of the model's argument."""

WANTED = (
    "Give each item as a tensor, an array, a list of numbers, a mapping of these, or a tuple of the model's arguments; "
    "see tracinctl.Samples."
)

_NUMBERS = "biufc"  # kinds of numpy's numbers


class FormError(Exception):
    """An input has an unsupported form. The message says why."""


def of_each(function: Callable[[torch.Tensor], torch.Tensor], inputs: ItemInput) -> ItemInput:
    """Apply a function to a tensor, or to each tensor of a mapping."""
    if isinstance(inputs, Mapping):
        return {name: function(value) for name, value in inputs.items()}
    return function(inputs)


class Rows(ABC):
    """Inputs of items, by number.

    Attributes:
        in_memory: whether reading a row again costs nothing.
    """

    in_memory = True

    @abstractmethod
    def __len__(self) -> int:
        """Number of items."""

    @abstractmethod
    def input(self, index: int) -> ItemInput:
        """The input of one item, without the dimension of items.

        Raises:
            FormError: the form is not supported.
        """

    def read(self, index: int) -> tuple[ItemInput, bool]:
        """The input of one item, and whether a label beside it was left out."""
        return self.input(index), False

    @property
    def together(self) -> ItemInput | None:
        """The inputs of all items, items first, or None if they are not the rows of tensors in memory."""
        return None


class _TensorRows(Rows):
    """A tensor, items first."""

    def __init__(self, tensor: torch.Tensor) -> None:
        if tensor.is_quantized or tensor.device.type == "meta":
            raise FormError(f"a tensor of {tensor.dtype} on {tensor.device} has no numbers that a model accepts")
        if not tensor.dim():
            raise FormError("a tensor without dimensions has no rows")
        self.tensor = tensor.detach()

    def __len__(self) -> int:
        return len(self.tensor)

    def input(self, index: int) -> ItemInput:
        row = self.tensor[index]
        return row if row.layout == torch.strided else row.to_dense()

    @property
    def together(self) -> ItemInput | None:
        return self.tensor if self.tensor.layout == torch.strided else None


class _SparseRows(Rows):
    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix.tocsr()

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def input(self, index: int) -> ItemInput:
        return tensor_of(self.matrix[[index]].toarray()[0])


class _ListRows(Rows):
    """A list of items. Plain numbers have one type in all items, as in an array."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        types = {_type_of_plain(value) for value in values} - {None}
        self._dtype = np.result_type(*types) if types else None

    def __len__(self) -> int:
        return len(self.values)

    def input(self, index: int) -> ItemInput:
        value = self.values[index]
        if not _is_plain(value):
            return arguments_of(value) if isinstance(value, tuple) else item_of(value)
        parsed = item_of(value)
        return parsed if self._dtype is None else tensor_of(np.asarray(parsed).astype(self._dtype))


class _MappingRows(Rows):
    """Rows by the name of the model's arguments."""

    def __init__(self, columns: Mapping[Any, Any]) -> None:
        _check_names(columns)
        self.columns = {name: rows_of(values) for name, values in columns.items()}
        for name, rows in self.columns.items():
            if not rows.in_memory or isinstance(rows, _MappingRows):
                raise FormError(f"`{name}` is a {type(columns[name]).__name__}, not a tensor, an array or a list")
        lengths = {len(rows) for rows in self.columns.values()}
        if len(lengths) != 1:
            counts = ", ".join(f"`{name}` has {len(rows)}" for name, rows in self.columns.items())
            raise FormError(f"the columns of a mapping must have the same number of items: {counts}")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def input(self, index: int) -> ItemInput:
        return {name: _one_argument(name, rows.input(index)) for name, rows in self.columns.items()}

    @property
    def together(self) -> ItemInput | None:
        columns = {name: rows.together for name, rows in self.columns.items()}
        return None if any(column is None for column in columns.values()) else columns


class _DatasetRows(Rows):
    """A torch ``Dataset``, or anything else with items by number."""

    in_memory = False

    def __init__(self, dataset: Any) -> None:
        if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            raise FormError(f"a {type(dataset).__name__} cannot be indexed by number, or has no length")
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int) -> tuple[ItemInput, bool]:
        value = self.dataset[index]
        pair = isinstance(value, tuple) and len(value) == 2  # noqa: PLR2004  an input and a label
        labelled = pair and _is_number(value[1])
        value = value[0] if labelled else value
        return (arguments_of(value) if isinstance(value, tuple) else item_of(value)), labelled

    def input(self, index: int) -> ItemInput:
        return self.read(index)[0]


def rows_of(inputs: Any) -> Rows:
    """The rows of inputs in any documented form of ``Samples``.

    Raises:
        FormError: the form is another one.
    """
    if isinstance(inputs, torch.Tensor):
        return _TensorRows(inputs) if not inputs.is_nested else _ListRows(inputs.unbind())
    if isinstance(inputs, np.ndarray):
        return _rows_of_array(inputs)
    if isinstance(inputs, Mapping):
        return _MappingRows(inputs)
    if _is_of(inputs, "pandas", "DataFrame"):
        return _rows_of_array(_numbers_of_frame(inputs))
    if _is_of(inputs, "pandas", "Series"):
        return _rows_of_array(inputs.to_numpy())
    if hasattr(inputs, "tocsr"):
        return _SparseRows(inputs)
    if isinstance(inputs, (str, bytes, bytearray)):
        raise FormError(f"a {type(inputs).__name__} holds no items")
    if isinstance(inputs, Sequence) and not isinstance(inputs, torch.utils.data.Dataset):
        return _ListRows(inputs)
    if isinstance(inputs, torch.utils.data.DataLoader):
        raise FormError("a DataLoader returns batches; give its dataset instead")
    return _DatasetRows(inputs)


def item_of(value: Any) -> ItemInput:
    """The input of one item: a tensor, or tensors by name.

    Raises:
        FormError: the form is not supported.
    """
    if isinstance(value, Mapping):
        _check_names(value)
        return {name: _argument(name, part) for name, part in value.items()}
    if isinstance(value, torch.Tensor):
        if value.is_nested or value.is_quantized or value.device.type == "meta":
            raise FormError("a nested, quantised or empty tensor cannot be the input of an item")
        return value.detach() if value.layout == torch.strided else value.detach().to_dense()
    if _is_of(value, "pandas", "Series"):
        value = value.to_numpy()
    if isinstance(value, (np.ndarray, np.generic)) or _is_plain(value):
        return tensor_of(value)
    if hasattr(value, "toarray"):
        return tensor_of(value.toarray())
    raise FormError(_why_none(value))


def arguments_of(values: tuple[Any, ...]) -> ItemInput:
    """The positional arguments of the model, by number; a single one is the input itself.

    Raises:
        FormError: an argument is a single number, or its form is not supported.
    """
    if len(values) == 1:
        return item_of(values[0])
    for number, value in enumerate(values):
        if _is_number(value):
            raise FormError(
                f"part {number + 1} of its tuple of {len(values)} is a single number, a label or an argument; "
                "give labels as Samples(labels=...), and arguments as tensors of shape (1,)"
            )
    if not values:
        raise FormError("an empty tuple has no input")
    return {number: _argument(number + 1, value) for number, value in enumerate(values)}


def tensor_of(value: Any) -> torch.Tensor:
    """A tensor from an array, a number, or a list of numbers.

    Raises:
        FormError: the value has other content, or its parts differ in length.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise FormError("a list of lists of different lengths cannot be the input of an item") from error
    if np.ma.is_masked(value):
        raise FormError("an array has masked numbers; fill them first")
    if array.dtype.kind not in _NUMBERS:
        raise FormError(f"it holds {_kind_of(array)}, not numbers")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    shared = array.flags.writeable and all(stride >= 0 for stride in array.strides)
    try:
        return torch.from_numpy(array if shared and array.ndim else array.copy())
    except TypeError as error:
        raise FormError(f"torch has no numbers of type {array.dtype}") from error


def _rows_of_array(array: np.ndarray[Any, Any]) -> Rows:
    plain = np.asarray(array)
    if np.ma.is_masked(array):
        raise FormError("an array has masked numbers; fill them first")
    if not plain.ndim:
        raise FormError("an array without dimensions has no rows")
    if plain.dtype.kind not in f"{_NUMBERS}O":
        raise FormError(f"the array holds {_kind_of(plain)}, not numbers")
    # copy a row that torch cannot share, and not the whole array, which may be in a file
    shared = plain.flags.writeable and plain.dtype.isnative and all(stride >= 0 for stride in plain.strides)
    return _TensorRows(tensor_of(plain)) if shared and plain.dtype.kind != "O" else _ListRows(list(plain))


def _numbers_of_frame(frame: Any) -> np.ndarray[Any, Any]:
    for name, dtype in frame.dtypes.items():
        if getattr(dtype, "kind", "O") not in _NUMBERS or frame[name].isna().to_numpy().any():
            raise FormError(f"column {name!r} of the frame has {dtype} or missing values, not only numbers")
    # columns that allow missing values would give an array of objects
    kinds = [getattr(dtype, "numpy_dtype", dtype) for dtype in frame.dtypes]
    return np.asarray(frame.to_numpy(dtype=np.result_type(*kinds) if kinds else None))


def _check_names(mapping: Mapping[Any, Any]) -> None:
    if not mapping or not all(isinstance(name, str) for name in mapping):
        raise FormError(f"the keys of a mapping must be names of the model's arguments, not {list(mapping)[:3]}")


def _argument(name: str | int, value: Any) -> torch.Tensor:
    try:
        return _one_argument(name, item_of(value))
    except FormError as error:
        raise FormError(f"argument {name!r}: {error}") from error


def _one_argument(name: str | int, value: ItemInput) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        raise FormError(f"`{name}` is a mapping inside a mapping")
    return value


def _is_of(value: Any, module: str, name: str) -> bool:
    """Whether a value has a class of a library that may not be imported."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def _is_number(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return not value.dim()
    return isinstance(value, (Number, np.generic)) or (isinstance(value, np.ndarray) and not value.ndim)


def _is_plain(value: Any) -> bool:
    """Whether a value is a number, or a nested list of numbers."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, (Number, np.generic))


def _type_of_plain(value: Any) -> np.dtype[Any] | None:
    """The type of a number or a nested list of numbers; None for anything else, and for lists of different lengths."""
    try:
        dtype = np.asarray(value).dtype if _is_plain(value) else None
    except ValueError:
        return None
    return dtype if dtype is not None and dtype.kind in _NUMBERS else None


def _kind_of(array: np.ndarray[Any, Any]) -> str:
    return "texts" if array.dtype.kind in "US" else "objects" if array.dtype.kind == "O" else str(array.dtype)


def _why_none(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        odd = next(part for part in value if not _is_plain(part))
        return f"it is a {type(value).__name__} with a {type(odd).__name__} in it, not only numbers"
    library = type(value).__module__.partition(".")[0]
    return f"it is a {library}.{type(value).__name__}".replace("builtins.", "")
