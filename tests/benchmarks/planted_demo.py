"""The demo as a task of the evaluation: recordings, with flipped comparisons and misfiled recordings at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from planted_tasks import Task

from tracinctl.data.planted import planted_ids
from tracinctl.demo.make import DemoSize, make_demo
from tracinctl.engine.checkpoints.listing import list_checkpoints
from tracinctl.project.config import load_project, load_settings
from tracinctl.project.settings import SourceSettings
from tracinctl.project.sources import load_data, make_model
from tracinctl.project.target import Target

FREQUENCY = "500hz"


def demo_tasks(
    folder: Path, seed: int, size: DemoSize | None = None
) -> tuple[list[Task], torch.nn.Module, Sequence[Path]]:
    """Make a demo; its flipped pairs and its misfiled items as tasks, its model and its checkpoints.

    Nothing of it judges: what leaving out regains here is what ``tracinctl workflow --retrain`` shows.
    """
    [made] = make_demo(folder, [FREQUENCY], seed, size=size).trained
    settings = load_settings(folder / "tracinctl.toml")
    project = load_project(settings)
    origin = SourceSettings(n_fft=settings.get("features", "n_fft", 0), hop=settings.get("features", "hop", 0))
    data = load_data(Target(project, made.material, FREQUENCY), origin)
    checkpoints = list_checkpoints(Target(project, made.material, FREQUENCY).checkpoints)
    pairs, items = planted_ids(folder / "planted.csv", made.material, FREQUENCY)
    flipped = np.isin(data.train_pairs.row_ids(data.train.ids), list(pairs))
    misfiled = np.isin(data.train.ids, list(items))
    tasks = [
        Task("demo", error, float(bad.mean()), data, bad, data.test, data.test_pairs)
        for error, bad in (("flipped", flipped), ("mislabelled", misfiled))
    ]
    return tasks, make_model(origin, checkpoints[0]), checkpoints
