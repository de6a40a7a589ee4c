"""The state of a target: its files, their origin, what is out of date, and the next command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracinctl.engine.checkpoints.files import is_checkpoint
from tracinctl.engine.checkpoints.measures import measures_of
from tracinctl.errors import TracinctlError
from tracinctl.project.round_places import round_of
from tracinctl.project.selection import recordings_by_material
from tracinctl.project.staleness import changes, recordings_of
from tracinctl.project.target import Target
from tracinctl.scores.caption import caption
from tracinctl.text import count, natural_key

if TYPE_CHECKING:
    from tracinctl.scores.files.exclusion_list import ExclusionList


@dataclass(frozen=True)
class CheckpointStatus:
    """The checkpoints of a round: their number, the time of the last one, and its held-out accuracy."""

    number: int
    written: datetime
    held_out_accuracy: float | None = None
    untrained_accuracy: float | None = None

    def __str__(self) -> str:
        text = f"{count(self.number, 'checkpoint')}, written {_minute(self.written)}"
        if self.held_out_accuracy is None:
            return text
        before = "" if self.untrained_accuracy is None else f" ({self.untrained_accuracy:.1%} before training)"
        return f"{text}; held-out accuracy {self.held_out_accuracy:.1%}{before}"


@dataclass(frozen=True)
class ScoreStatus:
    """The scores of a round; ``about`` describes their origin, and is empty if they cannot be read."""

    file: Path
    written: datetime
    readable: bool
    about: str = ""
    method: str | None = None
    loss: str | None = None
    margin: float | None = None
    checkpoints: int | None = None
    test_pairs: int | None = None

    def __str__(self) -> str:
        if not self.readable:
            return "cannot be read"
        tests = count(self.test_pairs or 0, "test pair")
        return f"{self.about or 'of unknown origin'}; {tests}, written {_minute(self.written)}"


@dataclass(frozen=True)
class ListStatus:
    """The exclusion list of a round: the number of its ids, those from earlier rounds, and its rule."""

    file: Path
    written: datetime
    readable: bool
    ids: int = 0
    edited: bool = False
    rule: str = ""

    def __str__(self) -> str:
        if not self.readable:
            return "cannot be read"
        edited = ", edited by hand" if self.edited else ""
        rule = f"; {self.rule}" if self.rule else ""
        return f"{count(self.ids, 'id')}{edited}, written {_minute(self.written)}{rule}"


@dataclass(frozen=True)
class DecisionStatus:
    """The number of each kind of decision; ``about`` is the text."""

    readable: bool
    about: str
    left_out: int = 0
    kept: int = 0
    turned: int = 0
    relabelled: int = 0
    disputed: int = 0

    def __str__(self) -> str:
        return self.about


@dataclass(frozen=True)
class RoundStatus:
    """The state of one round; a part that does not exist is None.

    Attributes:
        target: the material and frequency, at this round.
        pairs: number of pairs in its pairs file, by split; empty without a file.
        checkpoints, scores, exclusions: the state of each.
        out_of_date: what is out of date, and why.
    """

    target: Target
    pairs: Mapping[str, int]
    checkpoints: CheckpointStatus | None
    scores: ScoreStatus | None
    exclusions: ListStatus | None
    out_of_date: Sequence[str]

    def rows(self) -> list[tuple[str, str]]:
        """Names and texts for the table, in the order of the steps."""
        pairs = ", ".join(f"{number:,} {split}" for split, number in self.pairs.items())
        parts = (("checkpoints", self.checkpoints), ("scores", self.scores), ("list", self.exclusions))
        return [("pairs", pairs or "none"), *((name, "none" if part is None else str(part)) for name, part in parts)]

    def to_json(self) -> dict[str, Any]:
        """The round for JSON."""
        return {
            "round": self.target.round,
            "pairs": dict(self.pairs),
            "checkpoints": _plain(self.checkpoints),
            "scores": _plain(self.scores),
            "list": _plain(self.exclusions),
            "out_of_date": list(self.out_of_date),
        }


@dataclass(frozen=True)
class TargetStatus:
    """The state of one material and frequency.

    Attributes:
        target: the material and frequency.
        recordings: number of recordings.
        rounds: the state of each round, at least of the first.
        decisions: people's decisions; None if there are none.
        next: the next command.
    """

    target: Target
    recordings: int
    rounds: Sequence[RoundStatus]
    decisions: DecisionStatus | None
    next: str

    def rows(self) -> list[tuple[str, str]]:
        """Names and texts for the table, in the order of the steps; each later round begins with its number."""
        rows = [("recordings", count(self.recordings, "recording") if self.recordings else "none")]
        for one in self.rounds:
            if len(self.rounds) > 1:
                rows.append((f"round {one.target.round}", ""))
            rows += one.rows()
            rows += [("out of date", reason) for reason in one.out_of_date]
        return [*rows, ("decisions", "none" if self.decisions is None else str(self.decisions)), ("next", self.next)]

    def to_json(self) -> dict[str, Any]:
        """The status for JSON: the first round, and all of them under ``rounds``."""
        rounds = [one.to_json() for one in self.rounds]
        return {
            "material": self.target.material,
            "frequency": self.target.frequency,
            "recordings": self.recordings,
            **rounds[0],
            "decisions": _plain(self.decisions),
            "rounds": rounds,
            "next": self.next,
            "warnings": [reason for one in self.rounds for reason in one.out_of_date],
        }


def _plain(part: Any) -> dict[str, Any] | None:
    """A part for JSON, with paths and times as texts."""
    if part is None:
        return None
    values = {name: value for name, value in asdict(part).items() if name != "about"}
    return {
        name: value.isoformat(timespec="seconds")
        if isinstance(value, datetime)
        else str(value)
        if isinstance(value, Path)
        else value
        for name, value in values.items()
    }


def _minute(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M}"


def _written(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC).astimezone()


def status_of(target: Target) -> TargetStatus:
    """The state of a target; unreadable parts say so."""
    rounds = [_round(one) for one in _rounds(target)]
    return TargetStatus(target, _recordings(target), rounds, _decisions(target), _next(rounds))


def _rounds(target: Target) -> Iterator[Target]:
    """The target at the first round, and at each later round with files."""
    yield target
    project = target.project
    if target.round > 1:
        return
    numbers = set()
    for place in (project.checkpoint_dir, project.metadata_dir, project.output_dir):
        if place.is_dir():
            numbers |= {round_of(folder) for folder in place.iterdir() if folder.is_dir()}
    for number in sorted(numbers - {1}):
        later = target.at_round(number)
        if later.own_checkpoints.is_dir() or later.score_file.is_file() or later.list_file.is_file():
            yield later


def _round(target: Target) -> RoundStatus:
    scores, stale = _scores(target)
    exclusions, list_stale = _list(target)
    out_of_date = [*_trained_with_another_list(target), *stale, *list_stale]
    return RoundStatus(target, _pairs(target), _checkpoints(target), scores, exclusions, out_of_date)


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


def _checkpoints(target: Target) -> CheckpointStatus | None:
    try:
        paths = sorted(filter(is_checkpoint, target.checkpoints.iterdir()), key=lambda path: natural_key(path.name))
    except OSError:
        return None
    if not paths:
        return None
    measures = measures_of(paths[-1])
    written = max(map(_written, paths))
    return CheckpointStatus(len(paths), written, measures.held_out_accuracy, measures.untrained_accuracy)


def _trained_with_another_list(target: Target) -> list[str]:
    """A note if a later round left out other ids than the previous round's list has now."""
    before = target.at_round(target.round - 1).list_file
    if target.round == 1 or not before.is_file() or not target.left_out_file.is_file():
        return []
    from tracinctl.scores.files.exclusion_list import read_exclusion_list

    try:
        listed, left_out = (set(read_exclusion_list(path).ids) for path in (before, target.left_out_file))
    except TracinctlError:
        return []
    # people's decisions may have left out more than the list
    same = listed == left_out or (listed < left_out and target.review_file.is_file())
    return [] if same else [f"checkpoints: the list of round {target.round - 1} changed since they were trained"]


def _scores(target: Target) -> tuple[ScoreStatus | None, list[str]]:
    """The state of the scores, and what has changed since."""
    path = target.score_file
    if not path.is_file():
        return None, []
    from tracinctl.scores.files.open import open_scores

    try:
        source = open_scores(path)
    except TracinctlError as error:
        return ScoreStatus(path, _written(path), readable=False), [f"scores: {error.message}"]
    made = source.provenance
    checkpoints = made.get("checkpoints")
    status = ScoreStatus(
        path,
        _written(path),
        readable=True,
        about=caption(made),
        method=made.get("method"),
        loss=made.get("loss"),
        margin=made.get("margin"),
        checkpoints=len(checkpoints) if isinstance(checkpoints, (list, tuple)) else None,
        test_pairs=len(source.test_ids),
    )
    return status, [f"scores: {change}" for change in changes(target, made)]


def _list(target: Target) -> tuple[ListStatus | None, list[str]]:
    """The state of the list, and why it is out of date."""
    path = target.list_file
    if not path.is_file():
        return None, []
    from tracinctl.scores.files.exclusion_list import read_exclusion_list

    try:
        listed = read_exclusion_list(path)
    except TracinctlError as error:
        return ListStatus(path, _written(path), readable=False), [f"list: {error.message}"]
    status = ListStatus(path, _written(path), True, len(listed.ids), listed.edited, listed.rule)
    return status, _list_is_older(target, listed)


def _list_is_older(target: Target, listed: ExclusionList) -> list[str]:
    """A note if the list was made from other scores."""
    from tracinctl.scores.files.open import scores_digest

    made_from = listed.comment("scores")
    if not made_from or not target.score_file.is_file():
        return []
    same = made_from == f"sha256 {scores_digest(target.score_file)}"
    return [] if same else ["list: the scores were made again since"]


def _decisions(target: Target) -> DecisionStatus | None:
    if not target.review_file.is_file():
        return None
    from tracinctl.project.reviewed import note_of
    from tracinctl.review.decisions import KEEP, LEAVE_OUT, TURN, read_decisions, settle

    try:
        verdicts = settle(read_decisions(target.review_file))
    except TracinctlError as error:
        return DecisionStatus(readable=False, about=error.message)
    left_out, kept, turned = (len(verdicts.ids(decision)) for decision in (LEAVE_OUT, KEEP, TURN))
    relabelled, disputed = len(verdicts.relabelled()), len(verdicts.disputed)
    return DecisionStatus(True, note_of(verdicts), left_out, kept, turned, relabelled, disputed)


def _next(rounds: Sequence[RoundStatus]) -> str:
    """The next command: for the first round that is incomplete or out of date, else after the last round."""
    for one in rounds:
        flags, before = one.target.command_flags, one.target.at_round(1)
        stale = {reason.partition(":")[0] for reason in one.out_of_date}
        given = f" --exclusions-file {_shown(_list_before(one))}" if one.target != before else ""
        places = f" --checkpoint-dir {_shown(one.target.project.checkpoint_dir)}" if one.target != before else ""
        if one.scores is None and one.checkpoints is None:
            return f"tracinctl train {flags}{given}"
        if "checkpoints" in stale:
            return f"tracinctl train {flags}{given} --force"
        if one.checkpoints is not None and (one.scores is None or "scores" in stale):
            return f"tracinctl {'workflow' if places else 'compute'} {flags}{places}"
        if one.exclusions is None or stale:
            scores = f" --metadata-dir {_shown(one.target.project.metadata_dir)}" if places else ""
            # a list that a person edited is only replaced by force, so suggest a dry run
            edited = one.exclusions is not None and one.exclusions.edited
            return f"tracinctl exclude {flags}{scores}{' --dry-run' if edited else ''}"
    return _next_round(rounds[-1])


def _next_round(last: RoundStatus) -> str:
    """The training without the last list, or a retraining to find a better list if that one adds nothing."""
    flags = last.target.command_flags
    if last.exclusions is not None and last.exclusions.ids > _left_out(last.target):
        return f"tracinctl train {flags} --exclusions-file {_shown(last.exclusions.file)}"
    return f"tracinctl workflow {flags} --retrain"


def _left_out(target: Target) -> int:
    """Number of ids that the training of this round left out."""
    from tracinctl.scores.files.exclusion_list import read_exclusion_list

    return len(read_exclusion_list(target.left_out_file).ids) if target.left_out_file.is_file() else 0


def _list_before(one: RoundStatus) -> Path:
    return one.target.at_round(one.target.round - 1).list_file


def _shown(path: Path) -> str:
    """A path for a command line, relative to the current folder if it is inside."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
