import os

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from tracinctl import Pairs, RankingData, Samples, compute_influence

images, values = load_digits(return_X_y=True)
images = torch.tensor(images / 16, dtype=torch.float32)


def comparisons(values, count, seed):
    """Random pairs of different digits; the target is +1 if the first digit is higher."""
    first, second = np.triu_indices(len(values), 1)
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(values[first] != values[second]))[:count]
    first, second = first[rows], second[rows]
    return first, second, np.where(values[first] > values[second], 1, -1)


first, second, target = comparisons(values[:300], 6000, seed=0)
flipped = np.random.default_rng(1).random(6000) < 0.15
target[flipped] *= -1


def load(frequency: str, material: str) -> RankingData:
    return RankingData(
        train=Samples([f"train{k}" for k in range(300)], images[:300], values[:300]),
        train_pairs=Pairs(first, second, target),
        test=Samples([f"test{k}" for k in range(200)], images[300:500], values[300:500]),
        test_pairs=Pairs(*comparisons(values[300:500], 1000, seed=2)),
    )


def build_model() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))


if __name__ == "__main__":
    torch.manual_seed(0)
    model = build_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    os.makedirs("checkpoints", exist_ok=True)
    files = [f"checkpoints/model_epoch_{epoch}.pt" for epoch in (1, 2, 3)]
    for file in files:
        for rows in torch.randperm(6000).split(200):
            scores = model(images[:300]).squeeze(1)
            margin = torch.tensor(target[rows]) * (scores[first[rows]] - scores[second[rows]])
            optimizer.zero_grad()
            torch.nn.functional.softplus(-margin).mean().backward()
            optimizer.step()
        torch.save({"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}, file)

    table = compute_influence(load("8x8", "digits"), build_model(), files, loss="logistic")
    votes = (table.scores < 0).mean(axis=1)  # the share of held-out pairs that a training pair hurts
    print(f"AUC of the votes: {roc_auc_score(flipped, votes):.2f}")
    print(f"flipped among the 200 with most votes: {flipped[np.argsort(-votes)[:200]].mean():.2f}")
