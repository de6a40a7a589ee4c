"""JSON read with every key once and written the same way every time."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracinctl.errors import ScoreFileError

_ENCODER = json.JSONEncoder(ensure_ascii=False)

AGAIN = "compute the scores again: tracinctl compute"


def read_json(path: Path, hint: str = AGAIN) -> Any:
    """The content of a JSON file, every key once.

    Raises:
        ScoreFileError: the file is missing, or is not JSON; ``hint`` says what to do then.
    """
    return parse_json(read_bytes(path, hint), path, hint)


def read_bytes(path: Path, hint: str = AGAIN) -> bytes:
    """The bytes of a file.

    Raises:
        ScoreFileError: the file is missing or cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise ScoreFileError(f"{path} is no file of scores, but a {'folder' if path.is_dir() else 'device'}")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a ValueError is a name with a null character in it
        raise ScoreFileError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}", hint=hint) from error


def parse_json(data: bytes, path: Path, hint: str = AGAIN) -> Any:
    """The content of a JSON file, every key once.

    Raises:
        ScoreFileError: it is not JSON.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScoreFileError(f"{path} is not UTF-8 text: {error.reason}", hint=hint) from error
    if not text.strip():
        raise ScoreFileError(f"{path} is empty", hint=hint)
    try:
        with uncollected():
            return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ScoreFileError(f"{path} is nested too deeply to be a score file", hint=hint) from error
    except ValueError as error:
        raise ScoreFileError(f"{path} is not whole JSON: {error}", hint=hint) from error


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No search for garbage while a great many small objects are made that are none: it takes longer than they do."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # add gives None, which is false
        raise ValueError(f"the key {key!r} stands there twice")
    return found


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON text with letters as they are, or escaped where UTF-8 cannot hold them (half a surrogate pair)."""
    text = _ENCODER.encode(value) if indent is None else json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=True, indent=indent)
    return text


def laid_out(value: Any, depth: int = 0) -> str:
    """The text of ``json_text(value, indent=2)``, many times as quickly where lists of plain values are long."""
    inner, outer = "\n" + "  " * (depth + 1), "\n" + "  " * depth
    if isinstance(value, dict) and value:
        texts = [f"{json_text(key)}: {laid_out(each, depth + 1)}" for key, each in value.items()]
        return f"{{{inner}{f',{inner}'.join(texts)}{outer}}}"
    if isinstance(value, list) and value:
        if set(map(type, value)) <= {str, int, float, bool, type(None)}:
            # a text in JSON holds no line ends of its own, so they can be what stands between
            joined = json.dumps(value, ensure_ascii=False, separators=(f",{inner}", ": "))
            if not joined.isascii():
                joined = f",{inner}".join(map(json_text, value)).join("[]")
            return f"[{inner}{joined[1:-1]}{outer}]"
        return f"[{inner}{f',{inner}'.join(laid_out(each, depth + 1) for each in value)}{outer}]"
    return json_text(value)


def kind(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)
