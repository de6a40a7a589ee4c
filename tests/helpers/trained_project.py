"""A small project of recordings, trained, for tests of the commands."""

from __future__ import annotations

from wav_trees import tree

from tracinctl.project.config import load_project, load_settings
from tracinctl.project.settings import SourceSettings
from tracinctl.project.target import Target
from tracinctl.project.train import train_project_ranker
from tracinctl.training.ranker import TrainSettings

SETTINGS = """
material = "plastic"
frequencies = ["500hz", "1000hz"]

[features]
n_fft = 64
hop = 64

[train]
epochs = 2
checkpoint_interval = 1
"""


def make_trained(folder):
    """Two frequencies, four takes per angle, two checkpoints each."""
    for frequency in ("500hz", "1000hz"):
        tree(folder / "data", takes=4, frequency=frequency)
    (folder / "tracinctl.toml").write_text(SETTINGS)
    project = load_project(load_settings(folder / "tracinctl.toml"))
    for frequency in ("500hz", "1000hz"):
        settings = TrainSettings(epochs=2, checkpoint_interval=1)
        train_project_ranker(Target(project, "plastic", frequency), SourceSettings(n_fft=64, hop=64), settings)
    return folder


def turn_round(pairs):
    """Flip every third comparison of a pairs file."""
    lines = pairs.read_text().splitlines()
    for k in range(1, len(lines), 3):
        head, _, outcome = lines[k].rpartition(",")
        lines[k] = f"{head},{-int(outcome)}"
    pairs.write_text("\n".join(lines) + "\n")
