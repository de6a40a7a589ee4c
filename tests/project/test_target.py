import pytest

from tracinctl.errors import UsageError
from tracinctl.project.config import Project, Settings, load_project
from tracinctl.project.target import Target


def test_file_names_follow_the_users_layout(tmp_path):
    target = Target(load_project(Settings(tmp_path / "tracinctl.toml")), "plastic", "500hz")
    assert target.score_file == tmp_path / "metadata" / "plastic_500hz_influence_metadata.json"
    assert target.records.name == "plastic_500hz_metadata.json"
    assert target.per_checkpoint_file.name == "plastic_500hz_per_checkpoint_influence_metadata.json"
    assert target.list_file == tmp_path / "exclusions" / "plastic_500hz_excluded_pairs.txt"
    assert target.cache_dir == tmp_path / ".tracinctl" / "cache" / "plastic_500hz"


def test_parquet_scores_are_used_only_without_json(tmp_path):
    project = load_project(Settings(tmp_path / "tracinctl.toml"))
    project.metadata_dir.mkdir()
    columns = project.metadata_dir / "a_b_influence.parquet"
    columns.touch()
    assert Target(project, "a", "b").score_file == columns
    (project.metadata_dir / "a_b_influence_metadata.json").touch()
    assert Target(project, "a", "b").score_file.suffix == ".json"


def test_checkpoints_are_in_the_targets_folder_or_in_the_shared_one(tmp_path):
    project = load_project(Settings(tmp_path / "tracinctl.toml"))
    folder = project.checkpoint_dir / "a_b"
    assert Target(project, "a", "b").checkpoints == folder, "without checkpoints, the usual folder is named"
    project.checkpoint_dir.mkdir()
    (project.checkpoint_dir / "model_epoch_1.pt").touch()
    assert Target(project, "a", "b").checkpoints == project.checkpoint_dir
    folder.mkdir()
    assert Target(project, "a", "b").checkpoints == folder
    assert Target(project, "a", "b").pairs_file == folder / "pairs.csv"


@pytest.mark.parametrize("name", ["..", "a/b", "", "a\nb", "\x1b[31m", "a\\b", "a\0b"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    project = Project(*[tmp_path] * 6)
    with pytest.raises(UsageError):
        _ = Target(project, name, "500hz").score_file
    with pytest.raises(UsageError):
        _ = Target(project, "plastic", name).list_file


def test_the_flags_of_a_target_are_quoted_for_a_shell(tmp_path):
    target = Target(load_project(Settings(tmp_path / "tracinctl.toml")), "my box", "500hz")
    assert target.label == "my box 500hz"
    assert target.command_flags == "--material 'my box' --frequency 500hz"
