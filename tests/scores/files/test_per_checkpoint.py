"""Scores of each checkpoint: they are read back, and refused if they do not belong to the sums."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from score_tables import PARQUET, full, same_bits

from tracinctl import InfluenceTable
from tracinctl.errors import NonFiniteError, ScoreFileError
from tracinctl.scores import source as score_source
from tracinctl.scores.files.open import open_scores
from tracinctl.scores.files.per_checkpoint import checkpoint_blocks, with_checkpoints, write_per_checkpoint_scores


def single(scores):
    per_checkpoint = np.random.default_rng(1).normal(size=(3, *np.shape(scores)))
    per_checkpoint[2] = np.asarray(scores) - per_checkpoint[:2].sum(axis=0)
    return full(scores, per_checkpoint=per_checkpoint, checkpoint_names=["e_2.pt", "e_10.pt", "2.pt"])


def by_checkpoint(source):
    return np.concatenate([block for _, block in checkpoint_blocks(source)]).transpose(2, 0, 1)


def test_scores_of_each_checkpoint_are_read_back(tmp_path):
    source = single([[1.0, 2.0], [3.0, 4.0]])
    path = tmp_path / "m_500hz_per_checkpoint_influence_metadata.json"
    write_per_checkpoint_scores(source, path)
    stored = json.loads(path.read_text())["m_0_m_1"]
    assert list(stored)[:3] == [f"tracin_influence_m_0_m_900_{name}" for name in source.checkpoint_names]
    back = with_checkpoints(source, path)
    assert same_bits(by_checkpoint(back), source.per_checkpoint)
    assert back.checkpoint_names == source.checkpoint_names
    legacy = InfluenceTable(source.train_ids, source.test_ids, source.scores)
    assert same_bits(by_checkpoint(with_checkpoints(legacy, path)), source.per_checkpoint)


def test_scores_of_each_checkpoint_are_read_from_parquet_in_blocks(tmp_path, monkeypatch):
    source = single(np.random.default_rng(0).normal(size=(300, 4)))
    path = tmp_path / "m_500hz_per_checkpoint_influence.parquet"
    monkeypatch.setattr(score_source, "BLOCK_BYTES", 4096)
    write_per_checkpoint_scores(source, path)
    back = with_checkpoints(source, path)
    blocks = list(checkpoint_blocks(back))
    assert len(blocks) > 5
    assert [start for start, _ in blocks] == list(np.cumsum([0, *(len(block) for _, block in blocks)])[:-1])
    assert same_bits(by_checkpoint(back), source.per_checkpoint)
    assert back.checkpoint_names == source.checkpoint_names
    assert same_bits(np.concatenate([block for _, block in back.blocks()]), source.scores)
    with pytest.raises(ScoreFileError, match="scores of each checkpoint") as error:
        open_scores(path)
    assert PARQUET in error.value.hint
    with pytest.raises(ScoreFileError, match="does not belong to these scores"):
        with_checkpoints(full(source.scores[:-1]), path)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("m_0_m_1"),
        lambda content: content["m_1_m_2"].popitem(),
        lambda content: content["m_1_m_2"].update(tracin_influence_m_0_m_900_e_9=1.0),
        lambda content: content["m_1_m_2"].update({"tracin_influence_m_0_m_900_2.pt": "1"}),
        lambda content: content["m_1_m_2"].update({"tracin_influence_m_0_m_900_2.pt": math.nan}),
        lambda content: content.update(m_1_m_2=[]),
        lambda content: content.clear(),
    ],
)
def test_scores_of_each_checkpoint_must_belong_to_the_sums(tmp_path, change):
    source = single([[1.0, 2.0], [3.0, 4.0]])
    path = tmp_path / "x.json"
    write_per_checkpoint_scores(source, path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ScoreFileError, match="does not belong to these scores"):
        with_checkpoints(source, path)


def test_scores_of_checkpoints_with_equal_keys_are_not_written(tmp_path):
    source = full([[1.0]], per_checkpoint=np.ones((2, 1, 1)), checkpoint_names=["a.pt", "a.pt"])
    with pytest.raises(ScoreFileError, match="give the same key"):
        write_per_checkpoint_scores(source, tmp_path / "x.json")
    with pytest.raises(ScoreFileError, match="scores of each checkpoint were not kept"):
        write_per_checkpoint_scores(full([[1.0]]), tmp_path / "x.json")
    broken = full([[1.0]], per_checkpoint=np.full((1, 1, 1), math.nan), checkpoint_names=["a.pt"])
    with pytest.raises(NonFiniteError, match=r"'m_0_m_1' on 'm_0_m_900_a\.pt'"):
        write_per_checkpoint_scores(broken, tmp_path / "x.json")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ScoreFileError, match="there is no "):
        with_checkpoints(source, tmp_path / "x.json")


@pytest.mark.parametrize("ending", [".json", ".parquet"])
def test_scores_of_each_checkpoint_must_add_up_to_the_scores(tmp_path, ending):
    source = single(np.random.default_rng(0).normal(size=(30, 4)))
    path = tmp_path / f"x{ending}"
    write_per_checkpoint_scores(source, path)
    later = full(source.scores + 1e-3, checkpoint_names=source.checkpoint_names)
    with pytest.raises(ScoreFileError, match="add up to different sums") as error:
        list(checkpoint_blocks(with_checkpoints(later, path)))
    assert "tracinctl compute --save-per-checkpoint" in error.value.hint
    close = full(source.scores * (1 + 1e-12), checkpoint_names=source.checkpoint_names)
    assert len(list(checkpoint_blocks(with_checkpoints(close, path)))) == 1
