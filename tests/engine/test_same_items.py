"""Equal items under two ids."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tracinctl import Pairs, RankingData, Samples
from tracinctl.engine.compute import compute_scores
from tracinctl.engine.compute_options import ComputeOptions
from tracinctl.engine.influence import LossSettings
from tracinctl.scores.exclusion import choose_exclusions
from tracinctl.scores.options import Rule


def every_pair(count):
    first, second = np.triu_indices(count, 1)
    return Pairs(first, second, np.where((first + second) % 3, 1, -1))


@pytest.fixture
def computed(tmp_path):
    def compute(train, test, model=None, train_ids=None, **options):
        torch.manual_seed(0)
        model = model or torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        paths = []
        for k in range(2):
            paths.append(tmp_path / f"model_epoch_{k}.pt")
            torch.save({name: value + 0.25 * k for name, value in model.state_dict().items()}, paths[-1])
        data = RankingData(
            Samples(train_ids or [f"a{k}" for k in range(len(train))], train),
            every_pair(len(train)),
            Samples([f"b{k}" for k in range(len(test))], test),
            every_pair(len(test)),
        )
        return compute_scores(data, model, paths, ComputeOptions(LossSettings("logistic"), device="cpu", **options))

    return compute


def items(count, seed=0):
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))


def listed(result):
    """The listed pairs if every score counts as a vote."""
    return choose_exclusions(result.scores, Rule(upper_threshold=1e-12, min_occurrences="1")).ids


def about(result, words):
    return [note for note in result.notes if words in note]


def test_different_items_have_no_notes(computed):
    result = computed(items(5), items(4, 1))
    assert result.notes == []
    assert "indistinct_pairs" not in result.scores.provenance


def test_held_out_copies_of_training_items_are_counted_and_named(computed):
    train = items(5)
    result = computed(train, torch.cat([items(3, 1), train[[2, 0]]]))
    (note,) = about(result, "content")
    assert note.startswith("2 of 5 held-out items have the same content as a training item")
    assert note.endswith("b3 (as a2), b4 (as a0)")


@pytest.mark.parametrize("method", ["tracin", "margin", "fisher"])
def test_pairs_of_equal_inputs_score_zero_and_are_never_listed(computed, method):
    train, test = items(6), items(4, 1)
    train[5], test[3] = train[1], test[0]
    result = computed(train, test, method=method)
    table = result.scores.table()
    row, column = table.train_ids.index("a1_a5"), table.test_ids.index("b0_b3")
    assert not table.scores[row].any()
    assert not table.scores[:, column].any()
    assert np.count_nonzero(table.scores.any(axis=1)) == len(table.train_ids) - 1
    notes = about(result, "same input")
    assert [note.rpartition(": ")[2] for note in notes] == ["a1_a5", "b0_b3"]
    assert result.scores.provenance["indistinct_pairs"] == ["a1_a5"]
    assert set(listed(result)) == set(table.train_ids) - {"a1_a5"}


def test_pairs_of_always_equal_scores_are_named_and_never_listed(computed):
    model = torch.nn.Linear(4, 1)
    torch.nn.init.zeros_(model.weight)  # in the second checkpoint, all other items have different scores
    train = torch.tensor([[1.0, 0, 0, 0], [0, 2, 0, 0], [1, 3, 0, 0], [0, 0, 3, 0], [0, 0, 2, 2]])
    result = computed(train, items(4, 1), model)
    (note,) = about(result, "with the same score at every checkpoint")
    assert note.endswith(": a2_a4")
    table = result.scores.table()
    assert table.scores[table.train_ids.index("a2_a4")].any()
    assert set(listed(result)) == set(table.train_ids) - {"a2_a4"}


def test_the_library_warns_of_equal_items(tmp_path):
    from tracinctl import compute_influence
    from tracinctl.errors import DataWarning

    model = torch.nn.Linear(4, 1)
    path = tmp_path / "model_epoch_1.pt"
    torch.save({"model_state_dict": model.state_dict(), "learning_rate": 0.1}, path)
    train = Samples([f"a{k}" for k in range(4)], items(4))
    data = RankingData(train, every_pair(4), train, every_pair(4))
    with pytest.warns(DataWarning, match="4 of 4 held-out items have the same content as a training item"):
        compute_influence(data, model, [path], loss="logistic", device="cpu", checkpoint_weights="uniform")
