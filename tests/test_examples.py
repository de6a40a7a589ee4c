"""The programs of tests/examples find the errors that they plant, alone and by the commands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import TESTS

EXAMPLES = TESTS / "examples"


def run_in(folder, *command):
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def numbers_of(printed):
    """The numbers of each line by what stands before them."""
    return {name: float(value) for name, value in re.findall(r"(.+): (\d+\.\d+)", printed)}


def test_the_digits_that_were_flipped_are_found_by_the_program_and_by_the_commands(tmp_path):
    shutil.copy(EXAMPLES / "digits.py", tmp_path)
    shutil.copy(EXAMPLES / "digits.toml", tmp_path / "tracinctl.toml")
    assert numbers_of(run_in(tmp_path, sys.executable, "digits.py")) == {
        "AUC of the votes": pytest.approx(0.88, abs=0.03),
        "flipped among the 200 with most votes": pytest.approx(0.88, abs=0.03),
    }
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
    shutil.copy(EXAMPLES / "reward.py", tmp_path)
    assert numbers_of(run_in(tmp_path, sys.executable, "reward.py")) == {
        "AUC of the mean score": pytest.approx(0.94, abs=0.03),
        "flipped among the 20 most harmful": pytest.approx(0.85, abs=0.06),
    }
