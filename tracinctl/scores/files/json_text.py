"""Read JSON one entry at a time, refusing repeated keys, and write JSON reproducibly."""

from __future__ import annotations

import codecs
import contextlib
import gc
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tracinctl.errors import ScoreFileError
from tracinctl.files import HEAD, other_kind

json_text = json.JSONEncoder(ensure_ascii=False).encode
"""JSON text with unescaped letters; ``UNENCODABLE`` escapes those that UTF-8 cannot encode."""

UNENCODABLE = "backslashreplace"
"""How to encode half a surrogate pair: its escape in Python is also that in JSON."""

AGAIN = "Compute the scores again: tracinctl compute"

_CHUNK = 1 << 18  # bytes per read
_BLANKS = re.compile(r"[ \t\n\r]*")
_LONGEST_WORD = 16  # letters at the end of a piece that may begin a longer word, such as -Infinity or 1.5e-


@contextlib.contextmanager
def opened(path: Path, hint: str = AGAIN) -> Iterator[BinaryIO]:
    """Open a file for reading; refuse folders and devices."""
    try:
        if path.exists() and not path.is_file():
            raise ScoreFileError(
                f"{path} is not a score file, but a {'folder' if path.is_dir() else 'device'}",
                hint="Give the file itself.",
            )
        with path.open("rb") as file:
            yield file
    except (OSError, ValueError) as error:  # a ValueError means a null character in the name
        raise ScoreFileError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}", hint=hint) from error


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Pause the garbage collector, whose searches take longer than making many small objects."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        twice = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
        raise ValueError(f"the key {twice[0]!r} occurs twice")
    return entries


def laid_out(value: Any, depth: int = 0) -> str:
    """The text of ``json.dumps(value, indent=2)`` with unescaped letters, but much faster for long lists."""
    inner, outer = "\n" + "  " * (depth + 1), "\n" + "  " * depth
    if isinstance(value, dict) and value:
        texts = [f"{json_text(key)}: {laid_out(entry, depth + 1)}" for key, entry in value.items()]
        return f"{{{inner}{f',{inner}'.join(texts)}{outer}}}"
    if isinstance(value, list) and value:
        if set(map(type, value)) <= {str, int, float, bool, type(None)}:
            # texts in JSON contain no line ends, so a line end can separate them
            joined = json.dumps(value, ensure_ascii=False, separators=(f",{inner}", ": "))
            return f"[{inner}{joined[1:-1]}{outer}]"
        return f"[{inner}{f',{inner}'.join(laid_out(entry, depth + 1) for entry in value)}{outer}]"
    return json_text(value)


def kind(value: Any) -> str:
    """The type of a JSON value in words."""
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


class JsonEntries:
    """Iterate over the entries of a JSON object in a file.

    ``digest`` is the SHA-256 of the bytes read so far, and of the whole file after the last entry.

    Raises:
        ScoreFileError: the file is missing, not UTF-8, not JSON or not an object, or a key occurs twice.
    """

    def __init__(self, path: Path, hint: str = AGAIN) -> None:
        self.digest = hashlib.sha256()
        self._path, self._hint = path, hint
        self._decoder = json.JSONDecoder(object_pairs_hook=_once)
        self._letters = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at = "", 0
        self._before = 0  # number of letters in the file before the text
        self._ended = False

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yield keys and values."""
        with opened(self._path, self._hint) as self._file:
            if other := other_kind(self._file.read(HEAD)):
                raise ScoreFileError(f"{self._path} is not JSON but {other[0]}", hint=other[1])
            self._file.seek(0)
            try:
                yield from self._entries()
            except UnicodeDecodeError as error:
                raise ScoreFileError(f"{self._path} is not UTF-8 text: {error.reason}", hint=self._hint) from error
            except RecursionError as error:
                message = f"{self._path} is nested too deeply to be a score file"
                raise ScoreFileError(message, hint=self._hint) from error
            except json.JSONDecodeError as error:
                where = f"near character {self._before + error.pos + 1:,}"
                raise ScoreFileError(f"{self._path} is not whole JSON: {error.msg} {where}", hint=self._hint) from error
            except ValueError as error:
                raise ScoreFileError(f"{self._path} is not whole JSON: {error}", hint=self._hint) from error

    def _entries(self) -> Iterator[tuple[str, Any]]:
        if not self._next():
            raise ScoreFileError(f"{self._path} is empty", hint=self._hint)
        if self._next() != "{":
            content = kind([] if self._next() == "[" else self._value())
            raise ScoreFileError(f"{self._path} holds {content}, not an object with entries by id", hint=self._hint)
        self._at += 1
        seen: set[str] = set()
        while self._next() != "}" or seen:
            if self._next() != '"':
                raise json.JSONDecodeError("Expecting a key in double quotes", self._text, self._at)
            key = str(self._value())
            if key in seen:
                raise ValueError(f"the key {key!r} occurs twice")
            seen.add(key)
            self._expect(":")
            yield key, self._value()
            if self._next() == "}":
                break
            self._expect(",")
        self._at += 1
        if self._next():
            raise json.JSONDecodeError("Extra data", self._text, self._at)

    def _next(self) -> str:
        """The next letter that is not a space; empty at the end of the file."""
        while True:
            self._at = _BLANKS.match(self._text, self._at).end()  # type: ignore[union-attr]  # it also matches nothing
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read():
                return ""

    def _expect(self, letter: str) -> None:
        if self._next() != letter:
            raise json.JSONDecodeError(f"Expecting {letter!r}", self._text, self._at)
        self._at += 1

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self._text) - _LONGEST_WORD or error.msg.startswith("Unterminated")
                if not cut or not self._read():
                    raise
                continue
            if end < len(self._text) or not self._read():  # a number at the end may continue
                self._at = end
                return value

    def _read(self) -> bool:
        """Read more, at least as much as is still held; false at the end of the file."""
        if self._ended:
            return False
        data = self._file.read(max(_CHUNK, len(self._text) - self._at))
        self.digest.update(data)
        self._ended = not data
        self._before += self._at
        self._text = self._text[self._at :] + self._letters.decode(data, final=self._ended)
        self._at = 0
        return not self._ended
