"""Score files: written scores are read back, and broken files are refused with a reason."""

from __future__ import annotations

import hashlib
import json
import math
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference_project import ROOT, needs_reference
from score_tables import PARQUET, InBlocks, full, matrices, same_bits, scores_of_any_size, table

from tracinctl import InfluenceTable, load_influence_scores
from tracinctl.errors import NonFiniteError, ScoreFileError
from tracinctl.scores.files import json_text
from tracinctl.scores.files.json_text import laid_out
from tracinctl.scores.files.open import open_scores, write_scores
from tracinctl.scores.files.open import test_pairs_of as pairs_of
from tracinctl.scores.files.sidecar import sidecar_path, sidecar_text

JSON = "m_500hz_influence_metadata.json"
ODD_IDS = ["[red]a[/red]", 'q"\\', "ä\u2028", "\x1b[31m", "a\nb", "<b>", "\ud800"]


def assert_same(back, source):
    assert same_bits(np.concatenate([block for _, block in back.blocks()]), source.scores)
    assert next(start for start, _ in back.blocks()) == 0
    for name in ("train_ids", "test_ids", "train_items", "sample_ids", "checkpoint_names"):
        assert list(getattr(back, name)) == list(getattr(source, name)), name
    for name in ("self_influence", "sample_influence"):
        one, other = getattr(back, name), getattr(source, name)
        assert one is other is None or same_bits(one, other), name
    assert back.provenance == source.provenance


@settings(max_examples=40)
@given(matrices(scores_of_any_size), st.integers(1, 4))
@pytest.mark.parametrize("name", [JSON, PARQUET])
def test_scores_and_metadata_are_read_back_bit_by_bit(tmp_path_factory, name, scores, rows):
    path = tmp_path_factory.mktemp("scores") / name
    source = full(scores)
    write_scores(InBlocks(source, rows), path)
    assert_same(open_scores(path), source)
    loaded = load_influence_scores(path)
    for row, train_id in enumerate(source.train_ids):
        assert loaded[train_id] == {
            f"tracin_influence_{test_id}": value for test_id, value in zip(source.test_ids, scores[row], strict=True)
        }


@pytest.mark.parametrize("name", [JSON, PARQUET])
def test_unknown_metadata_stays_unknown(tmp_path, name):
    source = InfluenceTable(["a"], ["t"], np.array([[1.5]]))
    write_scores(source, tmp_path / name)
    assert_same(open_scores(tmp_path / name), source)


@pytest.mark.parametrize("name", [JSON, PARQUET])
def test_the_same_scores_give_the_same_bytes(tmp_path, name):
    for folder in "xy":
        write_scores(full([[1.0, -2.5], [0.1, 3e-9]]), tmp_path / folder / name)
    one, other = (sorted((tmp_path / folder).iterdir()) for folder in "xy")
    assert [p.name for p in one] == [p.name for p in other]
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in other]


def test_json_has_the_layout_of_the_users_files(tmp_path):
    source = full([[1.0, -2.5], [0.1, 3e-9]])
    write_scores(source, tmp_path / JSON)
    want = {
        name: {f"tracin_influence_{test}": value for test, value in zip(source.test_ids, row, strict=True)}
        for name, row in zip(source.train_ids, source.scores.tolist(), strict=True)
    }
    assert (tmp_path / JSON).read_text() == json.dumps(want, indent=2) + "\n"


@needs_reference
@pytest.mark.parametrize("frequency", ["500hz", "1000hz"])
def test_the_users_own_file_goes_through_both_formats_unchanged(tmp_path, frequency):
    theirs = ROOT / f"plastic_{frequency}_influence_metadata.json"
    source = open_scores(theirs)
    assert (len(source.train_ids), len(source.test_ids), source.provenance) == (441, 5, {})
    write_scores(source, tmp_path / "x.parquet")
    write_scores(open_scores(tmp_path / "x.parquet"), tmp_path / theirs.name)
    assert json.loads((tmp_path / theirs.name).read_bytes()) == json.loads(theirs.read_bytes())
    assert load_influence_scores(theirs) == json.loads(theirs.read_bytes())


@pytest.mark.parametrize("train_id", ODD_IDS)
def test_ids_of_any_letters_come_back_from_json(tmp_path, train_id):
    write_scores(InfluenceTable([train_id], ["t"], np.array([[1.0]])), tmp_path / JSON)
    assert list(open_scores(tmp_path / JSON).train_ids) == [train_id]


@pytest.mark.parametrize("train_id", ODD_IDS)
def test_ids_of_any_letters_come_back_from_parquet_or_are_refused(tmp_path, train_id):
    source = InfluenceTable([train_id], ["t"], np.array([[1.0]]))
    if train_id.isprintable() or train_id != "\ud800":
        write_scores(source, tmp_path / PARQUET)
        assert list(open_scores(tmp_path / PARQUET).train_ids) == [train_id]
    else:
        with pytest.raises(ScoreFileError, match="as Parquet"):
            write_scores(source, tmp_path / PARQUET)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [JSON, PARQUET])
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_non_finite_score_is_never_written(tmp_path, name, wrong):
    write_scores(full([[1.0]]), tmp_path / name)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(NonFiniteError, match="'m_1_m_2' on 'm_1_m_901'"):
        write_scores(InBlocks(table([[1.0, 2.0], [1.0, wrong]]), 1), tmp_path / name)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", [JSON, PARQUET])
@pytest.mark.parametrize(
    "source", [InfluenceTable([], ["t"], np.zeros((0, 1))), InfluenceTable(["a"], [], np.zeros((1, 0)))]
)
def test_empty_scores_are_not_written(tmp_path, name, source):
    with pytest.raises(ScoreFileError, match="no scores to write"):
        write_scores(source, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [JSON, PARQUET])
def test_test_pairs_are_known_without_the_scores(tmp_path, name, monkeypatch):
    source = table(np.ones((3, 2)))
    write_scores(source, tmp_path / name)
    if name == PARQUET:
        monkeypatch.delattr("tracinctl.scores.files.parquet.ParquetScores")
    assert list(pairs_of(tmp_path / name)) == list(source.test_ids)


def test_progress_reports_every_block(tmp_path):
    for name in (JSON, PARQUET):
        seen = []
        write_scores(InBlocks(table(np.ones((5, 2))), 2), tmp_path / name, seen.append)
        assert [(report.done, report.total, report.unit) for report in seen] == [
            (2, 5, "pairs"),
            (4, 5, "pairs"),
            (5, 5, "pairs"),
        ]
    told = []
    list(open_scores(tmp_path / PARQUET, told.append).blocks())
    assert [(report.task, report.done, report.total, report.unit) for report in told] == [
        ("reading scores", 5, 5, "pairs")
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda beside: beside.update(scores_sha256="0" * 64),
        lambda beside: beside.update(self_influence=[1.0]),
        lambda beside: beside.update(self_influence=[1.0, "2"]),
        lambda beside: beside.update(self_influence=[1.0, math.nan]),
        lambda beside: beside.update(sample_influence={"m_0": None}),
        lambda beside: beside.update(sample_influence=[1]),
        lambda beside: beside.update(train_items=[["a", "b"]]),
        lambda beside: beside.update(train_items=[["a"], ["b"]]),
        lambda beside: beside.update(provenance=[]),
        lambda beside: beside.pop("checkpoint_names"),
        lambda beside: beside.clear(),
    ],
)
@pytest.mark.parametrize("sealed", [True, False], ids=["digest right", "digest wrong"])
def test_a_broken_or_foreign_sidecar_is_an_error_with_a_hint(tmp_path, change, sealed):
    path = tmp_path / JSON
    write_scores(full([[1.0], [2.0]]), path)
    beside = json.loads(sidecar_path(path).read_text())
    change(beside)
    if sealed:
        beside.pop("sha256", None)
    sidecar_path(path).write_text(sidecar_text(beside) if sealed else json.dumps(beside))
    with pytest.raises(ScoreFileError) as error:
        open_scores(path)
    assert "tracinctl compute" in error.value.hint
    sidecar_path(path).unlink()
    assert open_scores(path).scores.tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("name", [JSON, PARQUET])
def test_a_file_of_another_form_is_a_damaged_sidecar(tmp_path, name, data):
    path = tmp_path / name
    write_scores(full([[1.0], [2.0]]), path)
    sidecar_path(path).write_bytes(data)
    with pytest.raises(ScoreFileError, match="is damaged"):
        open_scores(path)


def test_changed_scores_beside_their_sidecar_are_an_error(tmp_path):
    path = tmp_path / JSON
    write_scores(full([[1.0], [2.0]]), path)
    path.write_text(path.read_text().replace("2.0", "2.5"))
    with pytest.raises(ScoreFileError, match="is damaged, or was changed after m_500hz_influence_provenance") as error:
        open_scores(path)
    assert f"To read these scores unchecked, remove {sidecar_path(path)}." in error.value.hint


def test_provenance_is_in_the_sidecar(tmp_path):
    path = tmp_path / JSON
    write_scores(full([[1.0]]), path)
    place = tmp_path / "m_500hz_influence_provenance.json"
    assert sidecar_path(path) == place
    assert json.loads(place.read_text())["scores_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


plain_json = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
SCORE = '{"tracin_influence_t": 1.0}'
ONE = '"a_1_a_2": {"tracin_influence_t": 1.0}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n  ", "is empty"),
        ('{"a_1_a_2": {"tracin_inf', "not whole JSON"),
        ("tracin", "not whole JSON"),
        ("version https://git-lfs.github.com/spec/v1\n", "not JSON but a pointer of Git LFS"),
        ("<!DOCTYPE html><html>", "not JSON but a web page"),
        ("[1]", "holds a list"),
        ("3", "holds a number"),
        ("null", "holds null"),
        ("{}", "no influence scores"),
        ('{"a_1_a_2": {}}', "no influence scores|has no score"),
        ('{"a_1_a_2": {"tracin_self_influence": 1.0}}', "no influence scores"),
        ('{"a_1_a_2": [1]}', "'a_1_a_2' is a list"),
        ('{"a_1_a_2": {"tracin_influence_t": "1.0"}}', "'a_1_a_2' on 't' is '1.0', not a finite number"),
        ('{"a_1_a_2": {"tracin_influence_t": null}}', "missing"),
        ('{"a_1_a_2": {"tracin_influence_t": [1]}}', "finite number"),
        ('{"a_1_a_2": {"tracin_influence_t": NaN}}', "finite number"),
        ('{"a_1_a_2": {"tracin_influence_t": -Infinity}}', "finite number"),
        ('{"a_1_a_2": {"tracin_influence_t": 1e999}}', "finite number"),
        (f'{{"a_1_a_2": {{"tracin_influence_t": 1{"0" * 400}}}}}', "finite number"),
        (f'{{"a_1_a_2": {{"tracin_influence_t": 1{"0" * 5000}}}}}', "not whole JSON"),
        ('{"a_1_a_2": {"tracin_influence_t": true}}', "finite number"),
        (f'{{{ONE}, "a_1_a_3": {{"tracin_influence_u": 1.0}}}}', "'a_1_a_3' has no score on test pair 't'"),
        (f'{{{ONE}, "a_1_a_3": {{}}}}', "'a_1_a_3' has no score on test pair 't', which 'a_1_a_2' has"),
        (f'{{"a_1_a_3": {{}}, {ONE}}}', "'a_1_a_3' has no score on test pair 't'"),
        (
            f'{{{ONE}, "a_1_a_3": {{"tracin_influence_t": 1.0, "tracin_influence_u": 1.0}}}}',
            "'a_1_a_3' has a score on test pair 'u', which 'a_1_a_2' lacks",
        ),
        (f"{{{ONE}, {ONE}}}", "'a_1_a_2' occurs twice"),
        ('{"a": {"tracin_influence_t": 1.0, "tracin_influence_t": 1.0}}', "'tracin_influence_t' occurs twice"),
        (
            f'{{{ONE}, "b_1_b_2": {{"tracin_influence_t": 1.0}}}}',
            "mixes materials: besides a it has the pair 'b_1_b_2'",
        ),
        (f'{{{ONE}, "a_1_b_2": {{"tracin_influence_t": 1.0}}}}', "mixes materials"),
        (
            f'{{"a_x_500hz_1_a_y_500hz_2": {SCORE}, "a_x_1000hz_1_a_y_1000hz_2": {SCORE}}}',
            "mixes frequencies: besides 500hz it has the pair 'a_x_1000hz_1_a_y_1000hz_2'",
        ),
        (
            f'{{"a_x_500hz_1_a_y_500hz_2": {SCORE}, "a_x_500hz_1_a_y_1000hz_2": {SCORE}}}',
            "mixes frequencies: besides 500hz it has the pair 'a_x_500hz_1_a_y_1000hz_2'",
        ),
        ("[" * 100_000, "holds a list"),
        ('{"a_1_a_2": ' + "[" * 100_000, "JSON|nested"),
        (b"\xff\xfe{}", "not UTF-8"),
    ],
)
def test_an_error_about_a_score_file_says_what_is_wrong_and_where(tmp_path, content, message):
    path = tmp_path / "a_500hz_influence_metadata.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ScoreFileError, match=message) as error:
        open_scores(path)
    assert str(path) in error.value.message
    assert error.value.hint
    assert "\n" not in error.value.message


def test_records_of_items_among_the_scores_are_skipped(tmp_path):
    path = tmp_path / "a_500hz_influence_metadata.json"
    path.write_text(f'\ufeff{{"a_1": {{"angle": 36}}, {ONE}, "a_2": {{"angle": 72, "tracin_self_influence": 3}}}}')
    assert open_scores(path).train_ids == ["a_1_a_2"]


def test_the_order_of_test_pairs_may_differ_by_row(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(
        '{"p": {"tracin_influence_t": 1, "tracin_influence_u": 2},'
        ' "q": {"note": "", "tracin_influence_u": 4, "tracin_influence_t": 3}}'
    )
    assert open_scores(path).scores.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("letter", ["a", "\u2603", "\U0001f600"])
def test_json_of_any_letters_is_read_in_less_memory_than_its_size(tmp_path, monkeypatch, letter):
    monkeypatch.setattr(json_text, "_CHUNK", 1 << 14)  # as small a share of the file as for a large file
    scores = np.random.default_rng(0).standard_normal((60, 400))
    path = tmp_path / JSON
    write_scores(InfluenceTable([f"{letter}{k}" for k in range(60)], [f"t{k}" * 9 for k in range(400)], scores), path)
    tracemalloc.start()
    back = open_scores(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(back.scores, scores)
    assert peak < path.stat().st_size, "the whole text and its objects need at least five times as much"


@pytest.mark.parametrize("piece", [1, 2, 7, 64])
@given(st.dictionaries(st.text(max_size=3), st.dictionaries(st.text(max_size=3), plain_json, max_size=4), max_size=5))
def test_entries_do_not_depend_on_the_size_of_reads(tmp_path_factory, piece, content):
    path = tmp_path_factory.mktemp("any") / "x.json"
    for text in (json.dumps(content), json.dumps(content, indent=3, ensure_ascii=True), f" {json.dumps(content)}\n\t"):
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_text, "_CHUNK", piece)
            entries = json_text.JsonEntries(path)
            assert dict(entries) == json.loads(text)
        assert entries.digest.hexdigest() == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("piece", [1, 5, 1 << 20])
@given(st.text('{}[]:,"\\ 1.e-atrue\n', max_size=30))
def test_entries_are_refused_as_by_the_standard_library(tmp_path_factory, piece, text):
    path = tmp_path_factory.mktemp("any") / "x.json"
    path.write_text(text)
    try:
        want = json.loads(text)
    except ValueError:
        want = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_text, "_CHUNK", piece)
        try:
            found = dict(json_text.JsonEntries(path))
        except ScoreFileError:
            twice = isinstance(want, dict) and len(re.findall(r'"[^"]*" *:', text)) > len(want)
            assert not isinstance(want, dict) or twice
        else:
            assert found == want


@pytest.mark.parametrize("name", ["missing.json", "missing.parquet", ".", "nul\0l.json"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(ScoreFileError) as error:
        open_scores(tmp_path / name)
    assert str(tmp_path) in error.value.message


def test_a_device_is_not_read():
    if not Path("/dev/zero").exists():
        pytest.skip("no such device on this system")
    with pytest.raises(ScoreFileError, match="not a score file"):
        open_scores(Path("/dev/zero"))


def test_scores_of_each_checkpoint_are_no_score_file(tmp_path):
    path = tmp_path / "m_500hz_per_checkpoint_influence_metadata.json"
    path.write_text(f"{{{ONE}}}")
    with pytest.raises(ScoreFileError, match="scores of each checkpoint") as error:
        open_scores(path)
    assert JSON in error.value.hint


@given(st.binary(max_size=200))
@pytest.mark.parametrize("name", ["x.json", "x.parquet"])
def test_any_bytes_give_a_tracinctl_error(tmp_path_factory, name, data):
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(data)
    with pytest.raises(ScoreFileError):
        open_scores(path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.parametrize("name", [JSON, PARQUET])
def test_a_damaged_file_is_refused_or_read_unchanged(tmp_path, name, data):
    source = full(np.random.default_rng(0).normal(size=(40, 3)))
    path = tmp_path / name
    if not path.exists():
        write_scores(source, tmp_path / "whole" / name)
    whole = (tmp_path / "whole" / name).read_bytes()
    kind = data.draw(st.sampled_from(["flip", "cut", "grow"]))
    # the end of a Parquet file describes the rest, so damage it more often
    place = data.draw(st.integers(0, len(whole) - 1) | st.integers(max(0, len(whole) - 2000), len(whole) - 1))
    damaged = bytearray(whole)
    if kind == "flip":
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del damaged[place:]
    else:
        damaged[place:place] = data.draw(st.binary(min_size=1, max_size=9))
    path.write_bytes(damaged)
    try:
        back = open_scores(path)
        scores = np.concatenate([block for _, block in back.blocks()])
    except ScoreFileError:
        return
    assert np.isfinite(scores).all()
    assert scores.shape == (len(back.train_ids), len(back.test_ids))
    if name == PARQUET:
        assert same_bits(scores, source.scores), "only checksums notice such damage"
        assert back.train_ids == source.train_ids
        assert back.test_ids == source.test_ids


plain_values = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(st.recursive(plain_values, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_has_the_layout_of_the_standard_library(value):
    assert laid_out(value) == json.dumps(value, ensure_ascii=False, indent=2)
