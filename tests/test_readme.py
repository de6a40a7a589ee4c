"""What the README says is so."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

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
    assert table.scores.shape == (40 * 39 // 2, 20 * 19 // 2)
    assert table.self_influence.shape == (780,)
    assert table.sample_influence.shape == (40,)


def block(name):
    """What stands in the README under this mark."""
    return re.search(rf"<!-- {re.escape(name)} -->\n```\w+\n(.*?)```", README, re.DOTALL)[1]


def check_printed(said, name):
    """Check that a run says what the README says, to rounding: another machine may order near ties otherwise."""
    numbers = r"\d+\.\d+"
    assert re.sub(numbers, "N", said) == re.sub(numbers, "N", block(f"{name} prints"))
    got, want = ([float(n) for n in re.findall(numbers, text)] for text in (said, block(f"{name} prints")))
    assert got == pytest.approx(want, abs=0.03)


def run_in(folder, *command):
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_digits_that_were_flipped_are_found_by_the_program_and_by_the_commands(tmp_path):
    (tmp_path / "digits.py").write_text(block("digits.py"), encoding="utf-8")
    (tmp_path / "tracinctl.toml").write_text(block("digits settings"), encoding="utf-8")
    check_printed(run_in(tmp_path, sys.executable, "digits.py"), "digits.py")
    program = Path(sys.executable).parent / "tracinctl"
    run_in(tmp_path, program, "compute", "--no-compute-self-influence")
    run_in(tmp_path, program, "exclude")
    listed = (tmp_path / "exclusions/digits_8x8_excluded_pairs.txt").read_text(encoding="utf-8").splitlines()
    listed = [line for line in listed if not line.startswith("#")]
    truth = "import digits; print(*[f'train{i}_train{j}' for i, j in zip(digits.first[f], digits.second[f])])"
    flipped = set(run_in(tmp_path, sys.executable, "-c", "import digits; f = digits.flipped\n" + truth).split())
    assert len(flipped) > 800
    assert len(listed) > 400
    assert len(flipped & set(listed)) > 0.7 * len(listed)


def test_the_preferences_that_were_flipped_are_found(tmp_path):
    (tmp_path / "reward.py").write_text(block("reward.py"), encoding="utf-8")
    check_printed(run_in(tmp_path, sys.executable, "reward.py"), "reward.py")


LINES = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
COMMANDS = [found for line in LINES for found in re.findall(r"(?:^|/)tracinctl (.*?)(?: &&|$)", line.split("  #")[0])]
COMMANDS += re.findall(r"`tracinctl ([a-z]+ [^`|>]*)[`|>]", README)


@pytest.mark.parametrize("line", sorted(set(COMMANDS)))
def test_a_command_line_is_one_that_there_is(line):
    name, *rest = shlex.split(line)
    assert name in ENTRIES
    known = {option for param in Commands()[name].params for option in (*param.opts, *param.secondary_opts)}
    assert {word for word in rest if word.startswith("--")} <= known


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
    for step, place in ((steps[0], tmp_path), (steps[1], folder), ("plot --frequency 500hz", folder)):
        run = [sys.executable, "-m", "tracinctl", *step.split()]
        shown.append(subprocess.run(run, cwd=place, capture_output=True, text=True, check=True).stdout)
    for name, text in zip(("workflow", "plot"), shown[1:], strict=True):
        block = re.search(rf"<!-- {name} -->\n```text\n(.*?)```", README, re.DOTALL)[1]
        assert block == text
