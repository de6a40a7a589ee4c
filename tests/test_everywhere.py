"""Terminals and file systems of other machines, as far as they can be had on this one."""

from __future__ import annotations

import codecs
import os
import subprocess
import sys

import numpy as np
import pytest
from score_tables import table

from tracinctl.cli.encodings import ERRORS, let_streams_write_anything
from tracinctl.scores.files import write_scores

OLD = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "cp1252"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    scores = np.random.default_rng(0).standard_normal((60, 8))
    items = [(f"m_deg{k % 3:03}_f_{k}", f"m_deg{k % 2:03}_f_{k + 1}") for k in range(60)]
    write_scores(table(scores, train_items=items), folder / "metadata" / "m_f_influence_metadata.json")
    return folder


@pytest.mark.parametrize("encoding", OLD, ids=lambda each: next(iter(each.values())))
def test_an_old_terminal_gets_pictures_of_its_own_letters(encoding, project):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
    program = "import sys; from tracinctl.cli.app import app; from tracinctl.cli.house import run\n"
    program += "for line in ('--help', 'sweep', 'plot overview', 'plot sweep', 'plot heatmap', 'plot top',"
    program += " 'exclude --dry-run', 'swep', 'plot top --test-pair \\u4e2d'): run(app, line.split())"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project, env=environment | encoding, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"did not expect" not in done.stderr
    assert b"error:" in done.stderr
    assert b"#####" in done.stdout, "bars"
    assert b"\\u" not in done.stdout
    assert b"\\u4e2d" in done.stderr


def test_a_letter_stands_in_for_a_drawing_character_and_what_has_none_is_escaped():
    let_streams_write_anything()
    drawn = "├─█▌▏┊▸ ⡇⠀ é \u4e2d"
    written = drawn.encode("ascii", ERRORS)
    assert written == rb"+-##.|> *  \xe9 \u4e2d"
    assert codecs.lookup_error(ERRORS)
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("ascii", ERRORS)
