"""Settings: values that are read or refused, and the folders of a project."""

import re

import pytest

from tracinctl.engine.options import WEIGHTS
from tracinctl.errors import SettingsError, UsageError
from tracinctl.project.commands import COMMANDS
from tracinctl.project.config import (
    SETTINGS_NAME,
    check_environment,
    check_variables,
    find_score_files,
    find_settings,
    load_project,
    load_settings,
    split_score_file_name,
)
from tracinctl.project.declared import parse_weights, settings_of
from tracinctl.project.tables import tables


def settings_from(folder, text):
    path = folder / SETTINGS_NAME
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def test_settings_are_found_in_this_folder_or_the_nearest_parent(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert find_settings(inner) is None or find_settings(inner).parent not in (inner, inner.parent, tmp_path)
    (tmp_path / SETTINGS_NAME).touch()
    assert find_settings(inner) == tmp_path / SETTINGS_NAME
    (inner / SETTINGS_NAME).touch()
    assert find_settings(inner) == inner / SETTINGS_NAME


def test_paths_are_relative_to_the_settings_file(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    project = load_project(settings_from(tmp_path, "data_root = 'wavs'\nmetadata_dir = '../scores'\n"))
    assert project.data_root == tmp_path / "wavs"
    assert project.metadata_dir == tmp_path.parent / "scores"
    assert project.checkpoint_dir == tmp_path / "checkpoints"


def test_lists_may_be_toml_lists_or_comma_separated_texts(tmp_path):
    as_list = settings_from(tmp_path, "frequencies = ['500hz', '1000hz']\n[sweep]\nthresholds = [-5, '1%']\n")
    two = settings_from(tmp_path, "frequencies = '500hz, 1000hz'\n[sweep]\nthresholds = '-5,1%'\n")
    assert as_list.defaults_for("sweep") == two.defaults_for("sweep")
    assert as_list.defaults_for("sweep") == {"frequency": "500hz,1000hz", "thresholds": "-5,1%"}


def test_a_commands_own_table_wins_over_the_top_of_the_file(tmp_path):
    settings = settings_from(tmp_path, "material = 'plastic'\n[sweep]\nmaterial = 'box'\n")
    assert settings.defaults_for("sweep")["material"] == "box"
    assert settings.defaults_for("exclude")["material"] == "plastic"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("materiel = 'x'", "unknown key `materiel`", "Did you mean `material`?"),
        ("[sweeep]\ntop = 1", "unknown key [sweeep]", "Did you mean [sweep]?"),
        ("[sweep]\nthreshold = 1", "unknown key `threshold` in [sweep]", "Did you mean `thresholds`?"),
        ("seed = 3", "line 1: unknown key `seed`", "Put `seed` in [compute] or [train] or [workflow] or [demo]"),
        (
            "loss_type = 'ghm'",
            "unknown key `loss_type`",
            "in [compute] or [train] or [workflow].",
        ),
        ("[sweep]\nepochs = 1", "unknown key `epochs` in [sweep]", "Put `epochs` in [train]."),
        ("zzz = 1", "unknown key `zzz`", "Keys here are `material`"),
        ("material = 3", "`material` must be a text, not 3", "For example  material = 'name'"),
        ("[train]\nepochs = '30'", "`epochs` in [train] must be a whole number, not '30'", "For example  epochs = 30"),
        ("[sweep]\ntop = 'ten'", "`top` in [sweep] must be a whole number, not 'ten'", "For example  top = 0"),
        ("[train]\nepochs = true", "`epochs` in [train] must be a whole number, not True", "For example  epochs = 30"),
        ("[train]\nmargin = 'wide'", "`margin` in [train] must be a number, not 'wide'", "For example  margin = 1.0"),
        ("[workflow]\nfail_fast = 1", "`fail_fast` in [workflow] must be true or false, not 1", "without quotes"),
        ("frequencies = [[1]]", "`frequencies` must be a list", "For example  frequencies = ['one', 'two']"),
        ("data_root = ''", "`data_root` must be a path, not ''", "relative to the settings file"),
        ("sweep = 3", "`sweep` is a table, not a value", "[sweep]"),
        ("material = [", "not valid TOML", "Put texts in quotes"),
    ],
)
def test_an_error_names_the_wrong_setting_the_file_and_a_remedy(tmp_path, text, message, hint):
    with pytest.raises(SettingsError) as caught:
        settings_from(tmp_path, text)
    assert str(tmp_path / SETTINGS_NAME) in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("table", "key"), [(t, key) for t, keys in tables().items() for key in keys])
def test_the_example_of_every_setting_is_valid(tmp_path, table, key):
    begin = f"[{table}]\n" if table else ""
    with pytest.raises(SettingsError) as caught:
        settings_from(tmp_path, f"{begin}{key} = [[1]]\n")
    examples = re.findall(rf"\b{key} = .*?(?=  | or |, without|$)", caught.value.hint)
    assert examples
    for example in examples:
        assert settings_from(tmp_path, f"{begin}{example}\n").values[table][key] is not None, example


def test_a_missing_settings_file_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        load_settings(tmp_path / "nowhere.toml")


def test_settings_that_are_not_text_are_an_error(tmp_path):
    (tmp_path / SETTINGS_NAME).write_bytes(b"material = '\xff'")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load_settings(tmp_path / SETTINGS_NAME)


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path):
    (tmp_path / SETTINGS_NAME).write_bytes(b"\xef\xbb\xbfmaterial = 'box'\r\n[sweep]\r\ntop = 3\r\n")
    assert load_settings(tmp_path / SETTINGS_NAME).defaults_for("sweep") == {"material": "box", "top": 3}


def test_a_misspelt_environment_variable_is_named():
    check_environment({"TRACINCTL_SWEEP_THRESHOLDS": "-5", "TRACINCTL_CONFIG": "x", "TRACINCTLOTHER": "y"})
    check_environment({"TRACINCTL_BIN": "venv/bin"})
    with pytest.raises(SettingsError) as caught:
        check_environment({"TRACINCTL_SWEEP_TRESHOLDS": "-5"})
    assert "TRACINCTL_SWEEP_TRESHOLDS" in caught.value.message
    assert caught.value.hint == "Did you mean TRACINCTL_SWEEP_THRESHOLDS?"


def test_names_of_score_files_give_material_and_frequency(tmp_path):
    for name in (
        "my_box_1000hz_influence_metadata.json",
        "my_box_500hz_influence.parquet",
        "my_box_500hz_metadata.json",
        "my_box_500hz_per_checkpoint_influence_metadata.json",
        "notes.json",
    ):
        (tmp_path / name).touch()
    assert find_score_files(tmp_path) == [("my_box", "500hz"), ("my_box", "1000hz")]
    assert find_score_files(tmp_path / "nowhere") == []


def test_settings_decide_how_a_frequency_with_an_underscore_is_split(tmp_path):
    path = tmp_path / "box_500_hz_influence_metadata.json"
    assert split_score_file_name(path) == ("box_500", "hz")
    assert split_score_file_name(path, ["500_hz"]) == ("box", "500_hz")


def test_every_command_has_a_table():
    from tracinctl.cli.registry import ENTRIES

    commands = set(ENTRIES) - {"pairs", "completion"}
    assert {name for name in tables() if name} == commands | {"features", "ranker"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_setting_of_a_command_is_a_flag(name):
    from tracinctl.cli.app import Commands

    others = {"quiet", "verbose", "json", "csv", "view", "directory", "pair_id"}
    flags = {param.name for param in Commands()[name].params} - others
    assert flags == {setting.name for setting in settings_of(COMMANDS[name]) if not setting.table}


def test_an_unambiguous_key_is_allowed_at_the_top(tmp_path):
    text = "checkpoint_prefix = 'epoch'\nthreshold = -5\nepochs = 3\nthresholds = [-1, -2]\nhop = 64\n"
    settings = settings_from(tmp_path, text)
    assert settings.defaults_for("compute")["checkpoint_prefix"] == "epoch"
    assert settings.defaults_for("exclude")["threshold"] == settings.defaults_for("workflow")["threshold"] == "-5"
    assert settings.defaults_for("train")["epochs"] == 3
    assert settings.defaults_for("sweep")["thresholds"] == settings.defaults_for("plot")["thresholds"] == "-1,-2"


@pytest.mark.parametrize(("table", "other"), [("compute", "workflow"), ("workflow", "compute")])
def test_commands_of_one_step_share_settings(tmp_path, table, other):
    settings = settings_from(tmp_path, f"[{table}]\nmargin = 7.0\n")
    assert settings.defaults_for(other)["margin"] == settings.defaults_for(table)["margin"] == 7.0


def test_an_error_on_two_values_names_both_lines(tmp_path):
    settings = settings_from(tmp_path, "[exclude]\nthreshold = -5\n\n[workflow]\nthreshold = -10\n")
    for command in ("workflow", "exclude"):
        with pytest.raises(SettingsError) as caught:
            settings.defaults_for(command)
        assert "-5 in [exclude], line 2" in caught.value.message
        assert "-10 in [workflow], line 5" in caught.value.message
    assert settings.defaults_for("sweep") == {}


def test_sweep_uses_the_rule_of_exclude_unless_it_has_its_own(tmp_path):
    text = "[exclude]\nmin_occurrences = 2\nupper_threshold = 9.0\n[sweep]\nmin_occurrences = 3\n"
    assert settings_from(tmp_path, text).defaults_for("sweep") == {"min_occurrences": "3", "upper_threshold": 9.0}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[exclude]\npair_mode = 'ranking'", "line 2: `pair_mode` in [exclude] cannot be 'ranking'", "ranking_pair?"),
        ("[compute]\n\nmethod = 'x'", "line 3: `method` in [compute] cannot be 'x'", "one of tracin, margin, fisher"),
        ("[train]\nepochs = 0", "line 2: `epochs` in [train] is 0; it must be 1 or more", "For example  epochs = 30"),
    ],
)
def test_an_error_on_a_value_out_of_range_names_its_line(tmp_path, text, message, hint):
    with pytest.raises(SettingsError) as caught:
        settings_from(tmp_path, text)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("TRACINCTL_SWEP_TOP", "Did you mean TRACINCTL_SWEEP_TOP?"),
        ("TRACINCTL_MATERIEL", "Did you mean TRACINCTL_MATERIAL?"),
        ("TRACINCTL_ZZZZ_QQQQQQQQ", "--help` for the settings."),
        ("TRACINCTL_FEATURES_HOP", ""),
        ("TRACINCTL_TRAIN_COMMAND", ""),
    ],
)
def test_an_unused_variable_is_an_error(name, hint):
    with pytest.raises(SettingsError, match=name) as caught:
        check_environment({name: "1"})
    assert hint in caught.value.hint


def test_two_variables_of_one_setting_must_agree():
    both = {"TRACINCTL_COMPUTE_MARGIN": "2", "TRACINCTL_WORKFLOW_MARGIN": "3"}
    with pytest.raises(SettingsError, match="TRACINCTL_WORKFLOW_MARGIN=3 and TRACINCTL_COMPUTE_MARGIN=2"):
        check_variables("workflow", both)
    check_variables("workflow", {**both, "TRACINCTL_COMPUTE_MARGIN": "3"})
    check_variables("sweep", both)


@pytest.mark.parametrize(("text", "value"), [("relative", "relative"), ("2,1,1", (2, 1, 1)), ("0.5", (0.5,))])
def test_checkpoint_weights_are_a_word_or_numbers(text, value):
    assert parse_weights(text, "checkpoint_weights", WEIGHTS) == value


@pytest.mark.parametrize("text", ["relativ", "1,b", "", "1,,2"])
def test_wrong_weights_are_refused_with_a_suggestion(text):
    with pytest.raises(UsageError, match="`checkpoint_weights` cannot be") as caught:
        parse_weights(text, "checkpoint_weights", WEIGHTS)
    assert ("relative?" if text == "relativ" else "numbers such as 2,1,1") in caught.value.hint


def test_the_settings_file_may_list_weights(tmp_path):
    (tmp_path / "tracinctl.toml").write_text("[compute]\ncheckpoint_weights = [2, 1, 1]\n")
    assert load_settings(tmp_path / "tracinctl.toml").defaults_for("compute")["checkpoint_weights"] == "2,1,1"


def test_the_variable_of_scripts_is_allowed():
    check_environment({"TRACINCTL_BIN": "/somewhere/bin"})


def test_a_path_with_an_escape_sequence_is_refused_with_a_remedy(tmp_path):
    (tmp_path / "tracinctl.toml").write_text('data_root = "C:\\new"\n')
    with pytest.raises(SettingsError, match=r"line 1: `data_root` is 'C:\\new', which is not a path") as caught:
        load_settings(tmp_path / "tracinctl.toml")
    assert "single quotes" in caught.value.hint
