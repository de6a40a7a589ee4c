"""Texts of items, in the file that an import of texts writes beside the pairs file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tracinctl.data.comparisons import cell_text
from tracinctl.data.tables import read_table
from tracinctl.errors import DataError


def items_file(pairs_file: Path) -> Path:
    """The file of the texts that a pairs file compares."""
    return pairs_file.with_name(f"{pairs_file.stem}_items.jsonl")


def read_item_texts(path: Path) -> dict[str, str]:
    """The text of each item by id, with its prompt before it."""
    table = read_table(path, "file of items")
    missing = [name for name in ("id", "text") if name not in table.frame]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}", hint="Write an item's id and text on each line, as JSON."
        )
    rows = table.frame.to_dict("records")
    return {cell_text(row["id"]): _with_prompt(row.get("prompt"), row["text"]) for row in rows}


def _with_prompt(prompt: Any, text: Any) -> str:
    before, after = _readable(prompt), _readable(text)
    # a whole conversation begins with its prompt
    return f"{before}\n\n{after}" if before and before not in after else after


def _readable(value: Any) -> str:
    """A text, or the messages of a conversation with their roles, one per line."""
    if isinstance(value, list):
        return "\n\n".join(
            f"{message.get('role', '')}: {message.get('content', '')}" if isinstance(message, dict) else str(message)
            for message in value
        )
    return cell_text(value)
