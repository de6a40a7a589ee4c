"""Item-level influence of items that each occur in little more than one pair."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small_models import make_checkpoints, make_data, worst
from torch import nn

from tracinctl import Pairs, Samples, compute_influence
from tracinctl.engine.kernel import layout
from tracinctl.engine.pair_view import Neighbours, pair_disagreement
from tracinctl.errors import DataWarning

ROWS = 9


def case(seed=0):
    """Margins and gradients of rows, and pairs with their labels; two are of the same row, one has no gradient."""
    random = np.random.default_rng(seed)
    gradients = random.normal(size=(ROWS, 4))
    gradients[7] = 0.0
    own = np.array([0, 1, 2, 2, 5, 7, 8])
    return random.normal(size=ROWS), gradients, own, random.choice([1, -1], len(own))


def disagreement(margins, gradients, own, target, neighbours, memory=1 << 20):
    products = gradients @ gradients.T
    some = Neighbours(np.asarray(neighbours, dtype=np.int64), lambda rows: products[rows], np.diagonal(products))
    return pair_disagreement(margins, target, own, some, memory)


@pytest.mark.parametrize("memory", [1, 1 << 20], ids=["a pair at a time", "all together"])
@pytest.mark.parametrize("neighbours", [range(ROWS), [1, 2, 6, 7], [2], []])
def test_it_equals_a_loop_over_pairs_and_neighbours(neighbours, memory):
    margins, gradients, own, target = case()
    got = disagreement(margins, gradients, own, target, neighbours, memory)
    for p, (row, y) in enumerate(zip(own, target, strict=True)):
        want = np.log(1 + np.exp(-2 * y * margins[row]))
        terms = []
        for k in set(neighbours) - {row}:
            lengths = np.linalg.norm(gradients[row]) * np.linalg.norm(gradients[k])
            cosine = gradients[row] @ gradients[k] / lengths if lengths else 0.0
            for sign in (1, -1):
                loss = max(0.0, 0.25 - y * sign * margins[k])
                terms.append((np.exp(10 * sign * cosine), np.exp(-loss / 0.02)))
        if terms:
            want -= np.log(sum(w * fit for w, fit in terms) / sum(w for w, _ in terms))
        assert got[p] == pytest.approx(want**2, rel=1e-12)


def test_a_pair_against_its_neighbours_stands_out_even_if_the_model_learned_its_label():
    random = np.random.default_rng(1)
    directions = random.normal(size=(2, 5))
    gradients = np.repeat(directions, 10, axis=0) + 0.05 * random.normal(size=(20, 5))
    margins = np.repeat([1.0, -1.0], 10)
    target = np.sign(margins).astype(int)
    target[3], margins[3] = -1, -0.5
    values = disagreement(margins, gradients, np.arange(20), target, range(20))
    assert values.argmax() == 3
    assert values[3] > 3 * np.delete(values, 3).max()
    # its own score alone hides it
    assert disagreement(margins, gradients, np.arange(20), target, []).argmax() == 3
    assert disagreement(margins, gradients, np.arange(20), target, []).max() < 0.1


def test_the_order_within_a_pair_and_of_the_pairs_does_not_matter():
    margins, gradients, own, target = case(2)
    values = disagreement(margins, gradients, own, target, range(ROWS))
    signs = np.random.default_rng(0).choice([1, -1], ROWS)
    turned = disagreement(signs * margins, signs[:, None] * gradients, own, signs[own] * target, range(ROWS))
    np.testing.assert_allclose(turned, values, rtol=1e-12)
    np.testing.assert_allclose(disagreement(margins, gradients, own[::-1], target[::-1], range(ROWS)), values[::-1])


@pytest.mark.parametrize("many", [False, True], ids=["few", "many"])
def test_an_item_has_the_mean_of_its_pairs(many, tmp_path, monkeypatch):
    if many:
        monkeypatch.setattr(layout, "COMPLETE", 4)
    model = nn.Linear(6, 1)
    pairs = [(0, 1, 1), (2, 3, -1), (4, 5, 1), (6, 7, -1), (1, 8, 1)]
    data = make_data((6,), 3, 12, 4, pairs, [(0, 1, 1), (2, 3, -1)])
    paths = make_checkpoints(model, tmp_path, (0.1,), 3)
    table = compute_influence(data, model, paths, loss="logistic", dtype="float64")
    assert table.provenance["item_view"] == ("own pairs" if many else "all pairs")
    assert any("uses only their own scores" in note for note in table.provenance["notes"]) == many
    values = table.sample_influence
    alone = [values[k] for k in (0, 2, 4, 6, 8)]
    np.testing.assert_allclose(values[[0, 2, 4, 6, 8]], values[[0, 3, 5, 7, 8]])
    assert values[1] == pytest.approx((alone[0] + alone[4]) / 2)
    assert (values[9:] == 0).all()
    fewer = dataclasses.replace(data, train=Samples(data.train.ids[:9], data.train.inputs[:9]))
    assert (
        worst(compute_influence(fewer, model, paths, loss="logistic", dtype="float64").sample_influence, values[:9])
        < 1e-12
    )
    assert (np.array(alone) > 0).all()


def test_ties_and_equal_scores_say_nothing(tmp_path):
    model = nn.Linear(6, 1)
    data = make_data((6,), 3, 8, 4, [(0, 1, 1), (2, 3, 0), (4, 5, -1)], [(0, 1, 1), (2, 3, -1)])
    paths = make_checkpoints(model, tmp_path, (0.1,), 3)
    values = compute_influence(data, model, paths, loss="logistic").sample_influence
    assert (values[[2, 3, 6, 7]] == 0).all()
    assert (values[[0, 1, 4, 5]] > 0).all()
    data.train.inputs[:] = data.train.inputs[0].clone()
    same = dataclasses.replace(data, train_pairs=Pairs([0, 2], [1, 3], [1, -1]))
    with pytest.warns(DataWarning, match="same input"):
        values = compute_influence(same, model, paths, loss="logistic", dtype="float64").sample_influence
    assert (values == 0).all()
