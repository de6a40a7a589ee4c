"""Ranking tasks from real comparisons: people's votes on arguments, and LightGBM's web search example.

The files are not part of the project. The variable ``TRACINCTL_REFERENCE`` names their folder; without it, the folder
is ``shared/reference`` beside the project. README files in it describe the files and their sources.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from planted_tasks import Task

from tracinctl import Pairs, RankingData, Samples

REFERENCE = Path(os.environ.get("TRACINCTL_REFERENCE", Path(__file__).resolve().parents[3] / "shared" / "reference"))

_PARTS = (0.5, 0.2, 0.3)  # shares of a debate's items, or of the queries, that train, score and judge
_SHRUNK_BY = 5  # number of votes with the mean agreement that are added to each annotator's votes
_MAJORITY = 0.2  # least lead of one side, as a share of the votes; equal votes count as 0
_CLEAR_MAJORITY = 0.4
_JUDGED_PAIRS = 10
_LETOR_PAIRS = 3000  # number of training pairs, as in the planted tasks
_CAREFUL_FROM = 0.6


def arguments_task(seed: int, vote: str = "weakest") -> Task:
    """Train on one vote per pair, with its annotator; the majority is the truth.

    Votes for neither side are not used. ``vote`` is ``weakest``, the vote of the least competent annotator who took a
    side, or ``drawn``, a random one. Competence is an annotator's agreement with the others' majority over the votes
    for a side, shrunk by five votes.
    """
    folder = REFERENCE / "arguments"
    items = pd.read_csv(folder / "items.csv.gz")
    features = np.load(folder / "features.npy").astype(np.float64)
    votes = pd.read_csv(folder / "votes.csv.gz")
    if vote == "drawn":
        votes = votes.sample(frac=1, random_state=seed)
    pairs = _majorities(votes, {name: row for row, name in enumerate(items["item"])}, weakest=vote == "weakest")
    random = np.random.default_rng([seed, 21])
    part = np.empty(len(items), dtype=np.int64)
    for rows in items.groupby("debate").indices.values():
        part[rows] = _parts(random, len(rows))
    of_pair = np.where(part[pairs["i"]] == part[pairs["j"]], part[pairs["i"]], -1)
    pairs["truth"] = np.sign(pairs["lead"]).where(pairs["lead"].abs() >= _MAJORITY, 0).astype(int)
    train = pairs[(of_pair == 0) & (pairs["truth"] != 0)]
    score = pairs[(of_pair == 1) & (pairs["truth"] != 0)]
    judge = pairs[(of_pair == 2) & (pairs["lead"].abs() >= _CLEAR_MAJORITY)]
    bad = (train["weakest"] != train["truth"]).to_numpy()
    chosen = (train.assign(target=train["weakest"]), *(side.assign(target=side["truth"]) for side in (score, judge)))
    return _task("arguments", "votes", features, part, chosen, bad)


def letor_task(seed: int, share: float) -> Task:
    """Pairs of documents of one query with different grades: 3,000 training pairs, a share of them flipped."""
    folder = REFERENCE / "letor"
    with gzip.open(folder / "rank.train.query.gz", "rt") as stream:
        counts = [int(line) for line in stream]
    with gzip.open(folder / "rank.train.gz", "rt") as stream:
        lines = [line.split() for line in stream]
    grades, features = np.array([int(line[0]) for line in lines]), np.zeros((len(lines), 301))
    for row, line in enumerate(lines):
        for entry in line[1:]:
            column, _, value = entry.partition(":")
            features[row, int(column)] = float(value)
    random = np.random.default_rng([seed, 22])
    part = np.repeat(_parts(random, len(counts)), counts)
    rows, at = [], 0
    for count in counts:
        i, j = np.triu_indices(count, 1)
        rows.append(np.stack([i + at, j + at], 1)[grades[at + i] != grades[at + j]])
        at += count
    both = np.concatenate(rows)
    both = np.where(random.random((len(both), 1)) < 0.5, both, both[:, ::-1])
    frame = pd.DataFrame({"i": both[:, 0], "j": both[:, 1]})
    frame["target"] = np.where(grades[frame["i"]] > grades[frame["j"]], 1, -1)
    sides = [frame[part[frame["i"]] == k].copy() for k in range(3)]
    sides[0] = sides[0].iloc[np.sort(random.permutation(len(sides[0]))[:_LETOR_PAIRS])].reset_index(drop=True)
    bad = np.zeros(len(sides[0]), dtype=bool)
    bad[random.permutation(len(bad))[: round(share * len(bad))]] = True
    sides[0].loc[bad, "target"] *= -1
    return _task("letor", "flipped" if share else "clean", features, part, sides, bad, share)


def _majorities(votes: pd.DataFrame, row_of: dict[str, int], *, weakest: bool) -> pd.DataFrame:
    """One row per pair: items ``i`` and ``j``, the lead of i, and the vote of its weakest or first annotator."""
    first, second = (votes[name].map(row_of).to_numpy() for name in ("item1", "item2"))
    turned = first > second
    votes = votes.assign(
        i=np.minimum(first, second), j=np.maximum(first, second), vote=np.where(turned, -votes["vote"], votes["vote"])
    )
    by_pair = votes.groupby(["i", "j"])["vote"]
    total, count = by_pair.transform("sum"), by_pair.transform("count")
    others = np.sign(total - votes["vote"])
    agrees = (others == votes["vote"]).where((others != 0) & (votes["vote"] != 0))
    usual = agrees.mean()
    of_annotator = agrees.groupby(votes["annotator"])
    competence = (of_annotator.sum() + _SHRUNK_BY * usual) / (of_annotator.count() + _SHRUNK_BY)
    sided = votes.assign(lead=total / count, competence=votes["annotator"].map(competence))[votes["vote"] != 0]
    ordered = sided.sort_values("competence", kind="stable") if weakest else sided
    training = ordered.drop_duplicates(["i", "j"])
    return training.rename(columns={"vote": "weakest"})[["i", "j", "lead", "weakest", "annotator"]].sort_values(
        ["i", "j"]
    )


def careless_annotators() -> dict[str, bool]:
    """Whether each annotator with at least ten pairs agrees with the others' majority on less than 60 % of them.

    Votes for neither side do not count.
    """
    votes = pd.read_csv(REFERENCE / "arguments" / "votes.csv.gz")
    by_pair = votes.groupby(["item1", "item2"])["vote"]
    others = np.sign(by_pair.transform("sum") - votes["vote"])
    sided = (others != 0) & (votes["vote"] != 0)
    of_annotator = (others == votes["vote"])[sided].groupby(votes["annotator"][sided])
    agrees = of_annotator.mean()[of_annotator.count() >= _JUDGED_PAIRS]
    return (agrees < _CAREFUL_FROM).to_dict()


def _parts(random: np.random.Generator, count: int) -> np.ndarray:
    """A part, 0, 1 or 2, for each of ``count`` items, in random order."""
    limits = np.round(np.cumsum(_PARTS) * count).astype(int)
    return np.searchsorted(limits, random.permutation(count), side="right")


def _task(
    name: str,
    error: str,
    features: np.ndarray,
    part: np.ndarray,
    sides: Iterable[pd.DataFrame],
    bad: np.ndarray,
    share: float = 0.0,
) -> Task:
    train = part == 0
    values = (features - features[train].mean(0)) / (features[train].std(0) + 1e-9)
    samples, pairs = [], []
    for k, (label, side) in enumerate(zip(("train", "test", "judge"), sides, strict=True)):
        rows = np.flatnonzero(part == k)
        place = np.full(len(part), -1)
        place[rows] = np.arange(len(rows))
        inputs = torch.tensor(values[rows], dtype=torch.float32)
        samples.append(Samples([f"{label}{row}" for row in rows], inputs))
        groups = {"annotator": side["annotator"].to_numpy()} if "annotator" in side else {}
        pairs.append(Pairs(place[side["i"]], place[side["j"]], side["target"].to_numpy(), groups=groups))
    data = RankingData(samples[0], pairs[0], samples[1], pairs[1])
    return Task(name, error, share, data, bad, samples[2], pairs[2])
