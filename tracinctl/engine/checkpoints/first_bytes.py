"""Recognise a file by its first bytes: a checkpoint of torch or safetensors, or another kind of file."""

from __future__ import annotations

import codecs
import struct
from pathlib import Path
from typing import Final, Literal

from tracinctl.errors import CheckpointError

Format = Literal["safetensors", "archive", "pickle"]

_HEAD: Final = 512  # bytes that show the kind; the mark of a tar file is at 257
_TAR_MARK: Final = slice(257, 262)
_UNPACK: Final = "Unpack it and give the checkpoint inside."
_SAVE: Final = "Save a state dict: torch.save(model.state_dict(), ...) or safetensors."
_OTHERS: Final = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "Run `git lfs pull` in its repository."),
    (b"\x1f\x8b", "packed by gzip", _UNPACK),
    (b"BZh", "packed by bzip2", _UNPACK),
    (b"\xfd7zXZ\x00", "packed by xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x89HDF", "an HDF5 file, such as Keras writes", _SAVE),
    (b"\x93NUMPY", "a NumPy array", _SAVE),
    (b"GGUF", "a GGUF file of quantized weights, which have no gradient", _SAVE),
    (b"%PDF", "a PDF document", "Give the checkpoint itself."),
    (b"\x89PNG", "a picture", "Give the checkpoint itself."),
    (b"RIFF", "a recording", "Give the checkpoint itself."),
)
_PAGE: Final = (b"<!doctype html", b"<html", b"<?xml", b"<head", b"<!--")
_PICKLE: Final = b"\x80"
_MAGIC: Final = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")  # near the beginning of torch's old format
_LONGEST_HEADER: Final = 100_000_000  # bytes that safetensors allows
_SHOWN: Final = 40  # characters of a text to show


def format_of(path: Path, raw: bytes | bytearray) -> Format:
    """The format of a file's content.

    Raises:
        CheckpointError: the file is empty or not a checkpoint; the message names its kind.
    """
    head = bytes(raw[:_HEAD])
    if not raw:
        raise CheckpointError(
            f"{path} is empty", hint="Delete it or train again, because it was not written completely."
        )
    if _is_safetensors(raw):
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "archive"
    for mark, kind, hint in _OTHERS:
        if head.startswith(mark):
            raise not_a_checkpoint(path, kind, hint)
    if head[_TAR_MARK] == b"ustar":
        raise not_a_checkpoint(path, "a tar archive", _UNPACK)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(_PAGE):
        raise not_a_checkpoint(path, "a web page", "Download it again; the server sent a page, perhaps to sign in.")
    if beginning := _beginning_of_text(head):
        raise not_a_checkpoint(
            path, f"a text that begins {beginning!r}", "Give or download the file of weights itself."
        )
    if not head.strip(b"\0") and not any(raw):
        raise not_a_checkpoint(path, "only zeros", "Copy it again, because it was not written completely.")
    if not head.startswith(_PICKLE):
        raise not_a_checkpoint(path, "another kind of file", "Copy it again, or give a file of torch or safetensors.")
    if _MAGIC not in head:
        raise not_a_checkpoint(path, "a pickle that torch.save did not write", _SAVE)
    return "pickle"


def not_a_checkpoint(path: Path, kind: str, hint: str) -> CheckpointError:
    """The error that a file is something else than a checkpoint."""
    return CheckpointError(f"{path} is not a checkpoint but {kind}", hint=hint)


def _is_safetensors(raw: bytes | bytearray) -> bool:
    """Whether the file begins with the length of a JSON header and that header."""
    if len(raw) < 10:  # noqa: PLR2004 - a length and an empty header
        return False
    (length,) = struct.unpack_from("<Q", raw)
    return raw[8:9] == b"{" and 0 < length <= _LONGEST_HEADER


def _beginning_of_text(head: bytes) -> str:
    """The first line of a text file, shortened; empty for other files."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head).strip()
    except UnicodeDecodeError:
        return ""
    line = text.partition("\n")[0].strip()[:_SHOWN]
    return line if all(char.isprintable() or char.isspace() for char in text) else ""
