"""Transformers of Hugging Face with padding and masks run in blocks, and their scores are exact."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import oracle
import pytest
import torch
from small_models import make_checkpoints, make_data, worst

from tracinctl import Samples, compute_influence

SMALL = {
    "vocab_size": 30,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_labels": 1,
    "pad_token_id": 0,
}


def bert(attention):
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(BertConfig(**SMALL, max_position_embeddings=16, attn_implementation=attention))


def llama(attention):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    return LlamaForSequenceClassification(LlamaConfig(**SMALL, num_key_value_heads=1, attn_implementation=attention))


def t5(_attention):
    from transformers import T5Config, T5ForSequenceClassification

    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 2, "num_heads": 2}
    special = {"pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": 29}
    return T5ForSequenceClassification(T5Config(vocab_size=30, num_labels=1, **sizes, **special))


def bart(_attention):
    from transformers import BartConfig, BartForSequenceClassification

    sides = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in SIDE.items()}
    special = {"pad_token_id": 0, "eos_token_id": 29, "max_position_embeddings": 16}
    return BartForSequenceClassification(BartConfig(vocab_size=30, d_model=8, num_labels=1, **sides, **special))


def longformer(_attention):
    from transformers import LongformerConfig, LongformerForSequenceClassification

    config = LongformerConfig(**SMALL, max_position_embeddings=16, attention_window=4)
    return LongformerForSequenceClassification(config)


SIDE = {"layers": 1, "attention_heads": 2, "ffn_dim": 12}


def padded(items, seed, length=7):
    """Token ids and masks of texts with 2 to 7 tokens; the longest ones have no padding."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 30, (items, length), generator=generator)
    mask = torch.ones_like(tokens)
    for k in range(items):
        mask[k, 2 + k % (length - 1) :] = 0
    return {"input_ids": tokens * mask, "attention_mask": mask}


def preferences(train=7, test=4):
    data = make_data("tokens", train=train, test=test)
    return dataclasses.replace(
        data, train=Samples(data.train.ids, padded(train, 1)), test=Samples(data.test.ids, padded(test, 2))
    )


# llama normalises and attends in float32 in any dtype
@pytest.mark.parametrize(("build", "error"), [(bert, 1e-10), (llama, 1e-6)])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padded_texts_have_the_scores_of_a_loop_over_pairs(build, error, attention, tmp_path):
    model, data = build(attention), preferences()
    paths = make_checkpoints(model, tmp_path, rates=(0.1,), scale=0.3)
    scores, self_influence, _ = oracle.influence_of_files(data, model, paths, loss="logistic")
    runs = []

    def score(model, inputs):
        runs.append(len(inputs["input_ids"]))
        return model(**inputs)

    table = compute_influence(
        dataclasses.replace(data, score=score), model, paths, loss="logistic", dtype="float64", device="cpu"
    )
    assert worst(table.scores, scores) < error
    assert worst(table.self_influence, self_influence) < error
    assert len(runs) < 11 + 7  # one pass per item at most, and seven passes that check the scores


# T5 normalises and Longformer attends in float32 in any dtype
@pytest.mark.parametrize(("build", "error"), [(t5, 1e-6), (bart, 1e-10), (longformer, 1e-6)])
def test_models_whose_shapes_depend_on_the_text_run_in_blocks(build, error, tmp_path):
    """T5 and BART pick the last token of the text by a mask, and Longformer counts its global tokens."""
    model, data = build("eager"), preferences()
    for samples in (data.train, data.test):
        samples.inputs["input_ids"][:, -1] = 29
    paths = make_checkpoints(model, tmp_path, rates=(0.1,), scale=0.3)
    scores, self_influence, _ = oracle.influence_of_files(data, model, paths, loss="logistic")
    table = compute_influence(data, model, paths, loss="logistic", dtype="float64", device="cpu")
    assert table.provenance["gradients"] == "in blocks"
    assert worst(table.scores, scores) < error
    assert worst(table.self_influence, self_influence) < error


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
@pytest.mark.parametrize("build", [bert, llama])
def test_models_with_gradient_checkpointing_run_in_blocks(build, tmp_path):
    model, data = build("sdpa"), preferences()
    paths = make_checkpoints(model, tmp_path, rates=(0.1,), scale=0.3)
    want = compute_influence(data, model, paths, loss="logistic", dtype="float64")
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    got = compute_influence(data, model, paths, loss="logistic", dtype="float64")
    assert got.provenance["gradients"] == "in blocks"
    assert np.abs(got.scores - want.scores).max() < 1e-10 * np.abs(want.scores).max()


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(30, 4)
        self.layer = torch.nn.LSTM(4, 5, batch_first=True)
        self.score = torch.nn.Linear(5, 1)

    def forward(self, input_ids, attention_mask):
        return self.score((self.layer(self.embedding(input_ids))[0] * attention_mask.unsqueeze(-1)).mean(1))


@pytest.mark.parametrize("memory", [None, 60_000])
def test_the_reason_for_one_item_at_a_time_is_reported(memory, tmp_path):
    model, data = Recurrent(), preferences()
    paths = make_checkpoints(model, tmp_path, scale=0.3)
    scores, _, _ = oracle.influence_of_files(data, model, paths, loss="logistic")
    options = {"loss": "logistic", "dtype": "float64", "cache": tmp_path / "cache", "memory": memory}
    table = compute_influence(data, model, paths, **options)
    assert worst(table.scores, scores) < 1e-10
    way = table.provenance["gradients"]
    assert way.startswith("one item at a time: ")
    assert "lstm" in way
    assert compute_influence(data, model, paths, **options).provenance["gradients"] == way, (
        "also for kernels from the cache"
    )


def test_padding_changes_no_score(tmp_path):
    """The same texts without padding, as inputs of different shapes."""
    model, data = bert("sdpa"), preferences()
    paths = make_checkpoints(model, tmp_path, scale=0.3)

    class Texts(torch.utils.data.Dataset):
        def __init__(self, inputs):
            self.inputs = inputs

        def __len__(self):
            return len(self.inputs["input_ids"])

        def __getitem__(self, index):
            length = int(self.inputs["attention_mask"][index].sum())
            return {name: values[index, :length] for name, values in self.inputs.items()}

    short = dataclasses.replace(
        data,
        train=Samples(data.train.ids, Texts(data.train.inputs)),
        test=Samples(data.test.ids, Texts(data.test.inputs)),
    )
    want = compute_influence(data, model, paths, loss="logistic", dtype="float64").scores
    got = compute_influence(short, model, paths, loss="logistic", dtype="float64").scores
    assert np.abs(got - want).max() < 1e-10 * np.abs(want).max()


def test_torchs_warning_about_batching_is_not_shown(tmp_path):
    from transformers import MixtralConfig, MixtralForSequenceClassification

    model = MixtralForSequenceClassification(MixtralConfig(**SMALL, num_key_value_heads=1, num_local_experts=2))
    paths = make_checkpoints(model, tmp_path, rates=(0.1,), scale=0.3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compute_influence(preferences(4, 3), model, paths, loss="logistic")
    assert [text for warning in caught if "performance drop" in (text := str(warning.message))] == []
