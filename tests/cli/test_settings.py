"""Each setting is declared once and has one meaning in file, variable and flag, in a step and in workflow."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import write_score_file

import tracinctl
from tracinctl.cli.app import app
from tracinctl.cli.options import settings_from
from tracinctl.project.commands import COMMANDS, SAME_SETTING
from tracinctl.project.declared import Kind, settings_of
from tracinctl.project.tables import identity

PACKAGE = Path(tracinctl.__file__).parent
STEPS = ("compute", "exclude")


def other_value(setting):
    """A value for a flag that is not the default."""
    if setting.choices:
        return next(choice for choice in setting.choices if choice != setting.default)
    kinds = {Kind.WHOLE: 7, Kind.NUMBER: 0.25, Kind.PATH: "other", Kind.LIST: "one,two", Kind.SCORE: "3"}
    return str({**kinds, Kind.TEXT: "my:other", Kind.SIZE: "2GiB", Kind.WEIGHTS: "uniform"}[setting.kind])


def in_file(setting):
    """The same value as tracinctl.toml writes it."""
    if setting.kind is Kind.TRUTH:
        return str(not setting.default).lower()
    value = other_value(setting)
    return value if setting.kind in {Kind.WHOLE, Kind.NUMBER} else f'"{value}"'


def as_flag(setting):
    name = setting.name.replace("_", "-")
    if setting.kind is Kind.TRUTH:
        return [f"--no-{name}" if setting.default else f"--{name}"]
    return [f"--{name}", other_value(setting)]


def value_of(command, setting, *arguments):
    """The value that a command gets for a setting."""
    import typer

    program = typer.main.get_command(app)
    parent = program.make_context("tracinctl", [command, *arguments])
    ctx = program.commands[command].make_context(command, list(arguments), parent=parent)
    return next(values_of(settings_from(command, ctx, dict(ctx.params)), setting))


def values_of(group, setting):
    """The values of a setting in a group of settings and the groups within it."""
    if setting.owner in type(group).__mro__ and setting.field_name in vars(group):
        yield getattr(group, setting.field_name)
    for value in vars(group).values():
        if hasattr(value, "__dataclass_fields__"):
            yield from values_of(value, setting)


SHARED = [
    (step, setting)
    for step in STEPS
    for setting in settings_of(COMMANDS[step])
    if identity(setting) in {identity(other) for other in settings_of(COMMANDS["workflow"])}
]
NAMES = [f"{step}-{setting.name}" for step, setting in SHARED]


def test_workflow_takes_every_setting_of_its_steps():
    missing = {
        setting.name
        for step in STEPS
        for setting in settings_of(COMMANDS[step])
        if identity(setting) not in {identity(other) for other in settings_of(COMMANDS["workflow"])}
    }
    assert missing == {"metadata_file", "output_file", "dry_run", "by"}, "these are for one call only"
    assert set(SAME_SETTING["workflow"]) == set(STEPS)


@pytest.mark.parametrize(("step", "setting"), SHARED, ids=NAMES)
def test_a_setting_has_the_same_effect_in_a_step_and_in_workflow(step, setting, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    usual = value_of(step, setting)
    assert value_of("workflow", setting) == usual
    given = value_of(step, setting, *as_flag(setting)) if not setting.table and setting.kind is not Kind.TEXTS else None
    if given is not None:
        assert given != usual
        assert value_of("workflow", setting, *as_flag(setting)) == given
    if setting.one_call:
        return
    for table in (setting.table,) if setting.table else (step, "workflow"):
        (tmp_path / "tracinctl.toml").write_text(f"[{table}]\n{setting.name} = {in_file(setting)}\n")
        in_the_file = value_of(step, setting)
        assert in_the_file != usual
        assert value_of("workflow", setting) == in_the_file
    (tmp_path / "tracinctl.toml").unlink()
    for table in () if setting.table else (step, "workflow"):
        value = str(not setting.default).lower() if setting.kind is Kind.TRUTH else other_value(setting)
        with monkeypatch.context() as patched:
            patched.setenv(f"TRACINCTL_{table}_{setting.name}".upper(), value)
            assert value_of(step, setting) == value_of("workflow", setting) == given


FILE = """
[compute]
loss_type = "logistic"
method = "margin"
num_test_samples = 9
save_per_checkpoint = true

[exclude]
threshold = "30%"
min_occurrences = 2
max_exclusions = 5
update_metadata = true
"""


def test_workflow_writes_the_same_files_as_its_steps(cli, project, tmp_path):
    with (project / "tracinctl.toml").open("a") as file:
        file.write(FILE)
    other = tmp_path / "step by step"
    shutil.copytree(project, other)
    assert cli("workflow", "--frequencies", "500hz").code == 0
    written = {path.name: path.read_text() for folder in ("metadata", "exclusions") for path in Path(folder).iterdir()}
    os.chdir(other)
    assert cli("compute", "--frequency", "500hz").code == 0
    assert cli("exclude", "--frequency", "500hz").code == 0
    again = {path.name: path.read_text() for folder in ("metadata", "exclusions") for path in Path(folder).iterdir()}
    assert written.keys() == again.keys()
    assert any("per_checkpoint" in name for name in written)
    assert [name for name in written if written[name] != again[name]] == []
    assert '"excluded": true' in written["plastic_500hz_metadata.json"]


def test_a_default_is_declared_once(tmp_path):
    """A new default of the margin, changed in one place, reaches help, a run and the API."""
    shutil.copytree(PACKAGE, tmp_path / "tracinctl", ignore=shutil.ignore_patterns("__pycache__"))
    declared = tmp_path / "tracinctl/engine/options.py"
    text = declared.read_text()
    assert text.count("margin: float = setting(1.0") == 1
    declared.write_text(text.replace("margin: float = setting(1.0", "margin: float = setting(7.5"))
    code = (
        "import contextlib, inspect, io, os, sys, tracinctl\n"
        # help ends its process at once
        "os._exit = sys.exit\n"
        "from tracinctl.cli import app\n"
        "from tracinctl.project.settings import ComputeSettings\n"
        "for words in (['compute', '--help'], ['workflow', '--help-all']):\n"
        "    sys.argv, page = ['tracinctl', *words], io.StringIO()\n"
        "    with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):\n"
        "        app.main()\n"
        "    print(' '.join(page.getvalue().split('--margin')[1].split()).partition(']')[0])\n"
        "for function in (tracinctl.compute_influence, tracinctl.RankingTracInCP):\n"
        "    print(inspect.signature(function).parameters['margin'].default)\n"
        "print(ComputeSettings().engine.loss.margin)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.splitlines() == [
        *["X Margin of the standard, ghm and capped losses. [default: 7.5"] * 2,
        *["7.5"] * 3,
    ]


@pytest.fixture
def old_scores(tmp_path, monkeypatch):
    """Scores without their checkpoints."""
    monkeypatch.chdir(tmp_path)
    write_score_file(tmp_path / "metadata" / "box_1hz_influence_metadata.json", [[-1.0], [2.0]])


@pytest.mark.usefixtures("old_scores")
@pytest.mark.parametrize("flags", [["--margin", "10"], ["--loss-type", "logistic"], ["--method", "fisher"]])
def test_old_scores_are_not_used_for_other_settings(cli, flags):
    result = cli("workflow", *flags)
    assert result.code == 2
    assert re.search(rf"{flags[0]} is {flags[1]}(\.0)?, but the scores in .* do not say so", result.err)
    assert not Path("exclusions").exists()


@pytest.mark.usefixtures("old_scores")
def test_the_status_of_old_scores_says_so(cli):
    result = cli("workflow")
    assert result.code == 0
    assert "checkpoints gone" in result.out
    (run,) = cli.json("workflow")
    assert run["status"] == "done"
    assert run["scores_of"] in result.out


@pytest.mark.usefixtures("old_scores")
def test_evaluate_only_is_done_and_contradictions_are_refused(cli):
    assert cli("workflow", "--json", "--plot", "top").code == 2
    assert cli("workflow", "--no-compute-influence").code == 2
    (run,) = cli.json("workflow", "--evaluate-only")
    assert [row["threshold"] for row in run["thresholds"]] == [0, -5, -10, -15]
    assert run["output_file"] is None


@pytest.mark.usefixtures("old_scores")
def test_a_value_that_the_library_refuses_names_its_source(cli, monkeypatch):
    Path("tracinctl.toml").write_text("[compute]\n\nmemory = 'much'\n")
    result = cli("workflow")
    assert result.code == 2
    assert "error: --memory 'much' is not a size" in result.err
    assert "The value comes from tracinctl.toml, line 3." in result.err
    Path("tracinctl.toml").unlink()
    monkeypatch.setenv("TRACINCTL_COMPUTE_MEMORY", "more")
    assert "The value comes from environment variable TRACINCTL_COMPUTE_MEMORY." in cli("workflow").err
    assert "The value comes from" not in cli("workflow", "--memory", "most").err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["exclude", "--pair-mode", "sample", "--threshold", "-5"],
            "--threshold has no effect with --pair-mode sample",
        ),
        (["workflow", "--pair-mode", "sample", "--rule", "total"], "--rule has no effect with --pair-mode sample"),
        (["compute", "--loss-type", "logistic", "--margin", "2"], "--margin has no effect with --loss-type logistic"),
        (["train", "--loss-type", "logistic", "--margin", "2"], "--margin has no effect with --loss-type logistic"),
        (["compute", "--ghm-bins", "2"], "--ghm-bins has no effect with --loss-type standard"),
        (["exclude", "--pair-mode", "full_pair", "--threshold", "-5"], ""),
        (["compute", "--loss-type", "ghm", "--margin", "2", "--ghm-bins", "3"], ""),
    ],
)
def test_a_flag_without_an_effect_is_named(cli, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tracinctl.toml").write_text("[compute]\nghm_bins = 4\n")
    result = cli(*arguments)
    assert result.code != 0, "there are no data"
    assert [line for line in result.err.splitlines() if "no effect" in line] == ([f"warning: {said}"] if said else [])
