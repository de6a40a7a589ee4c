"""Ranking tasks from scikit-learn's bundled sets, with errors planted in the training part.

Items have three parts: training items, held-out items that score influence, and held-out items that judge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sklearn.datasets
import torch

from tracinctl import Pairs, RankingData, Samples

SOURCES = {  # name: (loader, numbers of items in the three parts)
    "digits": (sklearn.datasets.load_digits, (240, 100, 400)),
    "diabetes": (sklearn.datasets.load_diabetes, (200, 80, 160)),
    "wine": (sklearn.datasets.load_wine, (90, 40, 48)),
    "cancer": (sklearn.datasets.load_breast_cancer, (200, 80, 280)),
    "iris": (sklearn.datasets.load_iris, (75, 35, 40)),
}


@dataclass(frozen=True)
class Task:
    """A ranking task with planted errors.

    Attributes:
        name: the source's name.
        error: ``clean``, ``flipped`` (pairs with a reversed target) or ``mislabelled`` (items with the label of another
            item in all their pairs).
        share: share of bad pairs or items.
        data: the training part, and the held-out part that scores influence.
        bad: whether each training pair's target (``flipped``) or training item's label (``mislabelled``) is wrong.
        judge, judge_pairs: held-out items and pairs that take no part in choosing.
    """

    name: str
    error: str
    share: float
    data: RankingData
    bad: np.ndarray
    judge: Samples
    judge_pairs: Pairs

    @property
    def bad_pairs(self) -> np.ndarray:
        """Whether each training pair is bad, or has a bad item."""
        if self.error != "mislabelled":
            return self.bad
        return self.bad[self.data.train_pairs.first] | self.bad[self.data.train_pairs.second]


def make_tasks(
    name: str, errors: list[tuple[str, float]], seed: int, scale: float = 1.0, pairs: int = 3000
) -> list[Task]:
    """The tasks of a source, one per error, with the same items in the same parts and the same pairs."""
    load, sizes = SOURCES[name]
    values, labels = load(return_X_y=True)
    labels = np.asarray(labels, dtype=np.float64)
    random = np.random.default_rng([seed, len(name)])
    order = random.permutation(len(values))
    n_train, n_test, n_judge = (max(12, round(scale * size)) for size in sizes)
    train, test, judge = np.split(order[: n_train + n_test + n_judge], [n_train, n_train + n_test])
    values = (values - values[train].mean(0)) / (values[train].std(0) + 1e-9)
    parts = {
        part: Samples([f"{part}{k}" for k in rows], torch.tensor(values[rows], dtype=torch.float32))
        for part, rows in (("train", train), ("test", test), ("judge", judge))
    }
    test_pairs = _draw(labels[test], max(50, pairs // 3), random)
    judge_pairs = _draw(labels[judge], 2 * pairs, random)
    true_labels = labels[train]
    pool = random.permutation(np.stack(np.triu_indices(len(train), 1), 1))
    # a wrong label changes an item's possible pairs, so each error draws its pairs from one shuffled list
    tasks = []
    for error, share in errors:
        wrong_labels = true_labels.copy()
        bad = np.zeros(len(train), dtype=bool)
        if error == "mislabelled":
            bad[random.permutation(len(train))[: round(share * len(train))]] = True
            wrong_labels[bad] = [random.choice(true_labels[true_labels != label]) for label in true_labels[bad]]
        first, second = pool[wrong_labels[pool[:, 0]] != wrong_labels[pool[:, 1]]][:pairs].T
        target = np.where(wrong_labels[first] > wrong_labels[second], 1, -1)
        if error == "flipped":
            bad = np.zeros(len(target), dtype=bool)
            bad[random.permutation(len(target))[: round(share * len(target))]] = True
            target[bad] *= -1
        elif error == "clean":
            bad = np.zeros(len(target), dtype=bool)
        data = RankingData(parts["train"], Pairs(first, second, target), parts["test"], test_pairs)
        tasks.append(Task(name, error, share, data, bad, parts["judge"], judge_pairs))
    return tasks


def _draw(labels: np.ndarray, count: int, random: np.random.Generator) -> Pairs:
    """Up to ``count`` pairs of items with different labels, each at most once, in random order and orientation."""
    pairs = random.permutation(np.stack(np.triu_indices(len(labels), 1), 1))
    first, second = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]][:count].T
    return Pairs(first, second, np.where(labels[first] > labels[second], 1, -1))
