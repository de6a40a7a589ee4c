"""``--by``: groups of pairs are listed, drawn and left out."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from tracinctl.cli.completion.values import candidates_for
from tracinctl.data.pairs import Pairs, RankingData, Samples
from tracinctl.project.config import load_project, load_settings
from tracinctl.project.doubts import write_doubts
from tracinctl.project.target import Target
from tracinctl.scores.files.exclusion_list import read_exclusion_list
from tracinctl.scores.files.open import write_scores
from tracinctl.scores.table import InfluenceTable
from tracinctl.text import count

ITEMS = [f"box_deg{angle:03}_1hz_{take:02}" for angle in (0, 36) for take in range(4)]
PAIRS = [(a, b) for a in ITEMS[:4] for b in ITEMS[4:]]
WHO = ["Anna"] * 6 + ["Bob"] * 6 + ["Carl"] * 3 + ["=Dora"]
SCORES = np.random.default_rng(0).normal(2, 1, (16, 5)).round(3)
SCORES[6:12] -= 4  # Bob hurts


@pytest.fixture
def target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = Target(load_project(load_settings(None)), "box", "1hz")
    ids = [f"{a}_{b}" for a, b in PAIRS]
    tests = [f"box_deg000_1hz_9{k}_box_deg036_1hz_9{k}" for k in range(5)]
    scores = InfluenceTable(ids, tests, SCORES, train_items=PAIRS, groups={"annotator": WHO})
    target.score_file.parent.mkdir(parents=True)
    write_scores(scores, target.score_file)
    return target


def test_sweep_lists_groups_and_what_each_threshold_would_exclude(cli, target):
    result = cli("sweep", "--by", "annotator", "--thresholds", "0,-1")
    assert result.code == 0, result.err
    lines = [line.split() for line in result.out.splitlines()]
    assert "box 1hz, by annotator: 4 groups of 16 training pairs, 5 active test pairs of 5" in result.out
    names = [line[0] for line in lines if line and line[0] in {*WHO}]
    assert names[0] == "Bob"
    assert ["0", "1", "25.0%", "6", "37.5%"] in lines
    assert "contradicted" not in result.out
    few = cli("sweep", "--by", "annotator", "--top", "1").out
    assert "... and 3 less harmful ones" in few
    assert "Anna" not in few


def test_sweep_json_and_csv_have_every_group(cli, target):
    [answer] = cli.json("sweep", "--by", "annotator", "--thresholds", "0")
    assert answer["by"] == "annotator"
    assert answer["train_pairs"] == 16
    bob = answer["groups"][0]
    totals = SCORES[6:12].sum(1)
    assert (bob["name"], bob["pairs"], bob["harmful"]) == ("Bob", 6, int((totals < 0).sum()))
    assert bob["total"] == pytest.approx(totals.sum())
    assert bob["mean"] == pytest.approx(totals.mean())
    assert bob["low"] < bob["mean"] < bob["high"]
    [zero] = answer["thresholds"]
    assert (zero["harmful"], zero["harmful_pairs"]) == (1, 6)
    rows = list(csv.DictReader(io.StringIO(cli("sweep", "--by", "annotator", "--thresholds", "0,-90", "--csv").out)))
    assert {row["group"] for row in rows} == {"Anna", "Bob", "Carl", "'=Dora"}
    assert [(row["harmful_at_0"], row["harmful_at_-90"]) for row in rows] == [("1", "0"), *[("0", "0")] * 3]
    assert [row["low"] for row in rows if row["pairs"] == "1"] == [""]


def test_sweep_by_total_counts_the_groups_below_it(cli, target):
    [answer] = cli.json("sweep", "--by", "item", "--rule", "total", "--thresholds", "0,-90")
    means = {name: [SCORES[k].sum() for k, pair in enumerate(PAIRS) if name in pair] for name in ITEMS}
    harmful = {name for name, totals in means.items() if np.mean(totals) < 0}
    touched = [pair for pair in PAIRS if harmful & {*pair}]
    assert 0 < len(harmful) < len(ITEMS)
    assert [(row["harmful"], row["harmful_pairs"]) for row in answer["thresholds"]] == [
        (len(harmful), len(touched)),
        (0, 0),
    ]


def test_exclude_leaves_out_all_pairs_of_a_group(cli, target):
    result = cli("exclude", "--by", "annotator")
    assert result.code == 0, result.err
    assert "1 group by annotator to leave out, 6 training pairs" in result.out
    written = read_exclusion_list(target.list_file)
    assert [*written.ids] == [f"{a}_{b}" for a, b in PAIRS[6:12]]
    assert written.comments[0] == "excluded: 6 training pairs, all of 1 group by annotator (mode ranking_pair)"
    assert "group: Bob" in written.comments


def test_exclude_json_and_csv_name_the_group_of_each_pair(cli, target):
    arguments = ["exclude", "--by", "item", "--rule", "total", "--threshold", "0", "--dry-run"]
    [answer] = cli.json(*arguments)
    assert answer["by"] == "item"
    groups = [group["name"] for group in answer["groups"]]
    assert len(groups) > 1
    assert {*answer["excluded"]} == {f"{a}_{b}" for a, b in PAIRS if {a, b} & {*groups}}
    rows = list(csv.DictReader(io.StringIO(cli(*arguments, "--csv").out)))
    assert [row["id"] for row in rows] == answer["excluded"]
    assert all(row["item"] in row["id"] and row["item"] in groups for row in rows)
    [capped] = cli.json(*arguments, "--max-exclusions", "1")
    assert [group["name"] for group in capped["groups"]] == groups[:1]
    rest = count(len(groups) - 1, "harmful group")
    assert any(f"left {rest} by item off" in text for text in capped["warnings"])


def test_exclude_by_group_marks_its_pairs_in_the_records(cli, target):
    cli("exclude", "--by", "annotator", "--update-metadata")
    records = json.loads(target.records.read_text())
    assert {name for name, record in records.items() if record.get("excluded")} == {f"{a}_{b}" for a, b in PAIRS[6:12]}
    info = next(iter(records.values()))["tracin_info"]
    assert info["negative_occurrences"] == (SCORES[6:12].mean(0) < 0).sum()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["exclude", "--by", "annotator", "--pair-mode", "sample"], "--by leaves out pairs"),
        (["sweep", "--by", "annotator", "--retrain"], "--retrain judges lists of single pairs"),
        (["plot", "top", "--by", "annotator"], "--by works with the view groups only"),
        (["sweep", "--by", "anotator"], "no column 'anotator'"),
        (["plot", "groups", "--by", "anotator"], "no column 'anotator'"),
    ],
)
def test_contradictory_settings_are_refused(cli, target, arguments, message):
    result = cli(*arguments)
    assert result.code == 2
    assert message in result.err


def test_a_group_shows_its_contradicted_share_if_known(cli, target):
    first, second = zip(*PAIRS, strict=True)
    pairs = Pairs([ITEMS.index(a) for a in first], [ITEMS.index(b) for b in second], [1] * 16)
    items, none = Samples(ITEMS, [[0.0]] * 8), Pairs(*np.zeros((3, 0), dtype=int))
    data = RankingData(items, pairs, Samples([], []), none)
    write_doubts(target, data, np.where(np.arange(16) < 8, 0.9, 0.1))
    [answer] = cli.json("sweep", "--by", "annotator")
    shares = {group["name"]: group["contradicted"] for group in answer["groups"]}
    assert shares == {"Anna": 1.0, "Bob": pytest.approx(1 / 3), "Carl": 0.0, "=Dora": 0.0}
    assert "33.3%" in cli("sweep", "--by", "annotator").out
    assert "contra." in cli("plot", "groups").out
    write_doubts(target, replace(data, train_pairs=pairs.take(np.arange(15))), np.full(15, 0.9))
    assert "contradicted" not in cli("sweep", "--by", "annotator").out, "one pair has no share"


def test_the_view_draws_groups_by_annotator_by_default(cli, target):
    out = cli("plot", "groups").out
    assert "4 groups by annotator" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "8 groups by item" in cli("plot", "groups", "--by", "item").out
    [answer] = cli.json("plot", "groups", "--by", "class")
    assert [group["pairs"] for group in answer["groups"]] == [16, 16]


def test_the_report_has_a_picture_for_each_column(cli, target):
    result = cli("workflow", "--material", "box", "--frequencies", "1hz", "--report", "report.md")
    assert result.code == 0, result.err
    text = (target.project.root / "report.md").read_text()
    assert "By annotator" in text
    assert "4 groups by annotator" in text


def test_one_training_pair_shows_the_test_pairs_it_hurts_and_helps(cli, target):
    name, row = "_".join(PAIRS[6]), SCORES[6]
    [answer] = cli.json("plot", "top", "--train-pair", name, "--top", "2")
    assert [entry["score"] for entry in answer["hurts"]] == sorted(row[row < 0])[:2]
    assert [entry["score"] for entry in answer["helps"]] == sorted(row[row > 0], reverse=True)[:2]
    out = cli("plot", "top", "--train-pair", name).out
    assert f"Training pair {name}" in out
    assert max(map(len, out.splitlines())) <= 80
    wrong = cli("plot", "top", "--train-pair", name + "x")
    assert wrong.code == 2
    assert f"Did you mean {name}?" in wrong.err
    assert "--train-pair works with the view top only" in cli("plot", "sweep", "--train-pair", name).err


def test_completion_offers_the_pairs_on_the_list(cli, target):
    cli("exclude", "--by", "annotator")
    assert [value for value, _ in candidates_for("pair_id", {})] == ["_".join(pair) for pair in PAIRS[6:12]]
