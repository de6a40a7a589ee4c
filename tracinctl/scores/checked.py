"""Scores on their way into a file: none that is no number, and some at all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tracinctl.errors import NonFiniteError, ScoreFileError
from tracinctl.scores.table import FloatArray, ScoreSource


def checked_blocks(source: ScoreSource) -> Iterator[tuple[int, FloatArray]]:
    """The blocks of a source, every score finite.

    Raises:
        ScoreFileError: there are no scores.
        NonFiniteError: a score is NaN or infinite; the pairs are named.
    """
    if not len(source.train_ids) or not len(source.test_ids):
        raise ScoreFileError(
            f"there are no scores to write: {len(source.train_ids)} training pairs on {len(source.test_ids)} test pairs"
        )
    for start, block in source.blocks():
        if not np.isfinite(block).all():
            row, column = np.argwhere(~np.isfinite(block))[0].tolist()
            raise NonFiniteError(
                f"the score of {source.train_ids[start + row]!r} on {source.test_ids[column]!r} is "
                f"{block[row, column]}, so nothing was written",
                hint="a checkpoint or a recording holds such numbers",
            )
        yield start, block
