"""The command line, run in this process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracinctl.cli.app import app
from tracinctl.cli.base import run
from tracinctl.cli.output.terminal import terminal


@dataclass
class Result:
    code: int
    out: str
    err: str


class CommandLine:
    """Runs commands and keeps what they wrote apart."""

    def __init__(self, capsys):
        self.capsys = capsys

    def __call__(self, *arguments):
        terminal.__init__()
        self.capsys.readouterr()
        code = run(app, [str(argument) for argument in arguments])
        return Result(code, *self.capsys.readouterr())


def write_score_file(path, scores, train_ids=None, test_ids=None):
    """A score file in the users' format; ids are made up as theirs look."""
    import json

    scores = np.asarray(scores, dtype=float)
    train_ids = train_ids or [f"box_deg000_1hz_{row:02}_box_deg036_1hz_{row:02}" for row in range(len(scores))]
    test_ids = test_ids or [f"box_deg000_1hz_9{k}_box_deg036_1hz_9{k}" for k in range(scores.shape[1])]
    content = {
        train: {f"tracin_influence_{test}": value for test, value in zip(test_ids, row, strict=True)}
        for train, row in zip(train_ids, scores.tolist(), strict=True)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return train_ids
