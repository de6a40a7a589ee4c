"""Pairwise losses: values, derivatives, gradient density weights, and users' own functions."""

from __future__ import annotations

import dataclasses
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
def test_the_capped_loss_is_at_most_twice_the_margin_with_autograds_gradient(s_i, s_j, y, margin):
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
    assert none.tolist() == pytest.approx([0.0], abs=1e-20), "a pair whose own margin is 0 has loss 0, not NaN"


@given(s_i=SCORES, s_j=SCORES, y=TARGETS, margin=st.floats(0, 100))
@example(s_i=2.0, s_j=1.0, y=1.0, margin=1.0)  # the kink
@example(s_i=1.0, s_j=2.0, y=-1.0, margin=1.0)
@example(s_i=3.0, s_j=3.0, y=1.0, margin=0.0)
@example(s_i=3.0, s_j=3.0, y=-1.0, margin=0.0)
@example(s_i=math.nextafter(2.0, 3.0), s_j=1.0, y=1.0, margin=1.0)  # just met, and just missed
@example(s_i=math.nextafter(2.0, 1.0), s_j=1.0, y=1.0, margin=1.0)
def test_the_margin_loss_has_torchs_gradient_even_at_the_kink(s_i, s_j, y, margin):
    want = by_autograd(nn.MarginRankingLoss(margin=margin, reduction="none"), s_i, s_j, y)
    assert derivatives("standard", s_i, s_j, y, margin) == want


@pytest.mark.parametrize("counts", [True, False])
def test_the_gradient_at_the_kink_follows_torch(monkeypatch, counts):
    """Versions of torch differ: the derivative at a margin that is just met is 1 or 0."""

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
def test_the_logistic_loss_has_torchs_gradient_and_never_overflows(s_i, s_j, y):
    want = by_autograd(oracle.pair_loss("logistic", 1.0), s_i, s_j, y)
    by_i, by_j = derivatives("logistic", s_i, s_j, y)
    assert (by_i, by_j) == pytest.approx(want, rel=1e-12, abs=1e-300)
    assert by_i == -by_j


@pytest.mark.parametrize("loss", ["standard", "ghm", "logistic"])
@example(rows=[(0.0, 21.0, 1.0)], margin=0.0)
@example(rows=[(21.0, 0.0, 0.0)], margin=0.0)
@given(rows=st.lists(st.tuples(SCORES, SCORES, TARGETS), min_size=1, max_size=8), margin=st.floats(0.0, 10))
def test_loss_values_equal_torchs(loss, rows, margin):
    s_i, s_j, y = torch.tensor(rows, dtype=torch.float64).T
    want = oracle.pair_loss("standard" if loss == "ghm" else loss, margin)(s_i, s_j, y)
    assert torch.allclose(pair_loss_values(loss, s_i, s_j, y, margin), want, rtol=1e-12, atol=1e-300)


def _ties(tmp_path, items):
    """A model whose scores are its inputs, so that margins can be met to the last bit."""
    model = nn.Linear(1, 1, bias=False)
    path = tmp_path / "model_epoch_1.pt"
    torch.save({"weight": torch.ones(1, 1)}, path)
    data = make_data((1,), train=len(items), test=len(items))
    values = torch.tensor(items).reshape(-1, 1)
    data = dataclasses.replace(data, train=Samples(data.train.ids, values), test=Samples(data.test.ids, values.clone()))
    return data, model, path


@pytest.mark.filterwarnings("ignore::tracinctl.errors.DataWarning")  # equal items are intended here
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("margin", [0.0, 1.0, 2.5])
def test_a_margin_met_to_the_last_bit_counts_as_in_torch(dtype, margin, tmp_path):
    data, model, path = _ties(tmp_path, [0.0, 1.0, 2.0, 2.5, 3.5, 2.0])
    states = [torch.load(path, weights_only=True)]
    scores, self_influence, sample = oracle.influence(data, model, states, [1.0], margin=margin)
    table = compute_influence(data, model, [path], margin=margin, dtype=dtype, checkpoint_weights="uniform")
    assert np.array_equal(table.scores, scores)
    assert np.array_equal(table.self_influence, self_influence)
    assert worst(table.sample_influence, sample) < (1e-5 if dtype == "float32" else 1e-12)


@given(
    rows=st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9), TARGETS), min_size=1, max_size=20),
    margin=st.floats(0, 5),
    bins=st.integers(1, 12),
    alpha=st.floats(0, 2),
    batch_size=st.integers(1, 64),
)
# g = sigmoid(+-800) is exactly 1 and 0; the last bin includes its upper end
@example(rows=[(-800.0, 0.0, 1.0), (800.0, 0.0, 1.0)], margin=0.0, bins=10, alpha=1.0, batch_size=32)
def test_density_weights_equal_a_count_by_pair(rows, margin, bins, alpha, batch_size):
    s_i, s_j, y = np.array(rows).T
    weights = ghm_weights(s_i, s_j, y, margin=margin, bins=bins, alpha=alpha, batch_size=batch_size)
    g = torch.sigmoid(torch.from_numpy(margin - y * (s_i - s_j))).tolist()
    place = [min(math.floor(value * bins), bins - 1) for value in g]
    want = [1 / max(1.0, place.count(p) * batch_size / len(rows)) ** alpha for p in place]
    assert weights == pytest.approx(want, rel=1e-12)


def test_density_weights_apply_to_training_pairs_and_have_no_gradient(tmp_path):
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
    # a weight multiplies its training pair's scores once, its self-influence twice, and test pairs never
    assert worst(weighted.scores, w[:, None] * plain.scores) < 1e-13
    assert worst(weighted.self_influence, w**2 * plain.self_influence) < 1e-13


@pytest.mark.parametrize("options", [{"ghm_alpha": 0.0}, {"batch_size": 1}])
def test_without_weights_ghm_is_the_margin_loss(options, tmp_path):
    model = nn.Linear(6, 1)
    data = make_data((6,))
    paths = make_checkpoints(model, tmp_path)
    plain = compute_influence(data, model, paths)
    # with batches of one pair, no bin is above the average
    weighted = compute_influence(data, model, paths, loss="ghm", **options)
    assert np.array_equal(weighted.scores, plain.scores)


@given(seed=st.integers(0, 1000))
def test_a_function_equal_to_a_named_loss_has_the_same_derivatives(seed):
    rng = np.random.default_rng(seed)
    s_i, s_j, y = rng.normal(size=9), rng.normal(size=9), rng.choice([-1.0, 1.0], 9)
    for name in ("standard", "logistic"):
        loss = oracle.pair_loss(name, 0.7)
        of_function = pair_derivatives(lambda a, b, y, loss=loss: loss(a, b, y), s_i, s_j, y, margin=0.7)
        assert np.allclose(of_function, pair_derivatives(name, s_i, s_j, y, margin=0.7), rtol=1e-13, atol=0)


@given(rows=st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5), TARGETS), min_size=1, max_size=6))
def test_a_function_is_differentiated_by_each_score(rows):
    s_i, s_j, y = np.array(rows).T
    a, b = pair_derivatives(lambda a, b, y: y * a**2 + torch.exp(b), s_i, s_j, y, margin=1.0)
    assert np.allclose(a, 2 * y * s_i, rtol=1e-13, atol=0)
    assert np.allclose(b, np.exp(s_j), rtol=1e-13, atol=0)


def test_the_derivative_by_an_unused_score_is_zero():
    assert derivatives(lambda a, b, y: a * 3, 1.0, 2.0, 1.0) == (3.0, 0.0)


def test_a_function_is_found_by_module_and_name_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "pair_losses_of_mine.py").write_text(
        "from torch.nn.functional import softplus\n\nNUMBER = 3\n\n\n"
        "def soft(s_i, s_j, y):\n    return softplus(-y * (s_i - s_j))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    model = nn.Linear(6, 1)
    data = make_data((6,))
    paths = make_checkpoints(model, tmp_path)
    table = compute_influence(data, model, paths, loss="pair_losses_of_mine:soft", dtype="float64")
    named = compute_influence(data, model, paths, loss="logistic", dtype="float64")
    assert worst(table.scores, named.scores) < 1e-12
    assert table.provenance["loss"] == "pair_losses_of_mine:soft"
    with pytest.raises(LossError, match=r"NUMBER.*is a int, not a function"):
        resolve_loss("pair_losses_of_mine:NUMBER")
    with pytest.raises(LossError, match=r"pair_losses_of_mine:hard.*has no attribute 'hard'"):
        resolve_loss("pair_losses_of_mine:hard")


@pytest.mark.parametrize("name", ["nowhere_at_all:loss", "logstic"])
def test_a_missing_loss_is_named(name):
    with pytest.raises(LossError, match=name):
        resolve_loss(name)


def test_a_non_finite_gradient_names_the_scores():
    def root(s_i, s_j, y):
        return torch.sqrt(torch.abs(s_i - s_j))

    with pytest.raises(LossError, match="root has a non-finite gradient for scores 2 and 2"):
        pair_derivatives(root, np.array([1.0, 2.0]), np.array([0.0, 2.0]), np.ones(2), margin=1.0)


@pytest.mark.filterwarnings("ignore::tracinctl.errors.DataWarning")  # equal items are intended here
def test_pairs_of_an_item_with_itself_have_no_influence(tmp_path):
    model = nn.Linear(6, 1)
    data = make_data((6,), train_pairs=[(1, 0, 1), (2, 2, 1)])
    data = dataclasses.replace(data, test_pairs=Pairs([0, 1], [1, 2], [1, -1]))
    table = compute_influence(data, model, make_checkpoints(model, tmp_path), loss="logistic")
    assert table.scores[1].tolist() == [0.0, 0.0]
    assert table.self_influence[1] == 0.0
    assert table.sample_influence[2] == 0.0
    assert np.abs(table.scores[0]).min() > 0


def test_a_mislabelled_item_stands_out_and_one_between_two_kinds_does_not():
    random = np.random.default_rng(0)
    kind = np.repeat([0, 1, 2], 10)
    directions = np.eye(3)[kind] + random.normal(0, 0.1, (30, 3))
    place = kind + random.normal(0, 0.1, 30)
    place[4] = 2.2  # of the first kind, but ranked above the last
    directions[15] = [0.5, 0, 0.5]  # similar to the first and the last kind, and ranked as the last
    place[15] = 2.05
    first, second = np.triu_indices(30, 1)
    pairs = Pairs(first, second, np.where(place[first] > place[second], 1, -1))
    kernel = directions @ directions.T

    def disagreement(scores, neighbours=np.arange(30)):  # noqa: B008  never changed
        rows = lambda start, stop: kernel[start:stop, neighbours]  # noqa: E731
        return item_disagreement(scores, rows, np.diagonal(kernel), neighbours, pairs)

    surprise = disagreement(place)
    assert surprise.argmax() == 4
    assert surprise[4] > 3 * np.delete(surprise, 4).max()
    # neither block size nor scale and origin of the scores change the result
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tracinctl.engine.item_view._CELLS", 40)
        np.testing.assert_allclose(disagreement(7 * place - 3), surprise, atol=1e-9)
    # half of the neighbours are nearly as good
    assert disagreement(place, np.arange(0, 30, 2)).argmax() == 4


@pytest.mark.parametrize("number", [0, 5, 200], ids=["none", "one or two an item", "many an item"])
@pytest.mark.parametrize("cells", [40, 1 << 20])
def test_item_level_influence_equals_a_loop_over_items_and_pairs(number, cells, monkeypatch):
    monkeypatch.setattr("tracinctl.engine.item_view._CELLS", cells)
    random = np.random.default_rng(number)
    scores, directions, some = random.normal(size=12), random.normal(size=(12, 4)), np.array([1, 2, 5, 8, 11])
    kernel = directions @ directions.T
    order = random.permutation(12)
    chosen = (
        random.integers(0, 12, (2, number)) if number > 6 else np.stack([order[:number], order[number : 2 * number]])
    )
    targets = random.integers(-1, 2, number)
    if number == 5:  # one item is in a second pair, and a pair of an item with itself does not count
        chosen = np.concatenate([chosen, [[order[0], order[11]], [order[11], order[11]]]], axis=1)
        targets = np.array([1, -1, 0, 1, -1, 1, 1])
    rows = lambda start, stop: kernel[start:stop, some]  # noqa: E731
    got = item_disagreement(scores, rows, np.diagonal(kernel), some, Pairs(*chosen, targets))

    u, centred = scores / scores.std(), directions - directions[some].mean(0)
    want = np.zeros(12)
    for i in range(12):
        losses = np.zeros(12)
        pairs = [p for p in zip(*chosen, targets, strict=True) if i in p[:2] and p[0] != p[1] and p[2]]
        for a, b, y in pairs:
            other, sign = (b, y) if a == i else (a, -y)
            losses += np.maximum(0.0, 0.25 - sign * (u - u[other])) / len(pairs)
        near = [k for k in some if k != i]
        lengths = np.linalg.norm(centred, axis=1)
        weights = np.array([np.exp(10 * centred[i] @ centred[k] / lengths[i] / lengths[k]) for k in near])
        fits = np.exp(-(losses[near] - losses[some].min()) / 0.02)
        want[i] = -np.log(weights @ fits / weights.sum())
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)


def test_items_with_equal_scores_cannot_disagree():
    pairs = Pairs([0, 1, 2], [1, 2, 0], [1, 1, 1])
    rows = lambda start, stop: np.eye(3)[start:stop]  # noqa: E731
    assert item_disagreement(np.full(3, 2.5), rows, np.ones(3), np.arange(3), pairs).tolist() == [0.0, 0.0, 0.0]


def test_items_without_a_gradient_have_equal_weights():
    pairs = Pairs([1, 2], [0, 0], [1, 1])  # the item with the highest score is ranked last
    rows = lambda start, stop: np.zeros((stop - start, 3))  # noqa: E731
    surprise = item_disagreement(np.array([2.0, 0.0, 1.0]), rows, np.zeros(3), np.arange(3), pairs)
    # one of its two neighbours has a score that fits its pairs
    assert surprise == pytest.approx([np.log(2), surprise[1], surprise[2]])


@pytest.mark.parametrize(
    "loss", [lambda a, b, y: b, lambda a, b, y: a, lambda a, b, y: -y * b, lambda a, b, y: torch.relu(y * b)]
)
def test_a_loss_of_one_score_only_equals_the_oracle(loss, tmp_path):
    torch.manual_seed(0)
    model, data = nn.Linear(6, 1), make_data((6,))
    paths = make_checkpoints(model, tmp_path)
    table = compute_influence(data, model, paths, loss=loss, dtype="float64")
    scores = oracle.influence_of_files(data, model, paths, loss=loss)[0]
    assert np.abs(scores).max() > 0
    assert worst(table.scores, scores) < 1e-10
    assert [checkpoint["gradient_zero"] for checkpoint in table.provenance["checkpoints"]] == [False] * len(paths)


def every_outcome(pairs, seed=0):
    """The pairs with some ties, and with weights and margins."""
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
    scores, self_influence, sample = oracle.influence_of_files(
        data, model, paths, loss=loss, method=method, **of_oracle
    )
    table = compute_influence(data, model, paths, loss=loss, method=method, dtype="float64", **options)
    assert np.abs(scores).max() > 0
    assert worst(table.scores, scores) < 1e-10
    assert worst(table.self_influence, self_influence) < 1e-10
    assert worst(table.sample_influence, sample) < 1e-10
    for name, value in options.items():
        assert table.provenance[name] == value


@given(s_i=SCORES, s_j=SCORES, y=st.sampled_from([1.0, 0.0, -1.0]), loss=st.sampled_from(["standard", "logistic"]))
def test_the_value_of_a_tie_agrees_with_its_derivative(s_i, s_j, y, loss):
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
def test_ties_that_a_loss_leaves_out_score_zero_and_are_counted(loss, method, notes, tmp_path):
    model, data = nn.Linear(6, 1), make_data((6,))
    pairs = Pairs([0, 1, 2, 3], [1, 2, 3, 4], [1, 0, -1, 0])
    data = dataclasses.replace(data, train_pairs=pairs)
    options = ComputeOptions(LossSettings(loss), method=method)
    result = compute_scores(data, model, make_checkpoints(model, tmp_path, scale=0.05), options)
    assert [note for note in result.notes if "ties" in note] == notes
    silent = not result.scores.table().scores[[1, 3]].any()
    assert silent == bool(notes)


def test_a_function_gets_the_columns_of_its_pairs(tmp_path):
    """A margin as in trl, and weights by annotator."""
    trust = {"ann": 1.0, "bob": 0.25}

    def loss(s_i, s_j, y, columns):
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
    mine = compute_influence(grouped, model, paths, loss=loss, dtype="float64")
    assert worst(mine.scores, named.scores) < 1e-12


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda s_i, s_j, y: ((s_i - s_j) * y)[:, None], r"returned shape \(\d+, 1\), not \(\d+,\)"),
        (
            lambda s_i, s_j, y: torch.softmax(s_i - s_j, 0),
            "changes with other pairs in the batch",
        ),
        (lambda s_i, s_j, y: (s_i - s_j) * torch.rand(len(y)), "or between calls"),
        (lambda s_i, s_j, y: s_i @ s_j[:2], "failed: RuntimeError"),
        (lambda s_i, s_j, y, columns: columns["margin"] * s_i, "failed: KeyError: 'margin'"),
        (lambda s_i, s_j, y: (s_i - s_j).mean(), "one value per pair"),
        (lambda s_i, s_j, y: (s_i - s_j) * float("nan"), "is nan"),
        (lambda s_i, s_j, y: (s_i - s_j).detach(), "no gradient"),
        (lambda s_i, s_j, y: 3.0, "returned a float"),
    ],
)
def test_a_function_that_mixes_pairs_or_fails_is_refused(loss, message, tmp_path):
    model, data = nn.Linear(6, 1), make_data((6,))
    with pytest.raises(LossError, match=message):
        compute_influence(data, model, make_checkpoints(model, tmp_path), loss=loss)


@pytest.mark.parametrize(
    ("options", "message"),
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
def test_a_wrong_value_is_refused_before_any_work(options, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        compute_influence(make_data((6,)), nn.Linear(6, 1), [tmp_path / "never read.pt"], **options)


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
def test_dependence_on_the_difference_is_found_by_trial(loss, of_difference):
    assert LossSettings(loss).of_difference == of_difference
    assert not LossSettings("logistic", centring=0.1).of_difference


def test_a_function_that_passes_the_trial_by_mistake_is_exact(tmp_path, monkeypatch):
    """It depends only on the difference for the trial scores, but not for the model's scores."""
    monkeypatch.setattr("tracinctl.engine.kernel.layout.COMPLETE", 4)
    monkeypatch.setattr("tracinctl.engine.kernel.layout._ONCE", 9.0)

    def sly(s_i, s_j, y):
        return -y * (s_i - s_j) + torch.relu(s_i - 5000.0)

    model, data = nn.Linear(6, 1), make_data((6,))
    paths = make_checkpoints(model, tmp_path, scale=5000.0)
    scores = oracle.influence_of_files(data, model, paths, loss=sly)[0]
    assert LossSettings(sly).of_difference
    assert worst(compute_influence(data, model, paths, loss=sly, dtype="float64").scores, scores) < 1e-10
