"""Pairwise losses: values, derivatives, weights by gradient density, and functions of a user's own."""

from __future__ import annotations

import dataclasses
import inspect
import math
import sys

import numpy as np
import oracle
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from small_models import make_checkpoints, make_data, worst
from torch import nn

from tracinctl import Pairs, Samples, compute_influence
from tracinctl.engine import losses
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.item_view import item_disagreement
from tracinctl.engine.losses import LossSettings, ghm_weights, pair_derivatives, pair_loss_values, resolve_loss
from tracinctl.errors import LossError, UsageError
from tracinctl.project.settings import ComputeSettings
from tracinctl.training.options import TrainSettings

SCORES = st.floats(-1e4, 1e4)
TARGETS = st.sampled_from([1.0, -1.0])


def derivatives(loss, s_i, s_j, y, margin=1.0):
    a, b = pair_derivatives(loss, np.array([s_i]), np.array([s_j]), np.array([y]), margin=margin)
    return a[0], b[0]


def by_autograd(loss, s_i, s_j, y):
    scores = [torch.tensor([s], dtype=torch.float64, requires_grad=True) for s in (s_i, s_j)]
    value = loss(*scores, torch.tensor([y], dtype=torch.float64))
    return tuple(g.item() for g in torch.autograd.grad(value.sum(), scores))


@given(s_i=st.floats(-50, 50), s_j=st.floats(-50, 50), y=st.sampled_from([1.0, -1.0, 0.0]), margin=st.floats(0.1, 10))
def test_the_capped_loss_is_at_most_twice_the_margin_and_slopes_as_autograd_does(s_i, s_j, y, margin):
    def loss(s_i, s_j, y):
        return pair_loss_values("capped", s_i, s_j, y, margin)

    scores = [torch.tensor([s], dtype=torch.float64) for s in (s_i, s_j)]
    value = loss(*scores, torch.tensor([y], dtype=torch.float64)).item()
    assert 0 <= value <= 2 * margin
    assert value == pytest.approx(y**2 * 2 * margin * math.tanh(max(0, margin - y * (s_i - s_j)) / (2 * margin)))
    assert derivatives("capped", s_i, s_j, y, margin) == pytest.approx(by_autograd(loss, s_i, s_j, y), abs=1e-12)


def test_a_capped_loss_needs_a_margin():
    with pytest.raises(UsageError, match="above 0"):
        LossSettings("capped", margin=0.0)
    with pytest.raises(UsageError, match="above 0"):
        TrainSettings(loss_type="capped", margin=0.0)
    none = pair_loss_values("capped", *torch.tensor([[1.0], [2.0], [1.0]]), 0.0)
    assert none.tolist() == pytest.approx([0.0], abs=1e-20), (
        "a pair with a margin of 0 of its own has no loss, and no NaN"
    )


@given(s_i=SCORES, s_j=SCORES, y=TARGETS, margin=st.floats(0, 100))
@example(s_i=2.0, s_j=1.0, y=1.0, margin=1.0)  # the kink
@example(s_i=1.0, s_j=2.0, y=-1.0, margin=1.0)
@example(s_i=3.0, s_j=3.0, y=1.0, margin=0.0)
@example(s_i=3.0, s_j=3.0, y=-1.0, margin=0.0)
@example(s_i=math.nextafter(2.0, 3.0), s_j=1.0, y=1.0, margin=1.0)  # just met, and just not
@example(s_i=math.nextafter(2.0, 1.0), s_j=1.0, y=1.0, margin=1.0)
def test_the_margin_loss_slopes_as_torchs_does_and_at_the_kink_too(s_i, s_j, y, margin):
    want = by_autograd(nn.MarginRankingLoss(margin=margin, reduction="none"), s_i, s_j, y)
    assert derivatives("standard", s_i, s_j, y, margin) == want


@pytest.mark.parametrize("counts", [True, False])
def test_a_kink_is_whatever_torch_has_there(monkeypatch, counts):
    """Versions of torch differ: the derivative where a margin is just met is one or none."""

    def margin_loss(first, second, target, margin, reduction="mean"):
        missing = margin - target * (first - second)
        return torch.where(missing >= 0 if counts else missing > 0, missing, 0 * missing)

    losses.counts_at_the_kink.cache_clear()
    monkeypatch.setattr(losses.functional, "margin_ranking_loss", margin_loss)
    try:
        assert derivatives("standard", 2.0, 1.0, 1.0, 1.0) == ((-1.0, 1.0) if counts else (0.0, 0.0))
        assert derivatives("standard", 1.5, 1.0, 1.0, 1.0) == (-1.0, 1.0)
    finally:
        losses.counts_at_the_kink.cache_clear()


@given(s_i=SCORES, s_j=SCORES, y=TARGETS)
def test_the_logistic_loss_slopes_as_torchs_does_and_never_overflows(s_i, s_j, y):
    want = by_autograd(oracle.pair_loss("logistic", 1.0), s_i, s_j, y)
    found = derivatives("logistic", s_i, s_j, y)
    assert found == pytest.approx(want, rel=1e-12, abs=1e-300)
    assert found[0] == -found[1]


@pytest.mark.parametrize("loss", ["standard", "ghm", "logistic"])
@given(rows=st.lists(st.tuples(SCORES, SCORES, TARGETS), min_size=1, max_size=8), margin=st.floats(0.0, 10))
def test_loss_values_are_torchs(loss, rows, margin):
    s_i, s_j, y = torch.tensor(rows, dtype=torch.float64).T
    want = oracle.pair_loss("standard" if loss == "ghm" else loss, margin)(s_i, s_j, y)
    assert torch.allclose(pair_loss_values(loss, s_i, s_j, y, margin), want, rtol=1e-12, atol=1e-300)


def _ties(tmp_path, items):
    """A model whose scores are the inputs, so that margins can be met to the last bit."""
    model = nn.Linear(1, 1, bias=False)
    path = tmp_path / "model_epoch_1.pt"
    torch.save({"weight": torch.ones(1, 1)}, path)
    data = make_data((1,), train=len(items), test=len(items))
    values = torch.tensor(items).reshape(-1, 1)
    data = dataclasses.replace(data, train=Samples(data.train.ids, values), test=Samples(data.test.ids, values.clone()))
    return data, model, path


@pytest.mark.filterwarnings("ignore::tracinctl.errors.DataWarning")  # equal items are said, and meant here
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("margin", [0.0, 1.0, 2.5])
def test_a_margin_that_is_met_to_the_last_bit_counts_as_torch_has_it(dtype, margin, tmp_path):
    data, model, path = _ties(tmp_path, [0.0, 1.0, 2.0, 2.5, 3.5, 2.0])
    states = [torch.load(path, weights_only=True)]
    scores, own, sample = oracle.influence(data, model, states, [1.0], margin=margin)
    table = compute_influence(data, model, [path], margin=margin, dtype=dtype, checkpoint_weights="uniform")
    assert np.array_equal(table.scores, scores)
    assert np.array_equal(table.self_influence, own)
    assert worst(table.sample_influence, sample) < (1e-5 if dtype == "float32" else 1e-12)


@given(
    rows=st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9), TARGETS), min_size=1, max_size=20),
    margin=st.floats(0, 5),
    bins=st.integers(1, 12),
    alpha=st.floats(0, 2),
    batch_size=st.integers(1, 64),
)
# g = sigmoid of +-800 is 1 and 0 to the last bit: the last bin is closed
@example(rows=[(-800.0, 0.0, 1.0), (800.0, 0.0, 1.0)], margin=0.0, bins=10, alpha=1.0, batch_size=32)
def test_density_weights_equal_a_count_one_pair_at_a_time(rows, margin, bins, alpha, batch_size):
    s_i, s_j, y = np.array(rows).T
    found = ghm_weights(s_i, s_j, y, margin=margin, bins=bins, alpha=alpha, batch_size=batch_size)
    g = torch.sigmoid(torch.from_numpy(margin - y * (s_i - s_j))).tolist()
    place = [min(math.floor(value * bins), bins - 1) for value in g]
    want = [1 / max(1.0, place.count(p) * batch_size / len(rows)) ** alpha for p in place]
    assert found == pytest.approx(want, rel=1e-12)


def test_density_weights_are_of_training_pairs_and_have_no_gradient_of_their_own(tmp_path):
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
    data = make_data((6,))
    paths = make_checkpoints(model, tmp_path, rates=(0.1,))
    options = {"dtype": "float64", "margin": 2.0}
    plain = compute_influence(data, model, paths, **options)
    weighted = compute_influence(data, model, paths, loss="ghm", batch_size=8, **options)
    [state], _ = oracle.read_checkpoints(paths)
    double = model.double()
    double.load_state_dict(state)
    w = np.array(oracle.ghm_weights(double, data, oracle.rows(data.train_pairs), 2.0, 10, 0.75, 8))
    assert len(set(w)) > 2
    # the weight multiplies a training pair's row once, its self-influence twice, and a test pair not at all
    assert worst(weighted.scores, w[:, None] * plain.scores) < 1e-13
    assert worst(weighted.self_influence, w**2 * plain.self_influence) < 1e-13


@pytest.mark.parametrize("options", [{"ghm_alpha": 0.0}, {"batch_size": 1}])
def test_without_weights_ghm_is_the_margin_loss(options, tmp_path):
    model = nn.Linear(6, 1)
    data = make_data((6,))
    paths = make_checkpoints(model, tmp_path)
    plain = compute_influence(data, model, paths)
    # with batches of one pair no bin is ever above the average of one
    weighted = compute_influence(data, model, paths, loss="ghm", **options)
    assert np.array_equal(weighted.scores, plain.scores)


@given(seed=st.integers(0, 1000))
def test_a_function_that_is_a_named_loss_gives_the_same_slopes(seed):
    rng = np.random.default_rng(seed)
    s_i, s_j, y = rng.normal(size=9), rng.normal(size=9), rng.choice([-1.0, 1.0], 9)
    for name in ("standard", "logistic"):
        written = oracle.pair_loss(name, 0.7)
        found = pair_derivatives(lambda a, b, y, written=written: written(a, b, y), s_i, s_j, y, margin=0.7)
        assert np.allclose(found, pair_derivatives(name, s_i, s_j, y, margin=0.7), rtol=1e-13, atol=0)


@given(rows=st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5), TARGETS), min_size=1, max_size=6))
def test_a_function_of_its_two_scores_one_by_one_is_differentiated_by_each(rows):
    s_i, s_j, y = np.array(rows).T
    a, b = pair_derivatives(lambda a, b, y: y * a**2 + torch.exp(b), s_i, s_j, y, margin=1.0)
    assert np.allclose(a, 2 * y * s_i, rtol=1e-13, atol=0)
    assert np.allclose(b, np.exp(s_j), rtol=1e-13, atol=0)


def test_a_function_that_leaves_a_score_out_has_no_slope_by_it():
    assert derivatives(lambda a, b, y: a * 3, 1.0, 2.0, 1.0) == (3.0, 0.0)


def test_a_function_is_found_by_module_and_name_in_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "pair_losses_of_mine.py").write_text(
        "from torch.nn.functional import softplus\n\nNUMBER = 3\n\n\n"
        "def soft(s_i, s_j, y):\n    return softplus(-y * (s_i - s_j))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    model = nn.Linear(6, 1)
    data = make_data((6,))
    paths = make_checkpoints(model, tmp_path)
    own = compute_influence(data, model, paths, loss="pair_losses_of_mine:soft", dtype="float64")
    named = compute_influence(data, model, paths, loss="logistic", dtype="float64")
    assert worst(own.scores, named.scores) < 1e-12
    assert own.provenance["loss"] == "pair_losses_of_mine:soft"
    with pytest.raises(LossError, match=r"NUMBER.*is a int, not a function"):
        resolve_loss("pair_losses_of_mine:NUMBER")
    with pytest.raises(LossError, match=r"pair_losses_of_mine:hard.*has no attribute 'hard'"):
        resolve_loss("pair_losses_of_mine:hard")


@pytest.mark.parametrize("name", ["nowhere_at_all:loss", "logstic"])
def test_a_loss_that_is_not_there_is_named(name):
    with pytest.raises(LossError, match=name):
        resolve_loss(name)


def test_a_slope_that_is_not_finite_says_for_which_scores():
    def root(s_i, s_j, y):
        return torch.sqrt(torch.abs(s_i - s_j))

    with pytest.raises(LossError, match="root has a non-finite gradient for scores 2 and 2"):
        pair_derivatives(root, np.array([1.0, 2.0]), np.array([0.0, 2.0]), np.ones(2), margin=1.0)


@pytest.mark.filterwarnings("ignore::tracinctl.errors.DataWarning")  # equal items are said, and meant here
def test_pairs_of_one_item_with_itself_pull_nowhere(tmp_path):
    model = nn.Linear(6, 1)
    data = make_data((6,), train_pairs=[(1, 0, 1), (2, 2, 1)])
    data = dataclasses.replace(data, test_pairs=Pairs([0, 1], [1, 2], [1, -1]))
    table = compute_influence(data, model, make_checkpoints(model, tmp_path), loss="logistic")
    assert table.scores[1].tolist() == [0.0, 0.0]
    assert table.self_influence[1] == 0.0
    assert table.sample_influence[2] == 0.0
    assert np.abs(table.scores[0]).min() > 0


def test_an_item_of_the_wrong_kind_surprises_most_and_one_between_two_kinds_does_not():
    random = np.random.default_rng(0)
    kind = np.repeat([0, 1, 2], 10)
    directions = np.eye(3)[kind] + random.normal(0, 0.1, (30, 3))
    place = kind + random.normal(0, 0.1, 30)
    place[4] = 2.2  # of the first kind, and said to lie above the last
    directions[15] = [0.5, 0, 0.5]  # like both the first and the last kind, and said to be of the last
    place[15] = 2.05
    first, second = np.triu_indices(30, 1)
    pairs = Pairs(first, second, np.where(place[first] > place[second], 1, -1))
    kernel = directions @ directions.T

    def disagreement(scores, neighbours=np.arange(30)):  # noqa: B008  never changed
        rows = lambda start, stop: kernel[start:stop, neighbours]  # noqa: E731
        return item_disagreement(scores, rows, np.diagonal(kernel), neighbours, pairs)

    found = disagreement(place)
    assert found.argmax() == 4
    assert found[4] > 3 * np.delete(found, 4).max()
    # blocks of any size give the same, and so does what has no say: scale and origin of the scores
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tracinctl.engine.item_view._CELLS", 40)
        np.testing.assert_allclose(disagreement(7 * place - 3), found, atol=1e-9)
    # and half of the neighbours do nearly as well
    assert disagreement(place, np.arange(0, 30, 2)).argmax() == 4


def test_items_that_all_score_alike_cannot_disagree():
    pairs = Pairs([0, 1, 2], [1, 2, 0], [1, 1, 1])
    rows = lambda start, stop: np.eye(3)[start:stop]  # noqa: E731
    assert item_disagreement(np.full(3, 2.5), rows, np.ones(3), np.arange(3), pairs).tolist() == [0.0, 0.0, 0.0]


def test_items_without_a_gradient_all_have_the_same_say():
    pairs = Pairs([1, 2], [0, 0], [1, 1])  # the item that scores highest is said to be the last
    rows = lambda start, stop: np.zeros((stop - start, 3))  # noqa: E731
    found = item_disagreement(np.array([2.0, 0.0, 1.0]), rows, np.zeros(3), np.arange(3), pairs)
    # one of its two neighbours has a score that would do
    assert found == pytest.approx([np.log(2), found[1], found[2]])


@pytest.mark.parametrize(
    "loss", [lambda a, b, y: b, lambda a, b, y: a, lambda a, b, y: -y * b, lambda a, b, y: torch.relu(y * b)]
)
def test_a_loss_of_one_of_the_two_scores_is_that_items_influence(loss, tmp_path):
    torch.manual_seed(0)
    model, data = nn.Linear(6, 1), make_data((6,))
    paths = make_checkpoints(model, tmp_path)
    table = compute_influence(data, model, paths, loss=loss, dtype="float64")
    scores = oracle.influence_of_files(data, model, paths, loss=loss)[0]
    assert np.abs(scores).max() > 0
    assert worst(table.scores, scores) < 1e-10
    assert [each["gradient_zero"] for each in table.provenance["checkpoints"]] == [False] * len(paths)


def test_one_default_of_the_loss_holds_everywhere():
    given = {"margin": 1.0, "ghm_bins": 10, "ghm_alpha": 0.75, "batch_size": 32}
    for found in (LossSettings(), ComputeSettings().engine.loss):
        assert {name: getattr(found, name) for name in given} == given
    found = inspect.signature(compute_influence).parameters
    assert {name: found[name].default for name in given} == given


def every_outcome(pairs, seed=0):
    """The pairs with ties among them, and columns of their own."""
    rng = np.random.default_rng(seed)
    target = np.where(rng.random(len(pairs)) < 0.3, 0, pairs.target)
    columns = {"weight": rng.uniform(0, 3, len(pairs)), "margin": rng.uniform(0, 2, len(pairs))}
    return Pairs(pairs.first, pairs.second, target, **columns)


@pytest.mark.parametrize("method", ["tracin", "margin", "fisher"])
@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("logistic", {}),
        ("logistic", {"label_smoothing": 0.1}),
        ("logistic", {"label_smoothing": 0.5}),
        ("logistic", {"centring": 0.01, "label_smoothing": 0.2}),
        ("standard", {}),
        ("standard", {"centring": 0.3}),
        ("ghm", {"batch_size": 8}),
    ],
)
@pytest.mark.parametrize("columns", [False, True])
def test_losses_of_preference_training_equal_the_oracle(loss, options, method, columns, tmp_path):
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
    data = make_data((6,))
    if columns:
        pairs = (every_outcome(data.train_pairs), every_outcome(data.test_pairs, 1))
        data = dataclasses.replace(data, train_pairs=pairs[0], test_pairs=pairs[1])
    paths = make_checkpoints(model, tmp_path)
    names = {"label_smoothing": "smoothing"}
    of_oracle = {names.get(name, name): value for name, value in options.items()}
    scores, own, sample = oracle.influence_of_files(data, model, paths, loss=loss, method=method, **of_oracle)
    table = compute_influence(data, model, paths, loss=loss, method=method, dtype="float64", **options)
    assert np.abs(scores).max() > 0
    assert worst(table.scores, scores) < 1e-10
    assert worst(table.self_influence, own) < 1e-10
    assert worst(table.sample_influence, sample) < 1e-10
    for name, value in options.items():
        assert table.provenance[name] == value


@given(s_i=SCORES, s_j=SCORES, y=st.sampled_from([1.0, 0.0, -1.0]), loss=st.sampled_from(["standard", "logistic"]))
def test_the_value_of_a_tie_goes_with_its_slope(s_i, s_j, y, loss):
    want = derivatives(loss, s_i, s_j, y, margin=0.7)
    assert by_autograd(lambda *row: pair_loss_values(loss, *row, 0.7), s_i, s_j, y) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize(
    ("loss", "method", "notes"),
    [
        ("standard", "tracin", ["2 training pairs are ties, which the loss standard leaves out, so they score 0"]),
        ("logistic", "tracin", []),
        ("logistic", "margin", []),
    ],
)
def test_ties_that_a_loss_has_no_word_for_score_nothing_and_are_counted(loss, method, notes, tmp_path):
    model, data = nn.Linear(6, 1), make_data((6,))
    pairs = Pairs([0, 1, 2, 3], [1, 2, 3, 4], [1, 0, -1, 0])
    data = dataclasses.replace(data, train_pairs=pairs)
    options = ComputeOptions(LossSettings(loss), method=method)
    result = compute_scores(data, model, make_checkpoints(model, tmp_path, scale=0.05), options)
    assert [note for note in result.notes if "ties" in note] == notes
    silent = not result.scores.table().scores[[1, 3]].any()
    assert silent == bool(notes)


def test_a_function_sees_the_columns_of_its_rows(tmp_path):
    """As trl's margin, and as a weight by annotator that the training loss had."""
    trust = {"ann": 1.0, "bob": 0.25}

    def own(s_i, s_j, y, columns):
        weight = torch.tensor([trust[name] for name in columns["annotator"]])
        return weight * torch.nn.functional.softplus(columns["margin"] - y * (s_i - s_j))

    model, data = nn.Linear(6, 1), make_data((6,))
    paths = make_checkpoints(model, tmp_path)

    def with_columns(pairs, **columns):
        margin = np.linspace(0, 2, len(pairs))
        return Pairs(pairs.first, pairs.second, pairs.target, margin=margin, **columns)

    names = np.array(["ann", "bob"])[np.arange(len(data.train_pairs)) % 2]
    plain = dataclasses.replace(
        data,
        train_pairs=with_columns(data.train_pairs, weight=[trust[name] for name in names]),
        test_pairs=with_columns(data.test_pairs),
    )
    grouped = dataclasses.replace(
        data,
        train_pairs=with_columns(data.train_pairs, groups={"annotator": names}),
        test_pairs=with_columns(data.test_pairs, groups={"annotator": ["ann"] * len(data.test_pairs)}),
    )
    named = compute_influence(plain, model, paths, loss="logistic", dtype="float64")
    mine = compute_influence(grouped, model, paths, loss=own, dtype="float64")
    assert worst(mine.scores, named.scores) < 1e-12


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda s_i, s_j, y: ((s_i - s_j) * y)[:, None], r"returned shape \(\d+, 1\), not \(\d+,\)"),
        (
            lambda s_i, s_j, y: torch.softmax(s_i - s_j, 0),
            "changes with other pairs in the batch",
        ),
        (lambda s_i, s_j, y: (s_i - s_j) * torch.rand(len(y)), "or between calls"),
        (lambda s_i, s_j, y: s_i @ s_j[:2], "failed: RuntimeError"),
        (lambda s_i, s_j, y, columns: columns["margin"] * s_i, "failed: KeyError: 'margin'"),
    ],
)
def test_a_function_that_is_no_loss_of_single_pairs_is_refused(loss, said, tmp_path):
    model, data = nn.Linear(6, 1), make_data((6,))
    with pytest.raises(LossError, match=said):
        compute_influence(data, model, make_checkpoints(model, tmp_path), loss=loss)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"margin": math.nan}, "`margin` is nan"),
        ({"margin": -1.0}, "`margin` is -1.0"),
        ({"margin": math.inf}, "`margin` is inf"),
        ({"margin": "1"}, "`margin` is '1'"),
        ({"ghm_bins": 0}, "`ghm_bins` is 0"),
        ({"ghm_bins": 2.5}, "`ghm_bins` is 2.5"),
        ({"ghm_alpha": -0.5}, "`ghm_alpha` is -0.5"),
        ({"batch_size": 0}, "`batch_size` is 0"),
        ({"loss": "logistic", "label_smoothing": 0.6}, "`label_smoothing` is 0.6"),
        ({"label_smoothing": 0.1}, "`label_smoothing` works with the loss logistic, not standard"),
        ({"centring": -1}, "`centring` is -1"),
        ({"centring": 0.1, "loss": lambda s_i, s_j, y: s_i - s_j}, "`centring` works with the named losses"),
        ({"num_workers": -1}, "`num_workers` is -1"),
        ({"num_workers": True}, "`num_workers` is True"),
        ({"projection_dim": 0}, "`projection_dim` is 0"),
        ({"dtype": "float16"}, "unknown `dtype` 'float16'"),
        ({"method": "tracln"}, "unknown `method` 'tracln'"),
        ({"checkpoint_weights": "relativ"}, "unknown `checkpoint_weights` 'relativ'"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_before_the_work(options, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        compute_influence(make_data((6,)), nn.Linear(6, 1), [tmp_path / "not looked at.pt"], **options)


@pytest.mark.parametrize(
    ("loss", "of_difference"),
    [
        ("standard", True),
        (lambda s_i, s_j, y: torch.nn.functional.softplus(-y * (s_i - s_j)), True),
        (lambda s_i, s_j, y: torch.nn.functional.softplus(-y * (s_i - s_j)) ** 2, True),
        (lambda s_i, s_j, y: torch.nn.functional.softplus(-y * s_i) + s_j, False),
        (lambda s_i, s_j, y, columns: s_i - s_j, False),
    ],
)
def test_whether_a_function_is_of_the_difference_is_tried(loss, of_difference):
    assert LossSettings(loss).of_difference == of_difference
    assert not LossSettings("logistic", centring=0.1).of_difference


def test_a_function_that_only_seems_to_be_of_the_difference_is_exact(tmp_path, monkeypatch):
    """It is one for the scores that it is tried on, and not for those of the model."""
    monkeypatch.setattr("tracinctl.engine.kernel.layout.COMPLETE", 4)
    monkeypatch.setattr("tracinctl.engine.kernel.layout._ONCE", 9.0)

    def sly(s_i, s_j, y):
        return -y * (s_i - s_j) + torch.relu(s_i - 5000.0)

    model, data = nn.Linear(6, 1), make_data((6,))
    paths = make_checkpoints(model, tmp_path, scale=5000.0)
    scores = oracle.influence_of_files(data, model, paths, loss=sly)[0]
    assert LossSettings(sly).of_difference
    assert worst(compute_influence(data, model, paths, loss=sly, dtype="float64").scores, scores) < 1e-10
