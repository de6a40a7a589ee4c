"""Structs in Thrift's compact protocol, in which Parquet files say what they hold."""

from __future__ import annotations

from typing import Any

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _BINARY, _LIST, _STRUCT = 1, 2, 3, 4, 5, 6, 8, 9, 12
_LONG_LIST = 15  # its size stands after it


def read_struct(data: bytes, at: int = 0) -> tuple[dict[int, Any], int]:
    """Fields by number, and where they end: numbers, bytes, lists and structs of them.

    Raises:
        ValueError, IndexError, RecursionError: there is none, or it is broken.
    """
    fields: dict[int, Any] = {}
    number = 0
    while data[at]:
        step, kind = data[at] >> 4, data[at] & 15
        at += 1
        if step:
            number += step
        else:
            number, at = _integer(data, at)
        if number in fields:
            raise ValueError("a field stands twice")
        if kind in {_TRUE, _FALSE}:
            fields[number] = kind == _TRUE
        else:
            fields[number], at = _value(data, at, kind)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind == _BYTE:
        return data[at], at + 1
    if kind in {_I16, _I32, _I64}:
        return _integer(data, at)
    if kind == _BINARY:
        size, at = _unsigned(data, at)
        return data[at : at + size], at + size
    if kind == _STRUCT:
        return read_struct(data, at)
    if kind != _LIST:
        raise ValueError("a field of an unknown kind")
    size, kind = data[at] >> 4, data[at] & 15
    at += 1
    if size == _LONG_LIST:
        size, at = _unsigned(data, at)
    values = []
    for _ in range(size):
        value, at = _value(data, at, kind)
        values.append(value)
    return values, at


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:  # noqa: PLR2004  the highest bit says that there is more
            return value, at


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """Signs stand in the lowest bit."""
    value, at = _unsigned(data, at)
    return (value >> 1) ^ -(value & 1), at
