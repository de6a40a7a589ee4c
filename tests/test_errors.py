"""Every class of error, reached from what a user types or calls, says what was given, why it cannot be, what to do."""

from __future__ import annotations

import ast
import errno
import inspect
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from command_line import write_score_file
from places import ROOT
from small_models import Model, make_checkpoints, make_data
from torch import nn

from tracinctl import compute_influence, errors, files
from tracinctl.cli.app import app
from tracinctl.engine.kernel import array_file
from tracinctl.errors import TracinctlError
from tracinctl.retraining.runs import run_trainings
from tracinctl.retraining.trial import Training

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
CASES = {}


@dataclass(frozen=True)
class Case:
    """What a user does, and what the text must hold: what was given, why it cannot be, and what to do."""

    do: Callable[[], object]
    given: str
    why: str
    way_out: str


def case(kind, *, given, why, way_out):
    def register(do):
        CASES[kind] = Case(do, given, why, way_out)
        return do

    return register


def command(*arguments):
    app(args=["-q", *arguments], prog_name="tracinctl", standalone_mode=False)


def compute(model=None, data=None, checkpoints=None, **options):
    model = model or nn.Linear(6, 1)
    checkpoints = checkpoints or make_checkpoints(model, Path("checkpoints/own"))
    return compute_influence(data or make_data((6,)), model, checkpoints, **options)


@case(errors.TracinctlError, given="data", why="it is a folder", way_out="Give a file in it.")
def a_list_over_a_folder():
    write_score_file(Path("scores.json"), [[-20.0, -30.0], [1.0, 2.0]])
    command("exclude", "--metadata-file", "scores.json", "--output-file", "data")


@case(errors.UsageError, given="`dtype` 'float16'", why="unknown", way_out="Choose one of float32, float64")
def an_unknown_dtype():
    compute(dtype="float16")


@case(errors.SettingsError, given="`materials`", why="unknown key", way_out="Did you mean `material`?")
def a_misspelt_key():
    Path("tracinctl.toml").write_text('materials = "plastic"\n')
    command("sweep")


@case(errors.DataError, given="pair 1: (0, 9)", why="index outside the 6 items", way_out="0 to 5")
def a_pair_of_no_item():
    compute(data=make_data((6,), train_pairs=[(0, 1, 1), (0, 9, 1)]))


@case(errors.CheckpointError, given="model_epoch_5.pt", why="a web page", way_out="Download it again")
def a_page_that_was_saved_as_a_checkpoint():
    path = Path("model_epoch_5.pt")
    path.write_text("<!DOCTYPE html><html>Sign in</html>")
    compute(checkpoints=[path])


@case(errors.ModelError, given="item t0", why="one score per item", way_out="Give `score`, a function")
def a_model_of_two_scores():
    compute(nn.Linear(6, 2))


@case(errors.LossError, given="loss nowhere_a_number", why="is nan for scores", way_out="Return a finite value")
def a_loss_that_is_no_number():
    def nowhere_a_number(s_i, s_j, _):
        return (s_i - s_j) * float("nan")

    nowhere_a_number.__qualname__ = nowhere_a_number.__name__
    compute(loss=nowhere_a_number)


@case(errors.UnknownLossError, given="'hinge'", why="unknown loss", way_out="Use standard, logistic, ghm")
def an_unknown_loss():
    compute(loss="hinge")


@case(errors.NonFiniteError, given="item t2", why="is NaN or infinite", way_out="Leave the checkpoint or the item out")
def a_root_of_nothing():
    data = make_data((6,))
    data.train.inputs[2] = 0
    compute(Model(lambda m, x: torch.sqrt(m.a(x).abs()), a=nn.Linear(6, 1, bias=False)), data)


@case(errors.MemoryBudgetError, given="`memory` is 1KiB", why="gradients need at least", way_out="Give `memory`")
def next_to_no_memory():
    compute(memory=1)


@case(errors.CacheError, given=".kernel", why="was deleted or changed", way_out="Run the command again")
def a_cache_that_is_deleted_during_the_run():
    def delete(_):
        if len(list(Path("cache").rglob("[!.]*.kernel"))) == 2:
            shutil.rmtree("cache")

    # as with more checkpoints than a process may hold files open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array_file, "_MOST_OPEN", 0)
        compute(data=make_data((6,), train=30), cache="cache", memory=12_000, dtype="float64", progress=delete)


class DiesInItsProcess:
    """A user's trainer whose processes the system ends."""

    data_digest = ""
    together = 1

    def key(self, training):
        return training.arm

    def __reduce__(self):
        return (os._exit, (3,))


@case(errors.ProcessLostError, given="a training process", why="was ended from outside", way_out="`at_once` 1")
def a_process_that_the_system_ends():
    plan = [Training(arm, 1, 5, ()) for arm in ("all", "some")]
    run_trainings(DiesInItsProcess(), plan, Path("kept"), at_once=2, progress=lambda _: None)


@case(errors.ScoreFileError, given="scores.json", why="holds a list", way_out="_influence_metadata.json")
def a_score_file_of_something_else():
    Path("scores.json").write_text("[1, 2]")
    command("sweep", "--metadata-file", "scores.json")


@case(errors.ExclusionListError, given="list.txt", why="is not UTF-8 text", way_out="Save it as UTF-8 text")
def a_list_of_another_coding():
    Path("list.txt").write_bytes(b"\xff\xfe\x00")
    command("train", "--frequency", "500hz", "--exclusions-file", "list.txt")


@case(errors.TrainingError, given="'nobody'", why="is the id of a training pair", way_out="of this material and")
def a_list_of_another_frequency():
    Path("list.txt").write_text("nobody\n")
    command("train", "--frequency", "500hz", "--exclusions-file", "list.txt")


@case(errors.ReviewError, given="anna.csv", why="no columns id and decision", way_out="id,decision,note,who,when")
def decisions_without_columns():
    write_score_file(Path("metadata/plastic_500hz_influence_metadata.json"), [[-20.0, -30.0], [1.0, 2.0]])
    Path("anna.csv").write_text("pair,verdict\n")
    command("review", "--frequency", "500hz", "--merge", "anna.csv")


@case(errors.PlotError, given="these scores", why="have no self-influence", way_out="tracinctl compute")
def a_view_of_what_is_not_known():
    write_score_file(Path("metadata/plastic_500hz_influence_metadata.json"), [[-20.0, -30.0], [1.0, 2.0]])
    command("plot", "self", "--frequency", "500hz")


@case(errors.DataWarning, given="t2_t1", why="two items with the same input", way_out="never listed")
def an_item_under_two_ids():
    data = make_data((6,))
    data.train.inputs[2] = data.train.inputs[1]
    compute(data=data)


@case(errors.CheckpointWarning, given="best.pt", why="the same weights as model_epoch_5.pt", way_out="counts once")
def a_copy_of_a_checkpoint():
    model = nn.Linear(6, 1)
    paths = make_checkpoints(model, Path("own"))
    compute(model, checkpoints=[*paths, shutil.copy(paths[0], "own/model_epoch_5_best.pt")])


@case(errors.DiskWarning, given="cannot flush files", why="Invalid argument", way_out="one run at a time")
def a_disk_that_cannot_flush():
    def no_fsync(_):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", no_fsync)
        patch.setattr(files, "_warned_of", set())
        compute(cache="cache")


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.usefixtures("project")
def test_a_user_who_meets_it_learns_what_was_given_why_it_cannot_be_and_what_to_do(kind):
    assert kind in CASES, f"enter a case that reaches {kind.__name__}, as a user would"
    wanted = CASES[kind]
    if issubclass(kind, Warning):
        with pytest.warns(kind) as warned:
            wanted.do()
        message = text = str(warned[0].message)
    else:
        with pytest.raises(TracinctlError) as raised:
            wanted.do()
        assert type(raised.value) is kind
        message, text = raised.value.message, raised.value.hint
    assert wanted.given in message
    assert wanted.why in message
    assert wanted.way_out in text


def _without_way_out():
    """Where an error is made without a hint, and its message does not say either what must be."""
    kinds = {kind.__name__ for kind in ALL if issubclass(kind, TracinctlError)}
    for path in sorted((ROOT / "tracinctl").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for call in ast.walk(ast.parse(text)):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in kinds:
                message = ast.get_source_segment(text, call) or ""
                if " must " not in message and not any(word.arg == "hint" for word in call.keywords):
                    yield f"{path.relative_to(ROOT)}, line {call.lineno}: {message}"


def test_every_error_says_what_to_do():
    assert list(_without_way_out()) == []
