import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from transformers import BertConfig, BertForSequenceClassification

from tracinctl import Pairs, RankingData, Samples, compute_influence

config = BertConfig(vocab_size=100, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
config.num_labels = 1


def answers(pairs, seed):
    """Pairs of answers with 6 to 16 tokens; 80 % of the better one's tokens are kind (1 to 49), 20 % of the other's."""
    random = torch.Generator().manual_seed(seed)
    better = torch.rand(pairs, generator=random) < 0.5
    share = torch.stack([better, ~better], dim=1).reshape(-1, 1) * 0.6 + 0.2
    tokens = torch.randint(1, 50, (2 * pairs, 16), generator=random)
    tokens += 50 * (torch.rand(2 * pairs, 16, generator=random) > share)
    mask = (torch.arange(16) < torch.randint(6, 17, (2 * pairs, 1), generator=random)).long()
    ids = [f"answer{seed}.{k}" for k in range(2 * pairs)]
    items = np.arange(2 * pairs).reshape(pairs, 2)
    target = np.where(better, 1, -1)
    return Samples(ids, {"input_ids": tokens * mask, "attention_mask": mask}), items[:, 0], items[:, 1], target


train, first, second, preferred = answers(150, seed=1)
test, *test_pairs = answers(60, seed=2)
flipped = np.random.default_rng(3).random(150) < 0.2
preferred[flipped] *= -1

torch.manual_seed(0)
model = BertForSequenceClassification(config)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
files = []
for step in range(1, 61):
    rows = torch.randint(0, 150, (32,))
    sides = [{name: x[side[rows]] for name, x in train.inputs.items()} for side in (first, second)]
    margin = torch.tensor(preferred[rows]) * (model(**sides[0]).logits - model(**sides[1]).logits).squeeze(1)
    optimizer.zero_grad()
    torch.nn.functional.softplus(-margin).mean().backward()
    optimizer.step()
    if step % 20 == 0:
        files.append(f"step_{step}.pt")
        torch.save({"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}, files[-1])

data = RankingData(train, Pairs(first, second, preferred), test, Pairs(*test_pairs))
table = compute_influence(data, BertForSequenceClassification(config), files, loss="logistic")
mean = table.scores.mean(axis=1)
print(f"AUC of the mean score: {roc_auc_score(flipped, -mean):.2f}")
print(f"flipped among the 20 most harmful: {flipped[np.argsort(mean)[:20]].mean():.2f}")
