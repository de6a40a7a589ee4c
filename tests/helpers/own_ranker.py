"""A small transformer of ``transformers`` as a user's ranker; its texts are in a ``Dataset`` that is read lazily."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from tracinctl import Pairs, RankingData, Samples

TEXTS, HELD_OUT = 12, 6


def build():
    """The model with random weights of a seed."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=30,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=1,
        pad_token_id=0,
    )
    return LlamaForSequenceClassification(config)


class Texts(torch.utils.data.Dataset):
    """Token ids and mask of made-up texts; with ``READ_BY`` in the environment, record the process that read it."""

    def __init__(self, start, count):
        self.start, self.count = start, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index >= self.count:
            raise IndexError(index)
        if folder := os.environ.get("READ_BY"):
            (Path(folder) / str(os.getpid())).touch()
        drawn = torch.Generator().manual_seed(self.start + index)
        tokens = torch.randint(1, 30, (6,), generator=drawn)
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def every_pair(count):
    """All pairs; in two of three, the later text is better."""
    first, second = np.triu_indices(count, 1)
    return Pairs(first, second, np.where((first + second) % 3, -1, 1))


def load(frequency, material):
    """The data, for any names."""
    del frequency, material
    return RankingData(
        train=Samples([f"text{k}" for k in range(TEXTS)], Texts(0, TEXTS)),
        train_pairs=every_pair(TEXTS),
        test=Samples([f"held{k}" for k in range(HELD_OUT)], Texts(TEXTS, HELD_OUT)),
        test_pairs=every_pair(HELD_OUT),
    )


class Preferences(torch.utils.data.Dataset):
    """The data set for the library's own trainer."""

    def __len__(self):
        return TEXTS

    def __getitem__(self, index):
        if index >= TEXTS:
            raise IndexError(index)
        return Texts(0, TEXTS)[index] | {"labels": torch.tensor(float(index % 3))}


def train(folder):
    """Write checkpoint-5 and checkpoint-10 into a folder; return the final model."""
    from transformers import Trainer, TrainingArguments, set_seed

    set_seed(0)
    model = build()
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=10,
        save_steps=5,
        logging_steps=1,
        learning_rate=0.01,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    Trainer(model, arguments, train_dataset=Preferences()).train()
    return model
