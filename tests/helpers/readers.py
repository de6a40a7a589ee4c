"""Every reader of outside files and texts as a function of bytes, the errors that it may raise, and valid inputs.

The tests try some damaged inputs; the fuzzing program tries them without end.
"""

from __future__ import annotations

import io
import struct
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from tracinctl.scores.files.sidecar import sidecar_path

_JSON, _PARQUET = "a_1hz_influence_metadata.json", "a_1hz_influence.parquet"
TRAIN_ITEMS, TEST_ITEMS = ("a_1", "a_2", "a_3"), ("a_4", "a_5")
PAIRS_CSV = b"split,id1,id2,target\ntrain,a_1,a_2,1\ntrain,a_2,a_3,-1\nheld-out,a_4,a_5,1\n"
SETTINGS = b'material = "a"\nfrequencies = ["1hz", "2hz"]\ndata_root = "d"\n[train]\nepochs = 3\nmargin = 1.5\n'
PLANTED = b"kind,material,frequency,id,what\npair,a,1hz,a_1_a_2,turned\nitem,a,1hz,a_3,moved\n"


def _file(folder, name, data):
    path = Path(folder) / name
    path.write_bytes(data)
    return path


@cache
def _scores_written(name):
    """The bytes of a score file and of its sidecar."""
    from tracinctl.scores.files.open import write_scores
    from tracinctl.scores.table import InfluenceTable

    table = InfluenceTable(
        train_ids=["a_1_a_2", "a_2_a_3"],
        test_ids=["a_4_a_5", "a_5_a_4"],
        scores=np.array([[1.5, -2.0], [0.0, -1e-9]]),
        self_influence=np.array([1.0, 2.0]),
        sample_ids=list(TRAIN_ITEMS),
        sample_influence=np.array([0.5, 1.0, 2.0]),
        train_items=[("a_1", "a_2"), ("a_2", "a_3")],
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write_scores(table, path)
        return path.read_bytes(), sidecar_path(path).read_bytes()


def _finite(*arrays):
    for array in arrays:
        assert np.isfinite(array).all()


def score_json(folder, data):
    from tracinctl.scores.files.open import open_scores

    _check_scores(open_scores(_file(folder, _JSON, data)))


def score_parquet(folder, data):
    from tracinctl.scores.files.open import open_scores

    _file(folder, f"{_PARQUET}.json", _scores_written(_PARQUET)[1])
    try:
        _check_scores(open_scores(_file(folder, _PARQUET, data)))
    finally:
        Path(folder, f"{_PARQUET}.json").unlink()


def score_sidecar(folder, data):
    from tracinctl.scores.files.open import open_scores

    # the two formats have different ones; a beginning tells which it is
    name = _PARQUET if b"row_groups" in data else _JSON
    scores = _file(folder, name, _scores_written(name)[0])
    _file(folder, sidecar_path(scores).name, data)
    try:
        _check_scores(open_scores(scores))
    finally:
        sidecar_path(scores).unlink()


def _check_scores(source):
    """Check that the result is complete and its ids are different."""
    rows = 0
    for start, block in source.blocks():
        assert start == rows
        assert block.shape[1] == len(source.test_ids)
        assert block.dtype == np.float64
        _finite(block)
        rows += len(block)
    assert rows == len(source.train_ids) == len(set(source.train_ids)) > 0
    assert len(source.test_ids) == len(set(source.test_ids)) > 0
    if source.self_influence is not None:
        assert source.self_influence.shape == (rows,)
        _finite(source.self_influence)
    assert len(source.train_items) in {0, rows}


def exclusion_list(folder, data):
    from tracinctl.scores.files.exclusion_list import read_exclusion_list

    found = read_exclusion_list(_file(folder, "list.txt", data))
    assert len(set(found.ids)) == len(found.ids)
    for name in found.ids:
        assert name == name.strip() != ""
        assert not name.startswith("#")
        assert "\n" not in name
        assert "\r" not in name


def pairs_csv(folder, data):
    from tracinctl.data.pairs_file import read_pairs_file

    for pairs, ids in zip(
        read_pairs_file(_file(folder, "pairs.csv", data)).pairs(TRAIN_ITEMS, TEST_ITEMS),
        (TRAIN_ITEMS, TEST_ITEMS),
        strict=True,
    ):
        assert set(pairs.target.tolist()) <= {1, 0, -1}
        assert all(0 <= k < len(ids) for k in [*pairs.first.tolist(), *pairs.second.tolist()])
        assert not (pairs.first == pairs.second).any()


def planted_csv(folder, data):
    from tracinctl.data.planted import read_planted

    for error in read_planted(_file(folder, "planted.csv", data)):
        assert error.kind in {"pair", "item"}
        assert error.id


def recording(folder, data):
    from tracinctl.data.features import spectrogram
    from tracinctl.data.sound import read_sound

    sound = read_sound(_file(folder, "a.wav", data))
    samples, rate = sound.samples, sound.rate
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) > 0
    assert rate > 0
    _finite(samples)
    picture = spectrogram(samples, n_fft=32, hop=32).numpy()
    _finite(picture)
    assert picture.min() >= -200.0001
    assert picture.max() <= 0.0001


def checkpoint(folder, data):
    _check_checkpoint(_file(folder, "model_epoch_1.pt", data))


def checkpoint_safetensors(folder, data):
    _check_checkpoint(_file(folder, "model_epoch_1.safetensors", data))


def _check_checkpoint(path):
    import torch

    from tracinctl.engine.checkpoints.load import apply_checkpoint, load_checkpoint
    from tracinctl.engine.checkpoints.weights import learning_rates

    found = load_checkpoint(path)
    [rate] = learning_rates([found.record.rates])
    assert rate is None or 0 <= rate < float("inf")
    size = path.stat().st_size
    for name, tensor in found.state.items():
        assert isinstance(name, str)
        assert tensor.numel() * tensor.element_size() <= size
    model = torch.nn.Linear(3, 1)
    apply_checkpoint(model, found)
    for parameter in model.parameters():
        _finite(parameter.detach().numpy())


def settings(folder, data):
    from tracinctl.project.config import load_project, load_settings

    load_project(load_settings(_file(folder, "tracinctl.toml", data)))


def thresholds(folder, data):
    from tracinctl.scores.votes import parse_thresholds, required_votes

    del folder
    text = data.decode("utf-8", "surrogateescape")
    assert required_votes("60%", 5) == 3
    for threshold in parse_thresholds(text):
        assert 0 <= threshold.value <= 1 if threshold.quantile else threshold.value <= 0


def votes_rule(folder, data):
    from tracinctl.scores.votes import required_votes

    del folder
    text = data.decode("utf-8", "surrogateescape")
    assert required_votes(text, 7) >= 1
    assert not text.strip().endswith("%") or required_votes(text, 7) <= 7


def metadata(folder, data):
    from tracinctl.scores.files.records import read_records

    assert all(isinstance(record, dict) for record in read_records(_file(folder, "a_1hz_metadata.json", data)).values())


def pair_names(folder, data):
    from tracinctl.scores.pair_ids import split_pair_id

    del folder
    text = data.decode("utf-8", "surrogateescape")
    assert "_".join(split_pair_id(text)) == text


READERS = {
    reader.__name__: reader
    for reader in (
        score_json,
        score_parquet,
        score_sidecar,
        exclusion_list,
        pairs_csv,
        planted_csv,
        recording,
        checkpoint,
        checkpoint_safetensors,
        settings,
        thresholds,
        votes_rule,
        metadata,
        pair_names,
    )
}


def examples(folder):
    """Reader -> valid inputs, to be damaged."""
    import safetensors.torch
    import soundfile
    import torch

    found = {"exclusion_list": [b"# why\na_1_a_2\r\na_3\n"], "pairs_csv": [PAIRS_CSV], "planted_csv": [PLANTED]}
    found |= {"settings": [SETTINGS], "thresholds": [b"0,-5, 1%,-1e-3"], "votes_rule": [b"60%", b"3", b" 12.5% "]}
    found |= {"metadata": [b'{"a_1": {"notes": "x", "tracin_self_influence": 1.5}}'], "pair_names": [b"a_1_a_2"]}
    found["score_sidecar"] = [_scores_written(name)[1] for name in (_JSON, _PARQUET)]
    found |= {"score_json": [_scores_written(_JSON)[0]], "score_parquet": [_scores_written(_PARQUET)[0]]}
    found["recording"] = []
    for subtype in ("PCM_16", "PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM", "GSM610"):
        stream = io.BytesIO()
        soundfile.write(stream, 0.4 * np.sin(np.arange(100)), 8000, format="WAV", subtype=subtype)
        found["recording"].append(stream.getvalue())
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    content = {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": {"param_groups": [{"lr": 0.1, "params": [0, 1]}], "state": {}},
        "epoch": 1,
    }
    found["checkpoint"] = []
    for what, archive in ((content, True), (model.state_dict(), True), (content, False)):
        stream = io.BytesIO()
        torch.save(what, stream, _use_new_zipfile_serialization=archive)
        found["checkpoint"].append(stream.getvalue())
    found["checkpoint_safetensors"] = [safetensors.torch.save(model.state_dict())]
    return found


# replacements for parts of an input
PIECES = [
    b"",
    b"\0",
    b"\xff",
    b"\n",
    b"\r",
    b'"',
    b"'",
    b",",
    b"{",
    b"[" * 2000,
    b"1e999",
    b"-1",
    b"NaN",
    b"null",
    b"9" * 400,
    b"\xef\xbb\xbf",
    b"\x80\x02",
    b"%",
    b"_",
    b"\x1b[31m",
    struct.pack("<I", 0xFFFFFFFF),
    struct.pack("<Q", 1 << 40),
    struct.pack("<i", -1),
]
