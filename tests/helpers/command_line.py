"""The command line, run in this process."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import numpy as np
import typer

from tracinctl.cli.app import app
from tracinctl.cli.base import run
from tracinctl.cli.output.terminal import terminal
from tracinctl.cli.registry import ENTRIES


@dataclass
class Result:
    code: int
    out: str
    err: str


def options_of(command):
    """The flags of a command, and their parameters in the library."""
    params = command.params
    flags = {flag for param in params for flag in (*param.opts, *param.secondary_opts)}
    return flags | {"--help", "--help-all"}, {param.name for param in params}


PROGRAM = typer.main.get_command(app)
OPTIONS = {name: options_of(PROGRAM.commands[name]) for name in ENTRIES} | {"": options_of(PROGRAM)}
NAMES = set().union(*(names for _, names in OPTIONS.values()))


def strange_names(command, text):
    """Flags and settings in a command's messages that belong to no command named on the same line.

    Keys of settings files and flags of users' training programs are not checked.
    """
    of_file = "error: settings file" in text
    strange = [] if of_file else [f"`{name}`" for name in re.findall(r"`(\w+)`", text) if name in NAMES]
    for line in (line for line in text.splitlines() if "ommand = " not in line):
        named = {"", command, *(word for word in re.findall(r"\w+", line) if word in OPTIONS)}
        flags = set().union(*(OPTIONS[name][0] for name in named))
        strange += [flag for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", line) if flag not in flags]
    return strange


class CommandLine:
    """Run commands and separate their output; fail if a message names a flag that the command does not have."""

    def __init__(self, capsys):
        self.capsys = capsys

    def __call__(self, *arguments):
        terminal.__init__()
        self.capsys.readouterr()
        code = run(app, [str(argument) for argument in arguments])
        result = Result(code, *self.capsys.readouterr())
        command = next((str(word) for word in arguments if word in OPTIONS), "")
        # a message about the command line may repeat what was typed
        typed = " ".join(map(str, arguments))
        assert [name for name in strange_names(command, result.err) if name not in typed] == [], result.err
        return result

    def json(self, *arguments):
        """The result of a command with --json; it must succeed."""
        result = self(*arguments, "--json")
        assert result.code == 0, result.err
        return json.loads(result.out)


def write_score_file(path, scores, train_ids=None, test_ids=None):
    """A score file in the users' format, with ids like theirs."""
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
