"""Exclusion lists: ``#`` comment lines, then one id a line, as training code reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tracinctl.errors import ExclusionListError
from tracinctl.files import write_text_atomic
from tracinctl.scores.exclusion import Exclusions
from tracinctl.text import number

_WHAT = {
    "ranking_pair": "training pairs; their items stay",
    "full_pair": "items: both of each harmful training pair",
    "sample": "single items, by their item-level influence",
}


@dataclass(frozen=True)
class ExclusionList:
    """What a list file holds.

    Ids of pairs and of items may stand in one list: training leaves out the pairs whose id stands there in that order,
    and all pairs of the items that stand there.

    Attributes:
        ids: of pairs or items, each once, in the file's order.
        comments: the comment lines, without their ``#``.
    """

    ids: Sequence[str]
    comments: Sequence[str]


def list_text(exclusions: Exclusions, scores_name: str) -> str:
    """The list as it is written.

    Raises:
        ExclusionListError: an id cannot stand on a line of its own.
    """
    lines = [
        f"# excluded: {len(exclusions.ids)} {_WHAT[exclusions.mode]} (mode {exclusions.mode})",
        f"# rule: {_rule(exclusions)}",
        f"# from: {_one_line(scores_name)}",
    ]
    if exclusions.mirrored:
        lines.append(
            f"# the last {len(exclusions.mirrored)} are the same comparisons the other way round: mirror images, in "
            "training too, of pairs above"
        )
    for each in exclusions.ids:
        if not each or each != each.strip() or "\n" in each or "\r" in each or each.startswith("#"):
            raise ExclusionListError(f"the id {each!r} cannot stand in an exclusion list", hint="rename the item")
    return "\n".join([*lines, *exclusions.ids]) + "\n"


def _rule(exclusions: Exclusions) -> str:
    cap = f"; a cap of {exclusions.max_exclusions} left {exclusions.cut} off" if exclusions.cut else ""
    if exclusions.mode == "sample":
        return f"item-level influence far above the median{cap}"
    given = f" ({exclusions.threshold.text} of the non-zero scores)" if exclusions.threshold.quantile else ""
    upper = exclusions.counted.upper_threshold
    also = f" or above {number(upper)}" if upper is not None else ""
    return (
        f"at least {exclusions.required_votes} of {exclusions.active_test_pairs} active test pairs score below "
        f"{number(exclusions.value)}{given}{also} (--min-occurrences {exclusions.min_occurrences}); "
        f"positive = helpful, negative = harmful{cap}"
    )


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def write_exclusion_list(path: Path, exclusions: Exclusions, scores_name: str) -> None:
    """Write a list, complete or not at all.

    Raises:
        ExclusionListError: an id cannot stand on a line of its own.
        TracinctlError: the file cannot be written.
    """
    write_text_atomic(path, list_text(exclusions, scores_name))


def read_exclusion_list(path: Path) -> ExclusionList:
    """Read a list; a byte order mark, Windows line ends, blank lines and a missing last line end do no harm.

    Raises:
        ExclusionListError: the file is missing or is no text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExclusionListError(
            f"exclusion list {path} is not UTF-8 text", hint="save it as UTF-8 text, one id a line"
        ) from error
    except (OSError, ValueError) as error:  # a ValueError is a name with a null character in it
        raise ExclusionListError(
            f"cannot read exclusion list {path}: {getattr(error, 'strerror', None) or error}",
            hint="lists are written by: tracinctl exclude",
        ) from error
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    comments = [line[1:].strip() for line in lines if line.startswith("#")]
    return ExclusionList(list(dict.fromkeys(line for line in lines if line and not line.startswith("#"))), comments)
