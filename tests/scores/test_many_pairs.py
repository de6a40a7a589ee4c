"""Many training pairs: commands report progress and read large files in small parts."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest
from command_line import CommandLine
from places import BENCHMARKS
from score_tables import table

from tracinctl.cli.output import progress as progress_display
from tracinctl.cli.output.terminal import Terminal
from tracinctl.errors import ScoreFileError
from tracinctl.progress import Progress
from tracinctl.scores import source as score_source
from tracinctl.scores.exclusion import choose_exclusions
from tracinctl.scores.files.open import open_scores, write_scores
from tracinctl.scores.options import Rule
from tracinctl.scores.sweep import sweep_thresholds
from tracinctl.scores.votes import parse_thresholds

sys.path.insert(0, str(BENCHMARKS))

import many_pairs

PAIRS, TESTS = 4000, 50
BLOCK = 40_000  # bytes: a hundred rows


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A score file of many blocks, in its own project."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(score_source, "BLOCK_BYTES", BLOCK)
    path = tmp_path / "metadata" / "m_f_influence.parquet"
    scores = np.random.default_rng(0).standard_normal((PAIRS, TESTS))
    write_scores(table(scores, self_influence=np.ones(PAIRS)), path)
    return path


@pytest.mark.parametrize(
    "command",
    [("sweep", "--thresholds", "-1,5%"), ("exclude", "--dry-run"), ("plot", "overview"), ("plot", "top")],
    ids=" ".join,
)
def test_commands_on_a_large_file_report_progress(command, large, capsys, monkeypatch):
    monkeypatch.setattr(progress_display, "LINE_EVERY", 0.0)
    result = CommandLine(capsys)(*command)
    assert result.code == 0
    lines = [line for line in result.err.splitlines() if line.startswith("m f: reading scores ")]
    assert len(lines) > 5
    assert f"{PAIRS}/{PAIRS} pairs, {large.name}" in lines[-1]
    assert "reading scores" not in result.out


def test_quick_work_has_no_line_in_a_log(large, capsys):
    assert "reading scores" not in CommandLine(capsys)("sweep").err


def test_small_parts_have_a_line_every_ten_seconds_and_at_the_end(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress_display.time, "monotonic", lambda: now[0])
    with Terminal().progress(title="m f") as tell:
        for done in (1, 2, 3):
            tell(Progress("reading scores", done, 3, "pairs"))
            now[0] += 9
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["m f: reading scores 3/3 pairs"]


def test_a_large_file_is_never_in_memory_as_a_whole(large):
    whole = 8 * PAIRS * TESTS
    for take in (
        lambda source: sweep_thresholds(source, parse_thresholds("0,-1,-2")).rows[0].harmful,
        lambda source: choose_exclusions(source, Rule(threshold="-3", min_occurrences="50%")).ids,
    ):
        source = open_scores(large)
        tracemalloc.start()
        try:
            take(source)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < whole


@pytest.mark.parametrize("moment", ["between", "during"])
def test_scores_that_are_replaced_while_they_are_read_are_not_mixed(large, moment):
    other = table(np.zeros((PAIRS, TESTS)), self_influence=np.ones(PAIRS))
    source = open_scores(large)
    if moment == "between":
        sweep_thresholds(source, parse_thresholds("0"))
        write_scores(other, large)
        blocks = source.blocks()
    else:
        blocks = source.blocks()
        next(blocks)
        write_scores(other, large)
    with pytest.raises(ScoreFileError, match="changed while it was read"):
        list(blocks)


def test_the_table_of_the_readme_is_made_again_in_its_place():
    one = many_pairs.Measured(2.0, 1.0, 1 << 20)
    rows = [("compute", one, many_pairs.Measured(1.0, 1.0, 0)), ("plot top", one, many_pairs.Measured(0.5, 0.25, 0))]
    table = many_pairs.markdown({1000: rows, 500_000: rows})
    assert "| plot top | 2 s | 2 s | 4.0 | 4.0 | 1 MiB |" in table.split("\n")
    assert "| plain write | 1 s | 1 s | 1 | 1 | |" in table.split("\n")
    text = "# x\n\n## Many pairs\n\nWords.\n\n## Next\n"
    once = many_pairs.with_table(text, table)
    assert many_pairs.with_table(once, table) == once
    assert once == text.replace("Words.\n", f"Words.\n\n{table}\n")


@pytest.mark.nightly
def test_every_command_uses_at_most_two_gibibytes(tmp_path):
    for name, took, _ in many_pairs.size_of(200_000, 1, tmp_path):
        assert took.memory < 2 << 30, name
