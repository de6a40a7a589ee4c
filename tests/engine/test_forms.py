"""A documented form gives the oracle's scores; a similar form gives the same scores or is refused."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from checkpoint_forms import CHECKPOINTS, STATES
from forms import (
    CONTAINERS,
    FOR_ORACLE,
    FORMS,
    PAIRS,
    SETTINGS,
    TO_ORACLE,
    VECTORS,
    WIDTH,
    WRONG_SETTINGS,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import worst
from torch import nn

from tracinctl import Pairs, RankingData, Samples, compute_influence
from tracinctl.engine.checkpoints.load import _STATE_KEYS, load_checkpoint
from tracinctl.engine.options import EngineOptions, LossOptions
from tracinctl.errors import CheckpointError, TracinctlError

# a change may make two items equal, which gives a warning and changes no score
pytestmark = pytest.mark.filterwarnings("ignore::tracinctl.errors.DataWarning")

TRAIN = Pairs([0, 1, 2, 0], [1, 2, 3, 3], [1, -1, 1, -1])
TEST = Pairs([0, 1], [1, 2], [1, -1])
IDS = ["t0", "t1", "t2", "t3"], ["h0", "h1", "h2", "h3"]


class Masked(nn.Module):
    """Scores a vector, with or without a mask."""

    def __init__(self, width=WIDTH):
        super().__init__()
        self.a = nn.Linear(width, 1)

    def forward(self, x, mask=None):
        x = x.reshape(len(x), -1)
        return self.a(x if mask is None else torch.tanh(x) * mask.reshape(len(mask), -1))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A checkpoint for models of each width."""
    paths = {}
    for width in (1, WIDTH):
        torch.manual_seed(width)
        model = Masked(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        paths[width] = tmp_path_factory.mktemp("checkpoints") / f"model_epoch_{width}.pt"
        torch.save(
            {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}, paths[width]
        )
    return paths


def vectors(seed, width):
    """Vectors of four training and four held-out items, and their masks."""
    random = np.random.default_rng(seed)
    x = [list(random.normal(size=(4, width)) * 2) for _ in range(2)]
    masks = [list((random.random((4, width)) < 0.7).astype(float)) for _ in range(2)]
    return x, masks


def data_of(inputs, train_pairs=TRAIN):
    samples = [Samples(ids, values) for ids, values in zip(IDS, inputs, strict=True)]
    return RankingData(samples[0], train_pairs, samples[1], TEST)


def expected(x, masks, path, width, *, train_pairs=TRAIN, **options):
    """The oracle's scores of items with these vectors, each given as its own tensor."""

    def items(vectors, masks):
        if masks is None:
            return [torch.tensor(np.asarray(v).astype(np.float64)) for v in vectors]
        return [
            {"x": torch.tensor(np.asarray(v).astype(np.float64)), "mask": torch.tensor(m)}
            for v, m in zip(vectors, masks, strict=True)
        ]

    data = data_of([items(v, None if masks is None else m) for v, m in zip(x, masks or x, strict=True)], train_pairs)
    return oracle.influence_of_files(data, Masked(width), [path], **options)[0]


def computed(inputs, path, width, **options):
    options = {"loss": "logistic", "dtype": "float64", "device": "cpu"} | options
    return compute_influence(data_of(inputs), Masked(width), [path], **options).scores


@pytest.mark.parametrize("name", FORMS)
def test_a_documented_form_of_items_gives_the_oracles_scores(name, checkpoints):
    form = FORMS[name]
    x, masks = vectors(1, form.width)
    scores = computed([form.build(*both) for both in zip(x, masks, strict=True)], checkpoints[form.width], form.width)
    want = expected(x, masks if form.masked else None, checkpoints[form.width], form.width, loss="logistic")
    assert worst(scores, want) < 1e-10


@settings(max_examples=120)
@given(
    name=st.sampled_from(sorted(FORMS)),
    of_numbers=st.sampled_from(["", *sorted(VECTORS)]),
    of_container=st.sampled_from(["", *sorted(CONTAINERS)]),
    both_sides=st.booleans(),
    seed=st.integers(0, 9),
)
def test_a_changed_form_gives_the_scores_of_its_items_or_is_refused(
    name, of_numbers, of_container, both_sides, seed, checkpoints
):
    form = FORMS[name]
    x, masks = vectors(seed, form.width)
    change = VECTORS.get(of_numbers, lambda values: values)
    in_container = CONTAINERS.get(of_container, lambda inputs: inputs)
    try:
        x = [change(x[0]), change(x[1]) if both_sides else x[1]]
        masks = [(m * 2)[: len(v)] for m, v in zip(masks, x, strict=True)]
        inputs = [form.build(*both) for both in zip(x, masks, strict=True)]
    except (ValueError, TypeError, IndexError):
        return  # numpy, torch or pandas refuse to build it
    changed = [in_container(inputs[0]), in_container(inputs[1]) if both_sides else inputs[1]]
    try:
        scores = computed(changed, checkpoints[form.width], form.width)
    except TracinctlError:
        return
    if of_container == "columns for rows":
        turned = [new is not old and new.ndim > 1 for new, old in zip(changed, inputs, strict=True)]
        x = [list(np.stack(v).T) if transposed else v for v, transposed in zip(x, turned, strict=True)]
    want = expected(x, masks if form.masked else None, checkpoints[form.width], form.width, loss="logistic")
    assert worst(scores, want) < 1e-6, "no more than the rounding of float32 inputs"


def test_every_documented_form_of_items_is_tested():
    bullets = re.findall(r"^ *- (.*)", inspect.getdoc(Samples), flags=re.MULTILINE)
    entered = {form.bullet for form in FORMS.values()}
    assert all(any(line.startswith(bullet) for line in bullets) for bullet in entered)
    assert all(any(line.startswith(bullet) for bullet in entered) for line in bullets)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("loss", ["standard", "logistic"])
def test_a_documented_form_of_pairs_gives_the_oracles_scores(name, loss, checkpoints):
    pairs = PAIRS[name]([0, 1, 2, 0, 0], [1, 2, 3, 3, 1], [1, -1, 1, -1, 1])
    x, _ = vectors(2, WIDTH)
    inputs = [torch.tensor(np.stack(v)) for v in x]
    table = compute_influence(
        data_of(inputs, pairs), Masked(), [checkpoints[WIDTH]], loss=loss, dtype="float64", device="cpu"
    )
    want = expected(x, None, checkpoints[WIDTH], WIDTH, train_pairs=pairs, loss=loss)
    assert worst(table.scores, want) < 1e-10
    assert len(set(table.train_ids)) == len(pairs)


def test_every_column_of_pairs_is_tested():
    columns = {field.name for field in dataclasses.fields(Pairs) if field.init and not field.name.startswith("_")}
    assert columns - {"first", "second", "target"} <= PAIRS.keys()


OPTIONS = [(name, k) for name, values in SETTINGS.items() for k in range(len(values))]


@pytest.mark.parametrize(("name", "k"), OPTIONS, ids=[f"{name}-{k}" for name, k in OPTIONS])
def test_a_value_of_a_setting_gives_the_oracles_scores(name, k, checkpoints):
    given_options = SETTINGS[name][k]
    x, _ = vectors(3, WIDTH)
    inputs = [torch.tensor(np.stack(v)) for v in x]
    for_oracle = {TO_ORACLE.get(key, key): value for key, value in given_options.items() if key in FOR_ORACLE}
    weights = given_options.get("checkpoint_weights", "relative")
    weighting = {"weighting": weights if isinstance(weights, str) else "uniform"}  # weights given as numbers are all 1
    options = {"dtype": "float64", "device": "cpu"} | given_options
    table = compute_influence(data_of(inputs), Masked(), [checkpoints[WIDTH]], **options)
    want = expected(x, None, checkpoints[WIDTH], WIDTH, **for_oracle, **weighting)
    assert worst(table.scores, want) < (1e-5 if options["dtype"] == "float32" else 1e-10)


WRONG = [(name, k) for name, values in WRONG_SETTINGS.items() for k in range(len(values))]


@pytest.mark.parametrize(("name", "k"), WRONG, ids=[f"{name}-{k}" for name, k in WRONG])
def test_a_wrong_value_of_a_setting_is_refused(name, k, checkpoints):
    inputs = [torch.tensor(np.stack(v)) for v in vectors(3, WIDTH)[0]]
    with pytest.raises(TracinctlError):
        compute_influence(data_of(inputs), Masked(), [checkpoints[WIDTH]], **WRONG_SETTINGS[name][k])


def test_every_setting_of_the_engine_is_tested():
    declared = {field.name for cls in (EngineOptions, LossOptions) for field in dataclasses.fields(cls)}
    assert declared == SETTINGS.keys() == WRONG_SETTINGS.keys()


def scores_by(checkpoint):
    """The items' scores with a checkpoint of any form."""
    inputs = [torch.tensor(np.stack(v)) for v in vectors(4, WIDTH)[0]]
    options = {"loss": "logistic", "dtype": "float64", "device": "cpu"}
    return compute_influence(data_of(inputs), Masked(), [checkpoint], **options).scores


def state_in(path):
    return torch.load(path, weights_only=True)["model_state_dict"]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_documented_form_of_checkpoints_gives_the_oracles_scores(name, checkpoints, tmp_path):
    scores = scores_by(CHECKPOINTS[name].save(state_in(checkpoints[WIDTH]), tmp_path))
    want = expected(vectors(4, WIDTH)[0], None, checkpoints[WIDTH], WIDTH, loss="logistic")
    assert worst(scores, want) < 1e-10


@pytest.mark.parametrize("change", STATES)
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_changed_form_of_checkpoints_gives_the_same_scores_or_is_refused(name, change, checkpoints, tmp_path):
    try:
        checkpoint = CHECKPOINTS[name].save(STATES[change](state_in(checkpoints[WIDTH])), tmp_path)
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return  # torch or safetensors refuses to write it
    try:
        scores = scores_by(checkpoint)
    except TracinctlError:
        return
    want = expected(vectors(4, WIDTH)[0], None, checkpoints[WIDTH], WIDTH, loss="logistic")
    assert worst(scores, want) < 1e-10


def test_every_documented_form_of_checkpoints_is_tested():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    sentence = re.search(r"Checkpoints are files\s+of\s+(.*?)\.", readme, flags=re.DOTALL).group(1)
    names = [part.strip() for part in re.split(r",| or ", " ".join(sentence.split())) if part.strip()]
    entered = {form.name for form in CHECKPOINTS.values()}
    assert all(any(name in part for name in entered) for part in names)
    assert all(any(name in part for part in names) for name in entered)
    assert all(name.casefold() in inspect.getdoc(load_checkpoint).casefold() for name in entered)
    assert {form.key for form in CHECKPOINTS.values()} - {""} == set(_STATE_KEYS)


def test_weights_of_whole_numbers_are_refused_by_name(checkpoints):
    state = {key: value.to(torch.int8) for key, value in state_in(checkpoints[WIDTH]).items()}
    with pytest.raises(CheckpointError, match=r"whole numbers, as in a quantised model: a\.weight"):
        scores_by(state)
