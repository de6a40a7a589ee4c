"""The scores of each checkpoint, in their own file.

JSON has the form ``{train pair id: {"tracin_influence_<test pair id>_<checkpoint file name>": score}}``. Parquet has
the form of score files, with a column ``<test pair id>_<checkpoint file name>`` per test pair and checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import numpy as np

from tracinctl.errors import ScoreFileError
from tracinctl.files import atomic_path
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.scores.files.json import PREFIX, read_json_scores, score_lines
from tracinctl.scores.files.json_text import UNENCODABLE
from tracinctl.scores.source import (
    Blocks,
    FloatArray,
    KnownScores,
    MemoryScores,
    ScoreMeta,
    ScoreSource,
    rows_per_block,
)

_MAKE = "tracinctl compute --save-per-checkpoint"
_ROUNDING = 1e-6  # share of the largest score by which sums in another order may differ


def _keys(test_ids: Sequence[str], checkpoint_names: Sequence[str]) -> list[str]:
    return [f"{test_id}_{name}" for test_id in test_ids for name in checkpoint_names]


def checkpoint_blocks(source: ScoreSource) -> Blocks | None:
    """The scores of each checkpoint as (first row, shape (rows, test pairs, checkpoints)); None if unknown."""
    scores: FloatArray | None = getattr(source, "per_checkpoint", None)
    if scores is not None:
        return _blocks_of(scores)
    blocks: Callable[[], Blocks] | None = getattr(source, "checkpoint_blocks", None)
    return None if blocks is None else blocks()


def _blocks_of(scores: FloatArray) -> Blocks:
    step = rows_per_block(scores.shape[0] * scores.shape[2])
    for start in range(0, scores.shape[1], step):
        yield start, scores[:, start : start + step].transpose(1, 2, 0)


class _InColumns(KnownScores):
    """The scores of each checkpoint as a source with a column per test pair and checkpoint."""

    def __init__(self, source: ScoreSource, keys: Sequence[str]) -> None:
        super().__init__(ScoreMeta(source.train_ids, keys, checkpoint_names=source.checkpoint_names))
        self._source = source

    def blocks(self) -> Blocks:
        for start, block in checkpoint_blocks(self._source) or ():
            yield start, np.ascontiguousarray(block).reshape(len(block), -1)


def write_per_checkpoint_scores(source: ScoreSource, path: Path, progress: ProgressCallback = no_progress) -> None:
    """Write the scores of each checkpoint in blocks, as Parquet or JSON by the path's ending.

    Raises:
        ScoreFileError: the source has no scores of each checkpoint, or two of them would have the same key.
        NonFiniteError: a score is not finite.
        TracinctlError: the file cannot be written.
    """
    if checkpoint_blocks(source) is None:
        raise ScoreFileError("the scores of each checkpoint were not kept", hint=f"Make them with: {_MAKE}")
    keys = _keys(source.test_ids, source.checkpoint_names)
    if len(set(keys)) != len(keys):
        raise ScoreFileError(
            f"two checkpoints give the same key of test pair and checkpoint name: {', '.join(source.checkpoint_names)}",
            hint="Rename checkpoints so that their names differ.",
        )
    columns = _InColumns(source, keys)
    if path.suffix == ".parquet":
        from tracinctl.scores.files.parquet import write_parquet_scores

        write_parquet_scores(columns, path, progress)
        return
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        lines = score_lines(columns, [PREFIX + key for key in keys], path, progress)
        file.writelines(text.encode(errors=UNENCODABLE) for text in lines)


class WithCheckpoints(KnownScores):
    """A score source with the scores of each checkpoint from a file; JSON is read whole, Parquet in blocks.

    Raises:
        ScoreFileError: the file is broken, or does not belong to these scores.
    """

    def __init__(self, source: ScoreSource, path: Path, progress: ProgressCallback = no_progress) -> None:
        from tracinctl.scores.files.parquet import ParquetScores

        self._source, self._path = source, path
        self._single = ParquetScores(path, progress) if path.suffix == ".parquet" else _read_json(source, path)
        super().__init__(replace(source.meta, checkpoint_names=self._single.checkpoint_names))
        keys = _keys(self.test_ids, self.checkpoint_names)
        if keys != list(self._single.test_ids) or list(self.train_ids) != list(self._single.train_ids):
            raise _foreign(path)

    def blocks(self) -> Blocks:
        """Yield (first row, scores of shape (rows, test pairs)) from the first row to the last."""
        return self._source.blocks()

    def checkpoint_blocks(self) -> Blocks:
        """Yield (first row, scores of shape (rows, test pairs, checkpoints)) from the first row to the last."""
        sums = chain.from_iterable(block for _, block in self._source.blocks())
        for start, block in self._single.blocks():
            single = block.reshape(len(block), len(self.test_ids), len(self.checkpoint_names))
            _check_sums(self._path, single, np.array(list(islice(sums, len(block)))))
            yield start, single


def _check_sums(path: Path, single: FloatArray, scores: FloatArray) -> None:
    """Check that the scores of checkpoints, shape (rows, test pairs, checkpoints), add up to the scores."""
    largest = float(np.abs(single).sum(axis=2).max(initial=0.0))
    if np.abs(single.sum(axis=2) - scores).max(initial=0.0) > _ROUNDING * largest:
        raise ScoreFileError(
            f"{path} does not belong to these scores: its scores add up to different sums",
            hint=f"Make both again, because one is older: {_MAKE}",
        )


def _foreign(path: Path) -> ScoreFileError:
    return ScoreFileError(f"{path} does not belong to these scores", hint=f"Make both again: {_MAKE}")


def with_checkpoints(source: ScoreSource, path: Path, progress: ProgressCallback = no_progress) -> ScoreSource:
    """Add the scores of each checkpoint to a source, from the file that compute writes."""
    if not path.is_file():
        raise ScoreFileError(
            f"the scores of each checkpoint were not kept: there is no {path}", hint=f"Make them with: {_MAKE}"
        )
    return WithCheckpoints(source, path, progress)


def _read_json(source: ScoreSource, path: Path) -> MemoryScores:
    try:
        single = read_json_scores(path)
    except ScoreFileError as error:
        raise _foreign(path) from error
    place = {key: column for column, key in enumerate(single.test_ids)}
    names = _checkpoint_names(source, place)
    keys = _keys(source.test_ids, names)
    if place.keys() != set(keys):
        raise _foreign(path)
    # the file's keys may be in any order
    scores = single.scores[:, [place[key] for key in keys]]
    return MemoryScores(ScoreMeta(single.train_ids, keys, checkpoint_names=names), scores)


def _checkpoint_names(source: ScoreSource, keys: Iterable[str]) -> Sequence[str]:
    """The source's names if the keys have them all, else the names in the keys."""
    head = f"{source.test_ids[0]}_"
    names = [key.removeprefix(head) for key in keys if key.startswith(head)]
    recorded = source.checkpoint_names
    return recorded if recorded and set(recorded) <= set(names) else names
