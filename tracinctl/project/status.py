"""What there is of a target, what it is of, what is out of date, and which command comes next. Prints nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracinctl.engine.checkpoints.files import is_checkpoint
from tracinctl.errors import TracinctlError
from tracinctl.project.selection import recordings_by_material
from tracinctl.project.staleness import changes, recordings_of
from tracinctl.project.target import Target
from tracinctl.scores.caption import caption
from tracinctl.text import count

if TYPE_CHECKING:
    from tracinctl.scores.files.exclusion_list import ExclusionList


@dataclass(frozen=True)
class TargetStatus:
    """What there is of one material and frequency.

    Attributes:
        target: which.
        recordings: how many there are.
        pairs: how many pairs its pairs file holds, by split; empty without a file.
        checkpoints: how many there are, and when the last one was written.
        scores: what the scores are of, and when they were written; empty without scores.
        exclusions: what the list is of; empty without a list.
        decisions: what people decided; empty where nobody did.
        out_of_date: what is no longer of what it was made from, and why.
        next: the command that comes next.
    """

    target: Target
    recordings: int
    pairs: Mapping[str, int]
    checkpoints: str
    scores: str
    exclusions: str
    decisions: str
    out_of_date: Sequence[str]
    next: str

    def rows(self) -> list[tuple[str, str]]:
        """Name and text of what there is, in the order of the steps."""
        pairs = ", ".join(f"{number:,} {split}" for split, number in self.pairs.items())
        rows = [
            ("recordings", count(self.recordings, "recording") if self.recordings else ""),
            ("pairs", pairs),
            ("checkpoints", self.checkpoints),
            ("scores", self.scores),
            ("list", self.exclusions),
            ("decisions", self.decisions),
            *(("out of date", reason) for reason in self.out_of_date),
            ("next", self.next),
        ]
        return [(name, text or "none") for name, text in rows]

    def to_json(self) -> dict[str, Any]:
        """The status in plain values."""
        return {
            "material": self.target.material,
            "frequency": self.target.frequency,
            "recordings": self.recordings,
            "pairs": dict(self.pairs),
            "checkpoints": self.checkpoints or None,
            "scores": self.scores or None,
            "list": self.exclusions or None,
            "decisions": self.decisions or None,
            "out_of_date": list(self.out_of_date),
            "next": self.next,
        }


def status_of(target: Target) -> TargetStatus:
    """What there is of a target; what cannot be read is said in its place."""
    checkpoints = _checkpoints(target)
    scores, stale = _scores(target)
    exclusions, list_stale = _list(target)
    out_of_date = [*stale, *list_stale]
    return TargetStatus(
        target,
        _recordings(target),
        _pairs(target),
        f"{count(len(checkpoints), 'checkpoint')}, {_written(checkpoints[-1])}" if checkpoints else "",
        scores,
        exclusions,
        _decisions(target),
        out_of_date,
        _next(target, bool(checkpoints), scores=bool(scores), exclusions=bool(exclusions), stale=bool(out_of_date)),
    )


def _written(path: Path) -> str:
    return f"written {datetime.fromtimestamp(path.stat().st_mtime, tz=UTC).astimezone():%Y-%m-%d %H:%M}"


def _recordings(target: Target) -> int:
    if target.material not in recordings_by_material(target.project.data_root):
        return 0
    try:
        return len(recordings_of(target))
    except TracinctlError:
        return 0


def _pairs(target: Target) -> dict[str, int]:
    if not target.pairs_file.is_file():
        return {}
    from tracinctl.data.pairs_file import read_pairs_file

    try:
        frame = read_pairs_file(target.pairs_file).table.frame
    except TracinctlError:
        return {"unreadable": 0}
    return {
        str(split): int(number) for split, number in frame["split"].value_counts().sort_index(ascending=False).items()
    }


def _checkpoints(target: Target) -> list[Path]:
    try:
        return sorted(filter(is_checkpoint, target.checkpoints.iterdir()), key=lambda path: path.stat().st_mtime_ns)
    except OSError:
        return []


def _scores(target: Target) -> tuple[str, list[str]]:
    """What the scores are of, and what has changed since."""
    path = target.score_file
    if not path.is_file():
        return "", []
    from tracinctl.scores.files.open import open_scores

    try:
        source = open_scores(path)
    except TracinctlError as error:
        return "cannot be read", [f"scores: {error.message}"]
    about = caption(source.provenance) or "of unknown origin"
    said = f"{about}; {count(len(source.test_ids), 'test pair')}, {_written(path)}"
    return said, [f"scores: {change}" for change in changes(target, source.provenance)]


def _list(target: Target) -> tuple[str, list[str]]:
    """What the list is of, and why it is out of date."""
    path = target.list_file
    if not path.is_file():
        return "", []
    from tracinctl.scores.files.exclusion_list import read_exclusion_list

    try:
        listed = read_exclusion_list(path)
    except TracinctlError as error:
        return "cannot be read", [f"list: {error.message}"]
    edited = ", edited by hand" if listed.edited else ""
    said = f"{count(len(listed.ids), 'id')}{edited}, {_written(path)}{f'; {listed.rule}' if listed.rule else ''}"
    return said, _list_is_older(target, listed)


def _list_is_older(target: Target, listed: ExclusionList) -> list[str]:
    """Whether the list was made from other scores than those that are there."""
    from tracinctl.scores.files.open import scores_digest

    made_from = listed.comment("scores")
    if not made_from or not target.score_file.is_file():
        return []
    same = made_from == f"sha256 {scores_digest(target.score_file)}"
    return [] if same else ["list: the scores were made again since"]


def _decisions(target: Target) -> str:
    if not target.review_file.is_file():
        return ""
    from tracinctl.project.reviewed import note_of
    from tracinctl.review.decisions import read_decisions, settle

    try:
        return note_of(settle(read_decisions(target.review_file)))
    except TracinctlError as error:
        return error.message


def _next(target: Target, checkpoints: bool, *, scores: bool, exclusions: bool, stale: bool) -> str:
    if not checkpoints and not scores:
        return f"tracinctl train {target.command_flags}"
    if not scores or (stale and checkpoints):
        return f"tracinctl compute {target.command_flags}"
    if not exclusions or stale:
        return f"tracinctl exclude {target.command_flags}"
    return f"tracinctl workflow {target.command_flags} --retrain"
