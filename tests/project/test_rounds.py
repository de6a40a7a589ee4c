"""Rounds: their training pairs, files and lists."""

from __future__ import annotations

import csv

import pytest

from tracinctl.project.config import Settings, load_project
from tracinctl.project.round_places import at_round, in_one_round, round_of
from tracinctl.scores.files.exclusion_list import read_exclusion_list

NAME = "plastic_500hz"
ONE = ("--frequency", "500hz")


def listed(project, folder=""):
    return read_exclusion_list(project / "exclusions" / folder / f"{NAME}_excluded_pairs.txt")


def trained_on(project, folder=""):
    with (project / "checkpoints" / folder / NAME / "pairs.csv").open() as file:
        return {f"{row['id1']}_{row['id2']}" for row in csv.DictReader(file) if row["split"] == "train"}


def test_a_second_round_keeps_the_first(project, cli):
    assert cli("workflow", *ONE, "--min-occurrences", "1", "--max-exclusions", "5").code == 0
    first = listed(project)
    scores = (project / "metadata" / f"{NAME}_influence_metadata.json").read_bytes()
    done = cli("train", *ONE, "--exclusions-file", f"exclusions/{NAME}_excluded_pairs.txt")
    assert f"tracinctl workflow --material plastic {' '.join(ONE)} --checkpoint-dir checkpoints/retrained" in done.out
    assert trained_on(project, "retrained") == trained_on(project) - set(first.ids)
    flags = ("--min-occurrences", "1", "--max-exclusions", "3")
    [answer] = cli.json("workflow", *ONE, "--checkpoint-dir", "checkpoints/retrained", *flags)
    second = listed(project, "retrained")
    assert second.ids[: len(first.ids)] == first.ids
    assert len(second.ids) == answer["excluded"] == len(first.ids) + 3
    assert (answer["round"], answer["excluded_before"]) == (2, len(first.ids))
    assert (second.round, first.round) == (2, 1)
    assert listed(project).ids == first.ids
    assert (project / "metadata" / f"{NAME}_influence_metadata.json").read_bytes() == scores
    [answer] = cli.json("train", "--exclusions-file", answer["output_file"])
    assert answer["round"] == 3
    assert answer["unknown_ids"] == []
    assert trained_on(project, "retrained-3") == trained_on(project) - set(second.ids)


def test_single_steps_write_the_same_list_as_a_workflows_second_round(project, cli):
    rule = ("--min-occurrences", "1", "--max-exclusions", "5")
    assert cli("workflow", *ONE, *rule).code == 0
    assert cli("train", *ONE, "--exclusions-file", f"exclusions/{NAME}_excluded_pairs.txt").code == 0
    assert cli("workflow", *ONE, *rule, "--checkpoint-dir", "checkpoints/retrained").code == 0
    of_workflow = listed(project, "retrained")
    (project / "exclusions" / "retrained" / f"{NAME}_excluded_pairs.txt").unlink()
    assert cli("compute", *ONE, "--checkpoint-dir", "checkpoints/retrained").code == 0
    for scores in (
        ("--metadata-dir", "metadata/retrained", *ONE),
        ("--metadata-file", f"metadata/retrained/{NAME}_influence_metadata.json"),
    ):
        done = cli("exclude", *scores, *rule)
        assert "begins with 5 ids from earlier rounds" in done.out
        assert f"--exclusions-file exclusions/retrained/{NAME}_excluded_pairs.txt" in done.out
        assert listed(project, "retrained") == of_workflow


def test_each_round_trains_scores_and_lists_the_remaining_pairs(project, cli):
    rule = ("--min-occurrences", "1", "--max-exclusions", "4")
    [answer] = cli.json("workflow", *ONE, "--rounds", "3", *rule)
    assert [part["round"] for part in answer["rounds"]] == [1, 2, 3]
    assert answer["round"] == 3
    ids = [listed(project, folder).ids for folder in ("", "retrained", "retrained-3")]
    assert [part["excluded"] for part in answer["rounds"]] == list(map(len, ids))
    assert len(ids[0]) == 4 < len(ids[1]) < len(ids[2])
    assert ids[2][: len(ids[1])] == ids[1]
    assert ids[1][:4] == ids[0]
    assert trained_on(project, "retrained-3") == trained_on(project) - set(ids[1])
    again = cli("workflow", *ONE, "--rounds", "3", *rule)
    assert again.code == 0, again.err
    assert [listed(project, folder).ids for folder in ("", "retrained", "retrained-3")] == ids
    assert f"({len(ids[2]) - len(ids[1])} new, {len(ids[1])} from earlier rounds)" in again.out
    assert again.out.count("--exclusions-file") == 1
    assert f"--exclusions-file exclusions/retrained-3/{NAME}_excluded_pairs.txt" in again.out


def test_rounds_end_without_new_ids_and_train_without_checkpoints(project, cli):
    for path in (project / "checkpoints" / NAME).iterdir():
        path.unlink()
    [answer] = cli.json("workflow", *ONE, "--rounds", "2", "--threshold", "-1e9")
    assert (answer["status"], answer["round"], answer["excluded"]) == ("done", 1, 0)
    assert not (project / "checkpoints" / "retrained").exists()


@pytest.mark.parametrize("other", ["--retrain", "--evaluate-only", "--processes=2", "--model=my:model"])
def test_options_that_exclude_rounds_are_refused(project, cli, other):
    refused = cli("workflow", *ONE, "--rounds", "2", other)
    assert refused.code == 2
    assert "--rounds" in refused.err
    assert not (project / "metadata").exists()


def test_a_rounds_folders_move_together_except_those_given_by_the_user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project = load_project(Settings())
    third = at_round(project, 3)
    assert third.metadata_dir == project.metadata_dir / "retrained-3"
    assert at_round(third, 2).output_dir == project.output_dir / "retrained"
    assert at_round(third, 1) == project
    user_project = project.with_places(metadata_dir=project.metadata_dir / "retrained-3", output_dir=tmp_path / "mine")
    moved = in_one_round(user_project, typed={"metadata_dir", "output_dir"})
    assert (moved.checkpoint_dir, moved.output_dir) == (project.checkpoint_dir / "retrained-3", tmp_path / "mine")
    names = ("checkpoints", "retrained", "retrained-3", "retrained-x", "retrained-03")
    assert [round_of(tmp_path / name) for name in names] == [1, 2, 3, 1, 1]
