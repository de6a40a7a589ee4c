"""Exclusion lists: ``#`` comment lines, then one id per line, as training code reads them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracinctl.errors import ExclusionListError, UsageError
from tracinctl.files import write_text_atomic
from tracinctl.scores.caption import caption
from tracinctl.scores.exclusion import Exclusions, earlier_ids
from tracinctl.scores.files.open import scores_digest
from tracinctl.text import count, number

LEFT_OUT = {
    "ranking_pair": "training pairs, whose items are kept",
    "full_pair": "items, both of each harmful training pair",
    "sample": "items with high item-level influence",
}


_COUNT = re.compile(r"excluded: (\d+) ")
_DIGEST = re.compile(r"ids: sha256 ([0-9a-f]{16})$")
_NUMBER = re.compile(r"[1-9]\d{0,8}")
_COMMENT_BEHIND = re.compile(r"\s#")


@dataclass(frozen=True)
class ExclusionList:
    """The content of a list.

    A list may have ids of pairs and of items: training leaves out the pairs with this exact id, and all pairs of the
    items.

    Attributes:
        ids: different ids of pairs or items, in the file's order.
        comments: the comment lines without ``#``.
        edited: whether the ids differ from those that tracinctl wrote.
    """

    ids: Sequence[str]
    comments: Sequence[str]
    edited: bool = False

    @property
    def is_own(self) -> bool:
        """Whether tracinctl wrote it."""
        return any(_COUNT.match(line) or _DIGEST.match(line) for line in self.comments)

    def comment(self, name: str) -> str:
        """The text of the comment line with this name; empty if there is none."""
        start = f"{name}:"
        return next((line.removeprefix(start).strip() for line in self.comments if line.startswith(start)), "")

    @property
    def round(self) -> int:
        """The round whose scores it was made from."""
        match = _NUMBER.match(self.comment("round"))
        return 1 if match is None else int(match[0])

    @property
    def rule(self) -> str:
        """The rule that chose it, in words; empty if unknown."""
        return self.comment("rule").partition(";")[0]

    @property
    def summary(self) -> str:
        """``111 pairs, at least 3 of 5 active test pairs score below -5``."""
        unit = "pair" if "(mode ranking_pair)" in self.comment("excluded") else "id"
        return count(len(self.ids), unit) + (f", {self.rule}" if self.rule else "")

    @property
    def notes(self) -> list[str]:
        """Warnings before training with it."""
        empty = ["the exclusion list is empty, so training uses all pairs"] if not self.ids else []
        return [*empty, *(["the exclusion list was edited by hand"] if self.edited else [])]


def list_text(exclusions: Exclusions, scores_name: str, notes: Sequence[str] = ()) -> str:
    """The text of a list; ``notes`` become more comment lines."""
    content = LEFT_OUT[exclusions.mode]
    if exclusions.by:
        content = f"training pairs, all of {count(len(exclusions.listed), 'group')} by {_one_line(exclusions.by)}"
    lines = [
        f"# excluded: {len(exclusions.ids)} {content} (mode {exclusions.mode})",
        f"# rule: {rule_text(exclusions)}",
        f"# from: {_one_line(scores_name)}",
        f"# ids: sha256 {_digest(exclusions.ids)}",
    ]
    lines += [f"# group: {_one_line(group.id)}" for group in exclusions.listed] if exclusions.by else []
    lines += [f"# {_one_line(note)}" for note in notes]
    if exclusions.mirrored:
        lines.append(
            f"# at the end: {count(len(exclusions.mirrored), 'mirror image')} of pairs above, because training saw both"
        )
    for name in exclusions.ids:
        if not name or _id_of(name) != name or "\n" in name or "\r" in name:
            raise ExclusionListError(f"an exclusion list cannot contain the id {name!r}", hint="Rename the item.")
    return "\n".join([*lines, *exclusions.ids]) + "\n"


def _digest(ids: Sequence[str]) -> str:
    """A digest of the ids in any order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode(errors="surrogatepass")).hexdigest()[:16]


def _id_of(line: str) -> str:
    """The id on a line of a list, without a comment after it; may be empty."""
    return "" if line.startswith("#") else _COMMENT_BEHIND.split(line, maxsplit=1)[0].strip()


def rule_text(exclusions: Exclusions) -> str:
    """The rule that chose a list, in words."""
    if exclusions.chosen_by:
        return exclusions.chosen_by
    cap = f"; a cap of {exclusions.max_exclusions:,} left {exclusions.cut:,} off" if exclusions.cut else ""
    if exclusions.mode == "sample":
        return f"item-level influence far above the median{cap}"
    quantile, text = exclusions.threshold.quantile, exclusions.threshold.text
    score = "score, the mean of each group's training pairs," if exclusions.by else "score"
    if exclusions.rule == "total":
        share = f" (the lowest {text} of the {'groups' if exclusions.by else 'training pairs'})" if quantile else ""
        return (
            f"the total {score} on all {len(exclusions.counted.active):,} test pairs is below "
            f"{number(exclusions.value)}{share} (rule total); positive = helpful, negative = harmful{cap}"
        )
    share = f" ({text} of the non-zero scores)" if quantile else ""
    upper = exclusions.counted.upper_threshold
    also = f" or above {number(upper)}" if upper is not None else ""
    relation = "have a mean score of the group's training pairs below" if exclusions.by else "score below"
    return (
        f"at least {exclusions.required_votes:,} of {exclusions.active_test_pairs:,} active test pairs {relation} "
        f"{number(exclusions.value)}{share}{also} (min_occurrences {exclusions.min_occurrences}); "
        f"positive = helpful, negative = harmful{cap}"
    )


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def origin_notes(scores: Path, provenance: Mapping[str, Any], review: str = "") -> list[str]:
    """Comment lines of a list about its scores and people's decisions."""
    about = caption(provenance)
    notes = [f"scores: sha256 {scores_digest(scores)}"]
    notes += [f"of: {about}"] if about else []
    earlier = earlier_ids(provenance)
    if "round" in provenance:
        notes.append(f"round: {provenance['round']}; the first {count(len(earlier), 'id')} are from earlier rounds")
    return [*notes, f"review: {review}"] if review else notes


def write_exclusion_list(
    path: Path, exclusions: Exclusions, scores_name: str, notes: Sequence[str] = (), *, force: bool = False
) -> str:
    """Write a list; return a summary of the list that it replaces, ``111 pairs, RULE``, or an empty text.

    Raises:
        UsageError: without ``force``, the old list was edited by hand, or tracinctl did not write it.
        ExclusionListError: an id cannot be written on a line.
        TracinctlError: the file cannot be written.
    """
    before = list_to_replace(path, force=force)
    write_text_atomic(path, list_text(exclusions, scores_name, notes))
    if before is None:
        return ""
    same = before.rule == rule_text(exclusions).partition(";")[0] and set(before.ids) == set(exclusions.ids)
    return "" if same else before.summary


def list_to_replace(path: Path, *, force: bool = False) -> ExclusionList | None:
    """The list at a path; None if there is none or the file is empty.

    Raises:
        UsageError: without ``force``, it was edited by hand or tracinctl did not write it.
    """
    if not path.is_file() or not path.stat().st_size:
        return None
    # a link is replaced by a file, and its target stays unchanged
    force = force or path.is_symlink()
    hint = "Write to another place, or replace it with `force`."
    try:
        listed = read_exclusion_list(path)
    except ExclusionListError as error:
        if force:
            return None
        raise UsageError(f"{path} is not replaced: {error.message}", hint=hint) from error
    if not force and not listed.is_own:
        raise UsageError(f"{path} is not replaced, because tracinctl did not write it", hint=hint)
    if not force and listed.edited:
        raise UsageError(f"{path} is not replaced, because it was edited by hand", hint=hint)
    return listed


def read_exclusion_list(path: Path) -> ExclusionList:
    """Read a list, which may have a byte order mark, Windows line ends, empty lines or no last line end.

    Raises:
        ExclusionListError: the file is missing or not text, or the number of ids differs from its first line.
    """
    text = _text_of(path)
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    comments = [line[1:].strip() for line in lines if line.startswith("#")]
    ids = list(dict.fromkeys(filter(None, map(_id_of, lines))))
    declared = next((int(match[1]) for match in map(_COUNT.match, comments) if match), len(ids))
    written = next((match[1] for match in map(_DIGEST.match, comments) if match), None)
    if declared != len(ids):
        raise ExclusionListError(
            f"exclusion list {path} has {count(len(ids), 'id')}, but its first line says {declared:,}",
            hint="Write it again: tracinctl exclude\n"
            "If you changed it by hand, correct the number in its first line, or remove that line.",
        )
    edited = written not in {None, _digest(ids)}
    if edited and not text.endswith(("\n", "\r")):
        raise ExclusionListError(
            f"exclusion list {path} is cut off in its last id",
            hint="Write it again: tracinctl exclude\nIf you changed it by hand, end its last line.",
        )
    return ExclusionList(ids, comments, edited)


def _text_of(path: Path) -> str:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ExclusionListError(
                f"cannot read exclusion list {path}: it is a device or a pipe, not a file", hint="Name a file."
            )
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExclusionListError(
            f"exclusion list {path} is not UTF-8 text", hint="Save it as UTF-8 text, one id per line."
        ) from error
    except (OSError, ValueError) as error:  # a ValueError means a null character in the name
        raise ExclusionListError(
            f"cannot read exclusion list {path}: {getattr(error, 'strerror', None) or error}",
            hint="Write a list with: tracinctl exclude",
        ) from error
