"""``plot --json``: the numbers of a view agree with slow counts of the same scores."""

import json

import numpy as np
import pytest
from command_line import CommandLine, write_score_file
from hypothesis import given, settings
from score_tables import matrices, scores_of_any_size, table

from tracinctl.plots.picture import numbers_of
from tracinctl.plots.request import Request
from tracinctl.plots.views import VIEWS
from tracinctl.scores.votes import parse_thresholds

SCORES = np.random.default_rng(3).normal(0, 10, (30, 6)).round(1)
SCORES[:, 5] = 0  # a test pair that cannot vote
SCORES[0, 0] = np.nan


def source(scores=SCORES):
    scores = np.asarray(scores, dtype=float)
    return table(
        scores,
        train_items=[(f"box_deg000_1hz_{k}", f"box_deg036_1hz_{k}") for k in range(len(scores))],
        self_influence=np.abs(np.nan_to_num(scores[:, 0])),
        sample_ids=[f"m_{k}" for k in range(len(scores))],
        sample_influence=np.abs(np.nan_to_num(scores[:, 0])) / 2,
        per_checkpoint=np.stack([scores / 1.5, scores / 3]),
        checkpoint_names=["epoch_1.pt", "epoch_2.pt"],
    )


def numbers(view, scores=SCORES, **more):
    return numbers_of(view, Request(source(scores), 80, False, parse_thresholds("0,-5"), **more))


def test_counts_are_those_of_the_scores():
    finite = np.nan_to_num(SCORES)
    answer = numbers("distribution")
    assert (answer["train_pairs"], answer["test_pairs"], answer["active_test_pairs"]) == (30, 6, 5)
    assert (answer["negative"], answer["positive"]) == ((finite < 0).sum(), (finite > 0).sum())
    assert (answer["zero"], answer["not_finite"]) == ((SCORES == 0).sum(), 1)
    assert [entry["below"] for entry in answer["thresholds"]] == [(finite < 0).sum(), (finite < -5).sum()]
    edges, counts = answer["edges"], answer["counts"]
    assert len(edges) == len(counts) + 1
    assert sum(counts) == (finite != 0).sum()
    assert sum(counts[: edges.index(0.0)]) == (finite < 0).sum()


def test_harmful_pairs_are_those_of_the_rule():
    votes = (np.nan_to_num(SCORES) < -5).sum(axis=1)
    below = numbers("sweep")["thresholds"][1]
    assert below["threshold"] == -5
    assert below["votes"] == {str(k): (votes >= k).sum() for k in range(1, 6)}
    assert below["harmful"] == (votes >= 3).sum()
    first = numbers("overview", top=2)["most_votes"]
    negative = (np.nan_to_num(SCORES) < 0).sum(axis=1)
    assert [entry["votes"] for entry in first] == sorted(negative.tolist(), reverse=True)[:2]
    assert all(entry["harmful"] == (entry["votes"] >= 3) for entry in first)


def test_means_of_classes_and_pairs():
    means = np.nan_to_num(SCORES).sum(axis=1) / np.isfinite(SCORES).sum(axis=1)
    classes = numbers("heatmap")
    assert classes["classes"] == ["deg000", "deg036"]
    assert classes["pairs"] == [[0, 30], [30, 0]]
    assert classes["means"][0][0] is None
    assert classes["means"][0][1] == pytest.approx(means.mean())
    top = numbers("top", top=3)
    assert [entry["score"] for entry in top["harmful"]] == pytest.approx(sorted(means)[:3])
    assert [entry["score"] for entry in top["helpful"]] == pytest.approx(sorted(means)[:-4:-1])
    single = numbers("top", top=1, test_pair="m_2_m_902")
    assert single["harmful"][0]["score"] == SCORES[:, 2].min()


def test_checkpoints_and_items():
    first, second = numbers("checkpoints")["checkpoints"]
    assert (first["name"], second["name"]) == ("epoch_1.pt", "epoch_2.pt")
    assert np.array(first["percentiles"]) == pytest.approx(2 * np.array(second["percentiles"]))
    active = np.nan_to_num(SCORES)[np.nan_to_num(SCORES) != 0]
    assert first["negative_share"] == pytest.approx((active < 0).mean())
    alone = numbers("self", top=1)
    assert alone["pairs"][0]["self_influence"] == np.nanmax(np.abs(SCORES[:, 0]))
    assert alone["items"][0]["sample_influence"] == np.nanmax(np.abs(SCORES[:, 0])) / 2


@pytest.mark.parametrize("view", VIEWS)
@settings(deadline=None, max_examples=8)
@given(scores=matrices(scores_of_any_size))
def test_any_scores_give_valid_json(view, scores):
    json.dumps(numbers(view, scores), allow_nan=False)


def test_the_command_prints_json_and_nothing_else(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(capsys)
    write_score_file(tmp_path / "metadata" / "box_1hz_influence_metadata.json", SCORES[1:])
    result = cli("plot", "sweep", "--json")
    assert result.code == 0, result.err
    (answer,) = json.loads(result.out)
    assert (answer["material"], answer["frequency"], answer["view"]) == ("box", "1hz", "sweep")
    swept = cli.json("sweep")[0]
    assert [entry["harmful"] for entry in answer["thresholds"]] == [entry["harmful"] for entry in swept["thresholds"]]
    both = cli("plot", "top", "--json", "--output", "top.txt")
    assert json.loads(both.out)[0]["view"] == "top"
    assert (tmp_path / "top.txt").read_text().startswith("box 1hz: top")
    write_score_file(tmp_path / "metadata" / "box_2hz_influence_metadata.json", SCORES[1:])
    assert [entry["frequency"] for entry in cli.json("plot")] == ["1hz", "2hz"]
