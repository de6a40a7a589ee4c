"""Open and write score files, the users' JSON or Parquet, by their ending."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tracinctl.errors import ScoreFileError
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.scores.files.sidecar import SCORES_ENDING
from tracinctl.scores.source import ScoreSource

JSON_LIMIT = 1_000_000
"""Number of scores above which Parquet is written unless a format is given."""

_SUMS = {
    "_per_checkpoint_influence.parquet": "_influence.parquet",
    "_per_checkpoint_influence_metadata.json": SCORES_ENDING,
}
"""Endings of files with the scores of each checkpoint, and of the files with their sums."""


def open_scores(path: Path, progress: ProgressCallback = no_progress) -> ScoreSource:
    """Open a score file. JSON is read whole, Parquet in blocks; every reading calls ``progress``.

    Raises:
        ScoreFileError: the file is missing, broken, or not a score file.
    """
    path = Path(path)
    if path.is_dir():
        raise ScoreFileError(f"{path} is a folder, not a score file", hint="Give a file in it.")
    for ending, of_sums in _SUMS.items():
        if path.name.endswith(ending):
            raise ScoreFileError(
                f"{path} holds the scores of each checkpoint, not their sums",
                hint=f"The sums are in {path.name.removesuffix(ending)}{of_sums}.",
            )
    if path.suffix == ".parquet":
        from tracinctl.scores.files.parquet import ParquetScores

        return ParquetScores(path, progress)
    from tracinctl.scores.files.json import read_json_scores
    from tracinctl.scores.files.json_text import AGAIN

    try:
        return read_json_scores(path)
    except ScoreFileError as error:
        if error.hint == AGAIN and not path.name.endswith(SCORES_ENDING):
            hint = f"Names of score files end in {SCORES_ENDING} or _influence.parquet."
            raise ScoreFileError(error.message, hint=hint) from error
        raise


def test_pairs_of(path: Path) -> Sequence[str]:
    """The ids of a score file's test pairs; for Parquet, from the sidecar."""
    if path.suffix == ".parquet":
        from tracinctl.scores.files.sidecar import read_sidecar

        return [str(name) for name in read_sidecar(path)["test_ids"]]
    return open_scores(path).test_ids


def write_scores(source: ScoreSource, path: Path, progress: ProgressCallback = no_progress) -> None:
    """Write scores as JSON or Parquet, by the path's ending, with a sidecar."""
    path = Path(path)
    if path.suffix == ".parquet":
        from tracinctl.scores.files.parquet import write_parquet_scores

        write_parquet_scores(source, path, progress)
    else:
        from tracinctl.scores.files.json import write_json_scores

        write_json_scores(source, path, progress)


def scores_digest(path: Path) -> str:
    """A digest of the scores in 16 characters, of the sidecar if there is one, else of the file."""
    from tracinctl.files import file_digest
    from tracinctl.scores.files.sidecar import sidecar_path

    beside = sidecar_path(path)
    try:
        return file_digest(beside if beside.is_file() else path)[:16]
    except OSError as error:
        raise ScoreFileError(
            f"cannot read {path}: {error.strerror or error}", hint="Check its path and permissions."
        ) from error


def load_influence_scores(path: Path | str) -> dict[str, dict[str, float]]:
    """Load scores in the form of the users' JSON: ``{train pair id: {"tracin_influence_<test pair id>": score}}``.

    Raises:
        ScoreFileError: the file is missing, broken, or not a score file.
    """
    from tracinctl.scores.files.json import PREFIX

    source = open_scores(Path(path))
    names = [f"{PREFIX}{test_id}" for test_id in source.test_ids]
    scores: dict[str, dict[str, float]] = {}
    for start, block in source.blocks():
        for row, values in enumerate(block.tolist(), start):
            scores[source.train_ids[row]] = dict(zip(names, values, strict=True))
    return scores
