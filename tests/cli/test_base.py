"""All commands: help, sources of settings, errors, exit codes, interruption, a closed pipe."""

import errno
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from command_line import strange_names, write_score_file
from places import ROOT

from tracinctl.cli.app import Commands
from tracinctl.cli.base import keep_interrupts
from tracinctl.cli.registry import ENTRIES
from tracinctl.project.target import Target

COMMANDS = [*ENTRIES]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_score_file(tmp_path / "metadata" / "box_1hz_influence_metadata.json", [[-6, -7], [1, 2]])
    return tmp_path


def test_the_help_page_lists_every_command_with_its_line(cli):
    result = cli("--help")
    assert result.code == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name} +{re.escape(ENTRIES[name].summary[:30])}", result.out, re.MULTILINE)


def test_without_a_command_the_help_page_is_shown(cli):
    assert cli().out == cli("--help").out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_starts_with_examples_and_fits_80_columns(cli, name):
    result = cli(name, "--help")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] in {"Example", "Examples"}
    assert re.match(rf"  tracinctl .*\b{name}\b", lines[1])
    assert [line for line in lines if len(line) > 80] == []


def test_a_command_without_settings_does_not_explain_their_sources(cli):
    assert "where each setting came from" in " ".join(cli("demo", "--help").out.split())
    assert "Precedence" not in cli("completion", "--help").out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_option_with_its_default_and_names_one_variable(cli, name):
    command = Commands()[name]
    text = " ".join(cli(name, "--help-all" if command.daily else "--help").out.split())
    if command.settings:
        variable = f"TRACINCTL_{name}_{next(iter(command.settings))}".upper()
        assert text.count("environment variable") == text.count(variable) == 1
    for param in Commands()[name].params:
        if param.param_type_name != "option" or param.hidden:
            continue
        assert all(option in text for option in (*param.opts, *param.secondary_opts))
        assert param.help
        if param.default not in (None, False, True, 0, ()) and param.show_default is True:
            assert f"[default: {param.default}]" in text


def test_workflow_help_shows_the_daily_options_and_how_to_see_all(cli):
    page, everything = cli("workflow", "--help").out, cli("workflow", "--help-all").out
    assert len(page.splitlines()) < 80
    assert "--threshold " in page
    assert "--ghm-bins" not in page
    assert "--ghm-bins" in everything
    shown = [text.count("\n  --") + text.count("\n  -") for text in (page, everything)]
    assert "tracinctl workflow --help-all shows" in page
    assert shown[0] < shown[1] / 2
    assert cli("sweep", "--help-all").code == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_the_flags_of_examples_exist(name):
    command = Commands()[name]
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    for example in command.epilog.splitlines():
        flags = re.findall(r"--[a-z-]+", example.split(name, 1)[1])
        assert set(flags) <= known, example


def test_help_works_with_broken_settings(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tracinctl.toml").write_text("materia = 1")
    assert cli("sweep", "--help").code == 0
    result = cli("sweep")
    assert result.code == 2
    assert "Did you mean `material`?" in result.err


def test_the_version_is_printed(cli):
    from tracinctl import __version__

    assert cli("--version").out == f"tracinctl {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (["swep"], "no such command 'swep'", "Did you mean sweep?"),
        (["sweep", "--treshold", "1"], "no such option: --treshold", "Did you mean --thresholds?"),
        (["sweep", "--dry-runn"], "no such option: --dry-runn", "See tracinctl sweep --help."),
        (["workflow", "--dry-run"], "no such option", "an option of exclude: tracinctl exclude --dry-run ..."),
        (["sweep", "--dry-run"], "no such option: --dry-run", "an option of exclude: tracinctl exclude --dry-run ..."),
        (["exclude", "--thresholds", "-5"], "no such option: --thresholds", "Did you mean --threshold?"),
        (["--verison"], "no such option: --verison", "Did you mean --version?"),
        (["sweep", "--config", "x.toml"], "no such option: --config", "tracinctl --config ... sweep"),
        (["--thresholds", "-5"], "no such option: --thresholds", "tracinctl sweep --thresholds ..."),
        (["sweep", "--top", "many"], "'many' is not a whole number", "See tracinctl sweep --help."),
        (["sweep", "--top"], "requires an argument", "See tracinctl sweep --help."),
        (["exclude", "--pair-mode", "ranking"], "'ranking' is not one of", "Did you mean ranking_pair?"),
        (["plot", "heatmp"], "'heatmp' is not one of", "Did you mean heatmap?"),
        (
            ["sweep", "--thresholds", "-5,", "-10"],
            "no such option: -1",
            "Write it without spaces: --thresholds -5,-10",
        ),
        (
            ["sweep", "--thresholds", "-5", ",", "1", "%", "-10", "-q"],
            "no such option: -1",
            "Write it without spaces: --thresholds -5,1%,-10\n",
        ),
        (["sweep", "--frequency", "1hz", "2hz"], "unexpected extra argument", "without spaces: --frequency 1hz,2hz\n"),
        (["sweep", "--frequency", "1", "hz", "2hz"], "unexpected extra argument", "spaces: --frequency 1hz,2hz\n"),
        (
            ["sweep", "--metadata-file", "a.json", "my b.json"],
            "unexpected extra argument",
            "Repeat the flag: --metadata-file a.json --metadata-file 'my b.json'\n",
        ),
        (["plot", "--frequency", "500", "hz"], "'hz' is not one of", "without spaces: --frequency 500hz\n"),
        (["exclude", "--max-exclusions", "0"], "0 is not 1 or more", "See tracinctl exclude --help."),
        (["completion"], "missing argument 'SHELL'. Choose from: bash, zsh", "See tracinctl completion --help."),
        (["sweep", "extra"], "unexpected extra argument", "See tracinctl sweep --help."),
    ],
)
def test_a_mistyped_line_gets_a_suggestion(cli, project, arguments, said, hint):
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert hint in result.err


def test_flag_beats_variable_beats_settings_beats_default(cli, project, monkeypatch):
    def tried(*arguments):
        text = cli("-v", "sweep", *arguments).err
        assert not (project / "tracinctl.toml").exists() or f"(file {project / 'tracinctl.toml'})" in text
        return re.search(r"^  thresholds +(\S+) +(.*)$", text, re.MULTILINE).groups()

    assert tried() == ("0,-5,-10,-15", "default")
    (project / "tracinctl.toml").write_text("[sweep]\nthresholds = [-1, -2]\n")
    assert tried() == ("-1,-2", "tracinctl.toml, line 2")
    monkeypatch.setenv("TRACINCTL_SWEEP_THRESHOLDS", "-3")
    assert tried() == ("-3", "environment variable TRACINCTL_SWEEP_THRESHOLDS")
    assert tried("--thresholds", "-4") == ("-4", "flag --thresholds")


def test_the_settings_file_can_be_named(cli, project, monkeypatch):
    elsewhere = project / "other.toml"
    elsewhere.write_text("[sweep]\ntop = 7\n")
    assert re.search(r"^  top +7 ", cli("--config", elsewhere, "-v", "sweep").err, re.MULTILINE)
    monkeypatch.setenv("TRACINCTL_CONFIG", str(elsewhere))
    assert re.search(r"^  top +7 ", cli("-v", "sweep").err, re.MULTILINE)
    result = cli("--config", project / "nowhere.toml", "sweep")
    assert result.code == 2
    assert "nowhere.toml: No such file" in result.err


def test_a_wrong_value_names_its_source(cli, project, monkeypatch):
    monkeypatch.setenv("TRACINCTL_SWEEP_TOP", "many")
    assert "The value comes from environment variable TRACINCTL_SWEEP_TOP." in cli("sweep").err
    monkeypatch.delenv("TRACINCTL_SWEEP_TOP")
    (project / "tracinctl.toml").write_text("[exclude]\npair_mode = 'both'\n")
    result = cli("exclude")
    assert result.code == 2
    assert "settings file tracinctl.toml, line 2: `pair_mode` in [exclude] cannot be 'both'" in result.err


def test_a_misspelt_variable_is_named(cli, project, monkeypatch):
    monkeypatch.setenv("TRACINCTL_SWEEP_TOPP", "3")
    result = cli("sweep")
    assert result.code == 2
    assert "Did you mean TRACINCTL_SWEEP_TOP?" in result.err


def test_only_vv_shows_a_traceback(cli, project):
    (project / "metadata" / "box_1hz_influence_metadata.json").write_text("broken")
    assert "Traceback" not in cli("-v", "sweep").err
    result = cli("-vv", "sweep")
    assert result.code == 1
    assert "Traceback" in result.err
    assert "error: " in result.err


def test_an_internal_error_is_one_message(cli, project, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("by [nothing]\x1b[31m")

    monkeypatch.setattr("tracinctl.scores.sweep.sweep_thresholds", broken)
    result = cli("sweep")
    assert (result.code, result.out) == (1, "")
    assert "ZeroDivisionError: by [nothing]\\x1b[31m" in result.err
    assert "-vv" in result.err
    assert "Traceback" not in result.err


def test_an_error_of_the_system_names_the_path(cli, project, monkeypatch):
    (project / "exclusions").write_text("a file where a folder should be")
    result = cli("exclude")
    assert (result.code, result.out) == (1, "")
    assert "exclusions" in result.err
    assert "Traceback" not in result.err

    for number, hint in ((errno.EACCES, "you may write to it"), (errno.ENOSPC, "Free space on the disk.")):

        def refused(*_, number=number, **__):
            raise OSError(number, os.strerror(number), "/some/where")

        monkeypatch.setattr("tracinctl.scores.files.open.open_scores", refused)
        result = cli("sweep")
        assert result.code == 1
        assert f"error: /some/where: {os.strerror(number)}" in result.err
        assert hint in result.err


def test_an_interrupt_while_an_object_is_deleted_ends_the_work(monkeypatch):
    class Drawn:
        def __init__(self, error):
            self.error = error

        def __del__(self):
            raise self.error

    shown = []
    monkeypatch.setattr("sys.unraisablehook", lambda dropped: shown.append(dropped.exc_type))
    keep_interrupts()
    Drawn(ValueError())
    assert shown == [ValueError]
    Drawn(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        sum(k for k in range(10**8))
    assert shown == [ValueError]


def test_an_interruption_says_what_was_kept_and_how_to_continue(cli, project, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tracinctl.project.train.train_project_ranker", interrupted)
    monkeypatch.setattr(
        "tracinctl.project.selection.training_sets", lambda project, *_: [Target(project, "box", "1hz")]
    )
    result = cli("train")
    assert (result.code, result.out) == (130, "")
    assert "interrupted" in result.err
    assert "run the same command to continue" in result.err


def program(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONUNBUFFERED", None)
    return subprocess.Popen(
        [sys.executable, "-m", "tracinctl", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_a_reader_that_goes_away_is_no_error(project):
    ids = [f"box_deg000_1hz_{k}_box_deg036_1hz_{k}" for k in range(20_000)]
    write_score_file(project / "metadata" / "box_1hz_influence_metadata.json", [[-1.0]] * len(ids), train_ids=ids)
    process = program("exclude", "--csv", "--dry-run", "-q")
    process.stdout.readline()
    process.stdout.close()
    assert "Traceback" not in (err := process.stderr.read())
    assert "BrokenPipe" not in err
    process.stderr.close()
    assert process.wait() == 0


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_ctrl_c_ends_with_130_and_without_a_traceback(project):
    source = project / "slow.py"
    source.write_text(
        "import pathlib, time\ndef load(frequency, material):\n    pathlib.Path('begun').touch()\n    time.sleep(60)\n"
    )
    (project / "checkpoints").mkdir()
    (project / "checkpoints" / "model_epoch_1.pt").touch()
    process = program("compute", "--source", "slow:load", "--material", "box", "--frequency", "1hz")
    end = time.monotonic() + 60
    while not (project / "begun").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert "interrupted" in err
    assert "run the same command to continue" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep", "--frequency", "1Hz"], "Did you mean box 1hz?"),
        (["exclude", "--frequency", "1Hz"], "Did you mean box 1hz?"),
        (["plot", "--frequency", "1Hz"], "Did you mean box 1hz?"),
        (["workflow", "--frequency", "1Hz"], "Did you mean box 1hz?"),
        (["sweep", "--metadata-dir", "nowhere"], "no influence scores in nowhere"),
        (["train", "--data-root", "nowhere"], "there is no data folder nowhere"),
        (["sweep", "--metadata-file", "metadata"], "metadata"),
        (["exclude", "--output-file", "metadata"], "metadata"),
        (["pairs", "import", "nope.csv"], "nope.csv"),
    ],
)
def test_a_wrong_value_or_name_is_exit_code_2(cli, project, arguments, said):
    result = cli(*arguments)
    assert result.code == 2, result.err
    assert result.err.startswith("error: ")
    assert said in result.err


@pytest.mark.parametrize("arguments", [["compute"], ["train"]])
def test_a_frequency_in_another_case_gets_a_suggestion(cli, project, arguments):
    folder = project / "data" / "deg000" / "box"
    folder.mkdir(parents=True)
    (folder / "box_deg000_1hz_00.wav").touch()
    result = cli(*arguments, "--frequency", "1Hz")
    assert result.code == 2
    assert "Did you mean 1hz?" in result.err


def test_missing_data_that_nobody_named_is_exit_code_1(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("sweep").code == 1
    assert cli("compute").code == 1


def test_the_environment_sets_width_and_colour(cli, project, monkeypatch):
    assert "\x1b" not in cli("sweep").out
    assert max(map(len, cli("sweep", "--help").out.splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", "70")
    assert max(map(len, cli("sweep", "--help").out.splitlines())) <= 70
    assert max(map(len, cli("plot", "distribution").out.splitlines())) <= 70
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in cli("sweep").out
    assert "\x1b[" in cli("sweep", "--help").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in cli("sweep").out + cli("sweep", "--help").out


EARLY = """
import builtins, sys
import tracinctl.__main__ as entry
real = builtins.__import__
def interrupted(name, *rest):
    if name == "typer":
        raise KeyboardInterrupt
    return real(name, *rest)
builtins.__import__ = interrupted
entry.main()
"""


def test_ctrl_c_before_the_program_is_loaded_shows_no_traceback():
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.splitlines() == ["warning: interrupted", "  Nothing was written."]


def test_sigterm_ends_with_143_and_says_what_was_kept(cli, project, monkeypatch):
    from tracinctl.cli.base import end_by_signal

    def ended(*_, **__):
        end_by_signal(signal.SIGTERM, None)

    monkeypatch.setattr("tracinctl.scores.files.open.open_scores", ended)
    result = cli("sweep")
    assert result.code == 143
    assert result.err.startswith("warning: ended by SIGTERM\n")


@pytest.mark.parametrize("command", ["sweep", "exclude", "plot", "review", "explain x_y"])
def test_a_command_without_scores_names_only_its_own_flags(cli, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    result = cli(*command.split())
    assert "Make them with: tracinctl compute --material NAME --frequency NAME" in result.err
    takes_files = "--metadata-file" in cli(command.split()[0], "--help-all").out
    assert takes_files == ("or give a file: --metadata-file FILE" in result.err.lower())


def test_a_setting_without_a_flag_is_named_with_its_file(cli, project):
    (project / "tracinctl.toml").write_text('material = "box"\nfrequencies = ["1hz"]\nsource = "nowhere:load"\n')
    (project / "checkpoints/box_1hz").mkdir(parents=True)
    (project / "checkpoints/box_1hz/model_epoch_1.pt").touch()
    assert "error: source (in tracinctl.toml) 'nowhere:load'" in cli("review").err
    assert "error: --source 'nowhere:load'" in cli("compute").err


@pytest.mark.parametrize("message", ["Give a smaller `memory`.", "Give a smaller --memory."])
def test_a_message_that_names_a_flag_of_another_command_fails_its_test(message):
    assert strange_names("sweep", message)
    assert strange_names("workflow", message.replace("`memory`", "--memory")) == []


def test_a_wrong_choice_is_named_by_its_flag_only(cli, project):
    err = cli("compute", "--method", "nope").err
    assert "invalid value for '--method': 'nope' is not one of" in err
    assert "TRACINCTL" not in err


@pytest.fixture
def below(project, monkeypatch):
    """The current folder is below the project."""
    (project / "below").mkdir()
    (project / "tracinctl.toml").write_text('material = "box"\nfrequencies = ["1hz"]\n')
    monkeypatch.chdir(project / "below")
    return project


def test_settings_of_a_parent_folder_are_named(cli, below):
    assert f"Settings: {below / 'tracinctl.toml'}" in cli("sweep").err
    assert "Settings: " not in cli("--config", "../tracinctl.toml", "sweep").err
    assert "Settings: " not in cli("-q", "sweep").err


def test_another_users_settings_in_a_parent_folder_are_refused(cli, below, monkeypatch):
    file = below / "tracinctl.toml"
    if os.getuid() == 0:
        os.chown(file, 12345, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    result = cli("sweep")
    assert result.code == 2
    assert "belongs to another user and is not used" in result.err
    assert "--config" in result.err
    assert cli("--config", file, "sweep").code == 0
    monkeypatch.chdir(below)
    assert cli("sweep").code == 0, "in the current folder, the user chose it"
