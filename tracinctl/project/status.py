"""The state of a target: its files, their origin, what is out of date, and the next command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tracinctl.data.pairs_file import read_pairs_file
from tracinctl.engine.checkpoints.files import is_checkpoint
from tracinctl.engine.checkpoints.measures import held_out_accuracies
from tracinctl.errors import TracinctlError
from tracinctl.project.reviewed import note_of
from tracinctl.project.round_places import round_of
from tracinctl.project.staleness import changes, recordings_of
from tracinctl.project.target import Target
from tracinctl.review.decisions import KEEP, LEAVE_OUT, TURN, read_decisions, settle
from tracinctl.scores.caption import caption
from tracinctl.scores.files.exclusion_list import read_exclusion_list
from tracinctl.scores.files.open import open_scores, scores_digest
from tracinctl.text import count, natural_key


@dataclass(frozen=True)
class Part:
    """The state of one kind of file.

    Attributes:
        text: the state on one line.
        values: the state for JSON; None without a file.
    """

    text: str = "none"
    values: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class RoundStatus:
    """The state of one round.

    Attributes:
        parts: pairs, checkpoints, scores and list, in the order of the steps.
        out_of_date: what is out of date, and why.
    """

    target: Target
    parts: Mapping[str, Part]
    out_of_date: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """The round for JSON."""
        parts = {name: part.values for name, part in self.parts.items()}
        return {"round": self.target.round, **parts, "out_of_date": list(self.out_of_date)}


@dataclass(frozen=True)
class TargetStatus:
    """The state of one material and frequency.

    Attributes:
        recordings: number of recordings.
        unpaired: number of recordings in no pair of the pairs file.
        rounds: the state of each round, at least of the first.
        next: the next command.
    """

    target: Target
    recordings: int
    unpaired: int
    rounds: Sequence[RoundStatus]
    decisions: Part
    next: str

    def rows(self) -> list[tuple[str, str]]:
        """Names and texts for the table, in the order of the steps; each later round begins with its number."""
        unpaired = f", {self.unpaired:,} in no pair" if self.unpaired else ""
        rows = [("recordings", f"{count(self.recordings, 'recording')}{unpaired}" if self.recordings else "none")]
        for status in self.rounds:
            if len(self.rounds) > 1:
                rows.append((f"round {status.target.round}", ""))
            rows += [(name, part.text) for name, part in status.parts.items()]
            rows += [("out of date", reason) for reason in status.out_of_date]
        return [*rows, ("decisions", self.decisions.text), ("next", self.next)]

    def to_json(self) -> dict[str, Any]:
        """The status for JSON: the first round, and all of them under ``rounds``."""
        rounds = [status.to_json() for status in self.rounds]
        return {
            "material": self.target.material,
            "frequency": self.target.frequency,
            "recordings": self.recordings,
            **rounds[0],
            "decisions": self.decisions.values,
            "rounds": rounds,
            "next": self.next,
            "warnings": [reason for status in self.rounds for reason in status.out_of_date],
        }


def status_of(target: Target, settings: Mapping[str, Any], *, own_training: bool = False) -> TargetStatus:
    """The state of a target; unreadable parts say so.

    ``settings`` are those that the settings file gives to ``tracinctl compute``, by name. With ``own_training``, the
    user's own program trains.
    """
    rounds = [_round(place, settings) for place in _rounds(target)]
    names = _recordings(target)
    # the built-in ranker trains on recordings, so scores or checkpoints without any come from another program
    elsewhere = not names and any(status.parts[part].values for status in rounds for part in ("scores", "checkpoints"))
    following = _next(rounds, own_training or elsewhere, trainable=bool(names) or own_training)
    return TargetStatus(target, len(names), _unpaired(target, names), rounds, _decisions(target), following)


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


def _round(target: Target, settings: Mapping[str, Any]) -> RoundStatus:
    scores, stale = _scores(target, settings)
    exclusions, list_stale = _list(target)
    parts = {"pairs": _pairs(target), "checkpoints": _checkpoints(target), "scores": scores, "list": exclusions}
    return RoundStatus(target, parts, [*_trained_with_another_list(target), *stale, *list_stale])


def _recordings(target: Target) -> set[str]:
    """The ids of the recordings."""
    try:
        return set(recordings_of(target))
    except TracinctlError:
        return set()


def _unpaired(target: Target, names: set[str]) -> int:
    """The number of recordings in no pair of the pairs file; 0 without a readable file."""
    try:
        frame = read_pairs_file(target.pairs_file).table.frame
    except TracinctlError:
        return 0
    return len(names - {*frame["id1"], *frame["id2"]})


def _pairs(target: Target) -> Part:
    """The number of pairs in the pairs file, by split."""
    numbers = {}
    if target.pairs_file.is_file():
        try:
            splits = read_pairs_file(target.pairs_file).table.frame["split"].value_counts().sort_index(ascending=False)
            numbers = {str(split): int(number) for split, number in splits.items()}
        except TracinctlError:
            numbers = {"unreadable": 0}
    return Part(", ".join(f"{number:,} {split}" for split, number in numbers.items()) or "none", numbers)


def _written(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC).astimezone()


def _in_text(written: datetime) -> str:
    return f"written {written:%Y-%m-%d %H:%M}"


def _in_json(written: datetime) -> str:
    return written.isoformat(timespec="seconds")


def _unread(path: Path) -> dict[str, Any]:
    """The values of a file that is not read, or cannot be read."""
    return {"file": str(path), "written": _in_json(_written(path)), "readable": False}


def _checkpoints(target: Target) -> Part:
    try:
        paths = sorted(filter(is_checkpoint, target.checkpoints.iterdir()), key=lambda path: natural_key(path.name))
    except OSError:
        return Part()
    if not paths:
        return Part()
    written = max(map(_written, paths))
    accuracy, untrained = held_out_accuracies(paths[-1])
    text = f"{count(len(paths), 'checkpoint')}, {_in_text(written)}"
    if accuracy is not None:
        before = "" if untrained is None else f" ({untrained:.1%} before training)"
        text += f"; held-out accuracy {accuracy:.1%}{before}"
    values = {
        "number": len(paths),
        "written": _in_json(written),
        "held_out_accuracy": accuracy,
        "untrained_accuracy": untrained,
    }
    return Part(text, values)


def _trained_with_another_list(target: Target) -> list[str]:
    """A note if a later round left out other ids than the previous round's list has now."""
    if target.round == 1:
        return []
    before = target.at_round(target.round - 1).list_file
    try:
        listed, left_out = (set(read_exclusion_list(path).ids) for path in (before, target.left_out_file))
    except TracinctlError:
        return []
    # people's decisions may have left out more than the list
    same = listed == left_out or (listed < left_out and target.review_file.is_file())
    return [] if same else [f"checkpoints: the list of round {target.round - 1} changed since they were trained"]


def _scores(target: Target, settings: Mapping[str, Any]) -> tuple[Part, list[str]]:
    """The state of the scores, and what has changed since."""
    path = target.score_file
    if not path.is_file():
        return Part(), []
    values = _unread(path) | dict.fromkeys(("method", "loss", "margin", "checkpoints", "test_pairs"))
    try:
        source = open_scores(path)
    except TracinctlError as error:
        return Part("cannot be read", values), [f"scores: {error.message}"]
    origin, test_pairs = source.provenance, len(source.test_ids)
    checkpoints = origin.get("checkpoints")
    values |= {name: origin.get(name) for name in ("method", "loss", "margin")}
    values |= {
        "readable": True,
        "checkpoints": len(checkpoints) if isinstance(checkpoints, (list, tuple)) else None,
        "test_pairs": test_pairs,
    }
    text = f"{caption(origin) or 'of unknown origin'}; {count(test_pairs, 'test pair')}, {_in_text(_written(path))}"
    stale = [*changes(target, origin), *_other_settings(origin, settings)]
    return Part(text, values), [f"scores: {change}" for change in stale]


def _other_settings(provenance: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Describe the settings of the file that the scores were not made with."""
    origin = provenance.get("origin")
    used = dict(origin) if isinstance(origin, Mapping) else {}
    used |= {
        "loss_type": provenance.get("loss"),
        "margin": provenance.get("margin"),
        "method": provenance.get("method"),
    }

    def shown(value: Any) -> str:
        return f"{value:g}" if isinstance(value, float) else str(value)

    return [
        f"made with {name} {shown(used[name])}, but the settings say {shown(settings[name])}"
        for name in ("loss_type", "margin", "method", "n_fft", "hop", "channel")
        # a function of the user's has another name if it is imported from elsewhere
        if name in settings and used.get(name) not in (None, settings[name]) and ":" not in str(settings[name])
    ]


def _list(target: Target) -> tuple[Part, list[str]]:
    """The state of the list, and why it is out of date."""
    path = target.list_file
    if not path.is_file():
        return Part(), []
    values = _unread(path) | {"ids": 0, "edited": False, "rule": ""}
    try:
        listed = read_exclusion_list(path)
    except TracinctlError as error:
        return Part("cannot be read", values), [f"list: {error.message}"]
    values |= {"readable": True, "ids": len(listed.ids), "edited": listed.edited, "rule": listed.rule}
    edited = ", edited by hand" if listed.edited else ""
    rule = f"; {listed.rule}" if listed.rule else ""
    text = f"{count(len(listed.ids), 'id')}{edited}, {_in_text(_written(path))}{rule}"
    made_from, scores = listed.comment("scores"), target.score_file
    stale = made_from and scores.is_file() and made_from != f"sha256 {scores_digest(scores)}"
    return Part(text, values), ["list: the scores were made again since"] if stale else []


def _decisions(target: Target) -> Part:
    if not target.review_file.is_file():
        return Part()
    decisions, problem = [], ""
    try:
        decisions = read_decisions(target.review_file)
    except TracinctlError as error:
        problem = error.message
    verdicts = settle(decisions)
    values = {
        "readable": not problem,
        "left_out": len(verdicts.ids(LEAVE_OUT)),
        "kept": len(verdicts.ids(KEEP)),
        "turned": len(verdicts.ids(TURN)),
        "relabelled": len(verdicts.relabelled()),
        "disputed": len(verdicts.disputed),
    }
    return Part(problem or note_of(verdicts), values)


def _next(rounds: Sequence[RoundStatus], own_training: bool, *, trainable: bool) -> str:
    """The next command: for the first round that is incomplete or out of date, else after the last round."""
    for status in rounds:
        target = status.target
        flags, later = target.command_flags, target != target.at_round(1)
        stale = {reason.partition(":")[0] for reason in status.out_of_date}
        _, checkpoints, scores, exclusions = (part.values for part in status.parts.values())
        before = target.at_round(target.round - 1).list_file if later else None
        if scores is None and checkpoints is None:
            return _training(target, before, own_training)
        if "checkpoints" in stale:
            return _training(target, before, own_training) + ("" if own_training else " --force")
        if checkpoints is not None and (scores is None or "scores" in stale):
            if later:
                return f"tracinctl workflow {flags} --checkpoint-dir {_for_shell(target.project.checkpoint_dir)}"
            return f"tracinctl compute {flags}"
        if exclusions is None or stale:
            place = f" --metadata-dir {_for_shell(target.project.metadata_dir)}" if later else ""
            # a list that a person edited is only replaced by force, so suggest a dry run
            edited = exclusions is not None and exclusions["edited"]
            return f"tracinctl exclude {flags}{place}{' --dry-run' if edited else ''}"
    return _next_round(rounds[-1], own_training, trainable=trainable)


def _training(target: Target, without: Path | None, own_training: bool) -> str:
    """The command that trains without a list, or on all pairs."""
    shown = "" if without is None else _for_shell(without)
    if own_training:
        return "your training command" + (f" with {shown}" if shown else "")
    return f"tracinctl train {target.command_flags}" + (f" --exclusions-file {shown}" if shown else "")


def _next_round(last: RoundStatus, own_training: bool, *, trainable: bool) -> str:
    """The training without the last list, or the search for a better list if that one adds nothing.

    ``trainable``: rankers can be trained here, to try lists.
    """
    target, left_out = last.target, last.target.left_out_file
    number = len(read_exclusion_list(left_out).ids) if left_out.is_file() else 0
    listed = last.parts["list"].values
    if listed is not None and listed["ids"] > number:
        return _training(target, target.list_file, own_training)
    return (
        f"tracinctl workflow {target.command_flags} --retrain"
        if trainable
        else f"tracinctl sweep {target.command_flags}"
    )


def _for_shell(path: Path) -> str:
    """A path for a command line, relative to the current folder if it is inside."""
    folder = Path.cwd()
    return shlex.quote(str(path.relative_to(folder) if path.is_relative_to(folder) else path))
