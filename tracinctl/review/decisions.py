"""A person's decisions on suspects, in ``<material>_<frequency>_review.csv``: id, decision, note, who, when.

The file has one row per id and person, sorted by id, so that git can merge two people's decisions. Each decision
replaces the whole file, so that a crash loses at most the current decision.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from tracinctl.errors import ReviewError
from tracinctl.files import locked, write_text_atomic
from tracinctl.text import csv_text, natural_key

LEAVE_OUT, KEEP, TURN, UNSURE = "leave_out", "keep", "turn", "unsure"
RELABEL = "relabel:"
"""Prefix of the new class in a decision on an item."""

ERRORS = (LEAVE_OUT, TURN, RELABEL)
"""Decisions that the suspect is an error."""

_CONFLICT = re.compile(r"^(<{7}|={7}|>{7})", re.MULTILINE)


@dataclass(frozen=True)
class Decision:
    """A person's decision.

    Attributes:
        id: id of a pair or an item.
        decision: ``leave_out``, ``keep``, ``turn``, ``unsure``, or ``relabel:`` with the new class.
        note: free text.
        who: the person's name.
        when: time in ISO 8601, UTC.
    """

    id: str
    decision: str
    note: str = ""
    who: str = ""
    when: str = ""

    @property
    def is_error(self) -> bool | None:
        """Whether the person calls the suspect an error; None if they are unsure."""
        return None if self.decision == UNSURE else self.decision.startswith(ERRORS)


COLUMNS = tuple(field.name for field in fields(Decision))


@dataclass(frozen=True)
class Verdicts:
    """The decisions of all people together.

    Attributes:
        agreed: decisions by id that everyone agrees on; other decisions outweigh ``unsure``.
        disputed: decisions by id that people disagree on.
    """

    agreed: Mapping[str, str]
    disputed: Mapping[str, tuple[Decision, ...]]

    def ids(self, decision: str) -> list[str]:
        """Ids with this decision, in natural order."""
        return sorted((name for name, agreed in self.agreed.items() if agreed == decision), key=natural_key)

    def relabelled(self) -> dict[str, str]:
        """The new classes by item id."""
        return {
            name: decision.removeprefix(RELABEL)
            for name, decision in self.agreed.items()
            if decision.startswith(RELABEL)
        }


def spoken(decision: str) -> str:
    """A decision in words."""
    if decision == TURN:
        return "turn round"
    return f"class {decision.removeprefix(RELABEL)}" if decision.startswith(RELABEL) else decision.replace("_", " ")


def check_decision(decision: str) -> None:
    """Raise ReviewError if a text is not a decision."""
    has_class = decision.startswith(RELABEL) and decision != RELABEL
    if not has_class and decision not in {LEAVE_OUT, KEEP, TURN, UNSURE}:
        raise ReviewError(
            f"unknown decision {decision!r}", hint="Use leave_out, keep, turn, unsure or relabel:<class>."
        )


def read_decisions(path: Path) -> list[Decision]:
    """All decisions in a file, in order; empty without a file.

    Raises:
        ReviewError: the file cannot be read, has a merge conflict, or a row is not a decision. The message names path
        and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ReviewError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}",
            hint="Check its permissions, and save it as UTF-8.",
        ) from error
    if conflict := _CONFLICT.search(text):
        line = text.count("\n", 0, conflict.start()) + 1
        raise ReviewError(f"{path}, line {line}: a merge conflict", hint="Keep the rows of both sides.")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        if not {"id", "decision"} <= set(reader.fieldnames or ()):
            raise ReviewError(f"{path}: no columns id and decision", hint=f"Write the first line {','.join(COLUMNS)}.")
        return [_decision(row, path, reader.line_num) for row in reader]
    except csv.Error as error:
        # line_num is that of the last readable row
        raise ReviewError(f"{path}, line {reader.line_num + 1}: {error}", hint="Correct the line.") from error


def _decision(row: Mapping[str, str | None], path: Path, line: int) -> Decision:
    values = {name: row.get(name) or "" for name in COLUMNS}
    try:
        check_decision(values["decision"])
    except ReviewError as error:
        raise ReviewError(f"{path}, line {line}: {error.message}", hint=error.hint) from error
    return Decision(**values)


def write_decisions(path: Path, decisions: Iterable[Decision]) -> list[Decision]:
    """Write the last decision of each id and person; the file is complete or absent. Returns them.

    Raises:
        TracinctlError: the file cannot be written.
    """
    last = {(decision.id, decision.who): decision for decision in decisions}
    rows = sorted(last.values(), key=lambda decision: (natural_key(decision.id), decision.id, decision.who))
    write_text_atomic(path, csv_text(COLUMNS, map(astuple, rows)))
    return rows


def record(path: Path, decisions: Iterable[Decision], *, withdrawn: Iterable[tuple[str, str]] = ()) -> list[Decision]:
    """Add decisions to a file and remove those of ``withdrawn``, (id, person). Other people's rows stay.

    Returns:
        All decisions in the file.

    Raises:
        TracinctlError: the file cannot be read or written.
    """
    gone = set(withdrawn)
    with locked(path):
        others = [decision for decision in read_decisions(path) if (decision.id, decision.who) not in gone]
        return write_decisions(path, [*others, *decisions])


def merge(path: Path, decisions: Iterable[Decision]) -> Verdicts:
    """Add the decisions of another file; for each id and person, the later one counts.

    Raises:
        TracinctlError: the file cannot be read or written.
    """
    with locked(path):
        # ISO times in UTC sort by time; at equal times, the other file's decisions come last
        merged = sorted([*read_decisions(path), *decisions], key=lambda decision: decision.when)
        write_decisions(path, merged)
        return settle(read_decisions(path))


def by_id(decisions: Iterable[Decision]) -> dict[str, list[Decision]]:
    """The decisions by id, one per person; the last row counts."""
    result: dict[str, list[Decision]] = {}
    for decision in {(decision.id, decision.who): decision for decision in decisions}.values():
        result.setdefault(decision.id, []).append(decision)
    return result


def settle(decisions: Iterable[Decision]) -> Verdicts:
    """The agreed and the disputed decisions; the last row of each id and person counts."""
    agreed: dict[str, str] = {}
    disputed: dict[str, tuple[Decision, ...]] = {}
    for name, of_all in by_id(decisions).items():
        sure = {decision.decision for decision in of_all if decision.decision != UNSURE}
        if len(sure) > 1:
            disputed[name] = tuple(of_all)
        else:
            agreed[name] = sure.pop() if sure else UNSURE
    return Verdicts(agreed, disputed)
