"""What the README says is so."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest
from places import ROOT

from tracinctl.cli.app import Commands
from tracinctl.cli.registry import ENTRIES
from tracinctl.project.config import load_settings

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_of_an_own_model_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"<!-- example -->\n```python\n(.*?)```", README, re.DOTALL)
    space: dict = {}
    exec(code.group(1), space)  # noqa: S102  the example is what is tested
    table = space["table"]
    assert table.scores.shape == (20 * 19 // 2, 20 * 19 // 2)
    assert table.self_influence.shape == (190,)
    assert table.sample_influence.shape == (20,)


def block(name):
    """What stands in the README under this mark."""
    return re.search(rf"<!-- {re.escape(name)} -->\n```\w+\n(.*?)```", README, re.DOTALL)[1]


LINES = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
COMMANDS = [found for line in LINES for found in re.findall(r"(?:^|/)tracinctl (.*?)(?: &&|$)", line.split("  #")[0])]
COMMANDS += re.findall(r"`tracinctl ([a-z]+ [^`|>]*)[`|>]", README)


@pytest.mark.parametrize("line", sorted(set(COMMANDS)))
def test_a_command_line_is_one_that_there_is(line):
    name, *rest = shlex.split(line)
    assert name in ENTRIES
    known = {option for param in Commands()[name].params for option in (*param.opts, *param.secondary_opts)}
    assert {word for word in rest if word.startswith("--")} <= known | {"--help"}


def test_the_settings_shown_are_settings(tmp_path):
    path = tmp_path / "tracinctl.toml"
    path.write_text(re.search(r"<!-- settings -->\n```toml\n(.*?)```", README, re.DOTALL)[1], encoding="utf-8")
    settings = load_settings(path)
    assert settings.defaults_for("sweep")["thresholds"] == "0,-5,1%"


@pytest.mark.nightly
def test_the_output_shown_is_the_output(tmp_path):
    """The demo of the README, in full, and what its commands print."""
    command = next(line for line in LINES if "tracinctl demo" in line)
    steps = re.findall(r"tracinctl (demo [\w-]+|workflow [^&]*)", command)
    assert len(steps) == 2
    folder = tmp_path / steps[0].split()[1]
    shown = []
    for step, place in ((steps[0], tmp_path), (steps[1], folder)):
        run = [sys.executable, "-m", "tracinctl", *step.split()]
        shown.append(subprocess.run(run, cwd=place, capture_output=True, text=True, check=True).stdout)
    assert block("workflow") == shown[1]
