"""The table of influence scores in the library's interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tracinctl.errors import UsageError
from tracinctl.scores.files.open import write_scores
from tracinctl.scores.groups import GroupInfluence, influence_by_group, most_harmful_first
from tracinctl.scores.source import Blocks, FloatArray, ScoreSource, in_blocks
from tracinctl.text import SIGNS, count, number

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class InfluenceTable(ScoreSource):
    """Influence of every training pair on every test pair.

    >>> import numpy
    >>> table = InfluenceTable(["a_b", "b_c"], ["x_y", "y_z"], numpy.array([[-1.5, -2.0], [0.5, 3.0]]))
    >>> table
    InfluenceTable: 2 training pairs x 2 test pairs (2 active)
      scores: -2 to 3; positive = helpful, negative = harmful
      most harmful: a_b (total -3.5)
      most helpful: b_c (total 3.5)
    >>> table.top(5)
    [('a_b', -3.5)]
    >>> float(table.to_pandas().loc["b_c", "y_z"])
    3.0

    Attributes:
        train_ids: unique ids of the training pairs, one per row.
        test_ids: unique ids of the test pairs, one per column.
        scores: shape (train pairs, test pairs), float64. Positive = helpful, negative = harmful.
        self_influence: influence of each training pair on itself, shape (train pairs,); None if not computed.
        sample_ids: ids of the training items.
        sample_influence: item-level influence, shape (train items,); None if not computed.
        train_items: ids of the two items of each training pair; empty if unknown.
        per_checkpoint: scores of each checkpoint, shape (checkpoints, train pairs, test pairs); None unless requested.
        checkpoint_names: file names of the checkpoints, in order.
        provenance: what the scores were made from.
        groups: additional columns of the training pairs by name (an annotator, a session), one text per pair.
    """

    train_ids: Sequence[str]
    test_ids: Sequence[str]
    scores: FloatArray
    self_influence: FloatArray | None = None
    sample_ids: Sequence[str] = ()
    sample_influence: FloatArray | None = None
    train_items: Sequence[tuple[str, str]] = ()
    per_checkpoint: FloatArray | None = None
    checkpoint_names: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.scores.shape != (len(self.train_ids), len(self.test_ids)):
            raise ValueError(
                f"scores of shape {self.scores.shape} do not fit "
                f"{len(self.train_ids):,} training pairs x {len(self.test_ids):,} test pairs"
            )

    def blocks(self) -> Blocks:
        """Yield (first row, scores of shape (rows, test pairs)) from the first row to the last."""
        return in_blocks(self.scores)

    def to_pandas(self) -> pd.DataFrame:
        """The scores as a pandas frame, one row per training pair and one column per test pair."""
        import pandas as pd

        rows = pd.Index(self.train_ids, name="train_pair")
        columns = pd.Index(self.test_ids, name="test_pair")
        return pd.DataFrame(self.scores, index=rows, columns=columns, copy=True)

    def top(self, k: int = 10, *, harmful: bool = True) -> list[tuple[str, float]]:
        """The ids and total scores of the ``k`` most harmful or most helpful training pairs.

        The total is the sum over all test pairs. The result is shorter if fewer pairs are harmful (helpful).

        Raises:
            UsageError: ``k`` is below 1.
        """
        if k < 1:
            raise UsageError(f"`k` is {k}; it must be 1 or more")
        totals = self.scores.sum(axis=1)
        sizes = -totals if harmful else totals
        rows = sorted(np.flatnonzero(sizes > 0).tolist(), key=lambda row: (-sizes[row], self.train_ids[row]))
        return [(self.train_ids[row], float(totals[row])) for row in rows[:k]]

    def by_group(self, by: str) -> list[GroupInfluence]:
        """The influence of groups of training pairs, the most harmful mean per pair first.

        Args:
            by: a name in ``groups``, ``item`` (a pair counts for both its items), or ``class``.

        Raises:
            UsageError: the pairs have no such column.
            ScoreFileError: the ids do not show items or classes.
        """
        _, influence = influence_by_group(self, by)
        return most_harmful_first(influence)

    def save(self, path: Path | str) -> None:
        """Write the scores and their metadata, for ``open_scores`` and ``tracinctl exclude``, ``sweep``, ``plot``.

        The ending decides the format: ``.json`` or ``.parquet``. Commands find
        ``<material>_<frequency>_influence_metadata.json`` and ``<material>_<frequency>_influence.parquet`` by
        themselves, other names with ``--metadata-file``. Scores of each checkpoint are not written.

        Raises:
            UsageError: the path has another ending.
            NonFiniteError: a score is not finite.
            TracinctlError: the file cannot be written.
        """
        if Path(path).suffix not in {".json", ".parquet"}:
            raise UsageError(
                f"scores are saved as .json or .parquet, not as {Path(path).name!r}",
                hint="Let its name end in .json or .parquet.",
            )
        write_scores(self, Path(path))

    def __repr__(self) -> str:
        """A few lines: the number of pairs, the range of scores, the most harmful and the most helpful pair."""
        pairs = f"{count(len(self.train_ids), 'training pair')} x {count(len(self.test_ids), 'test pair')}"
        lines = [f"InfluenceTable: {pairs} ({int((self.scores != 0).any(axis=0).sum()):,} active)"]
        if self.scores.size:
            low, high = number(float(self.scores.min())), number(float(self.scores.max()))
            lines.append(f"  scores: {low} to {high}; {SIGNS}")
            for harmful, effect in ((True, "harmful"), (False, "helpful")):
                lines += [
                    f"  most {effect}: {name} (total {number(total)})" for name, total in self.top(1, harmful=harmful)
                ]
        return "\n".join(lines)
