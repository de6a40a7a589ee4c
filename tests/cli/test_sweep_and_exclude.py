"""``sweep`` and ``exclude``: text for people, JSON and CSV for programs."""

import csv
import io
import json

import pytest
from command_line import write_score_file
from reference_project import ROOT, needs_reference
from score_tables import table

from tracinctl.cli.output.diagnoses import label_of
from tracinctl.scores.files.open import open_scores, write_scores

THREE_TESTS = [[-6, -7, -8], [-6, -7, 1], [-1, 2, 3], [4, 5, 6]]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_score_file(tmp_path / "metadata" / "box_1hz_influence_metadata.json", THREE_TESTS)
    write_score_file(tmp_path / "metadata" / "box_2hz_influence_metadata.json", [[-1, 0], [1, 0]])
    return tmp_path


def test_sweep_in_a_project_folder_needs_no_file(cli, project):
    result = cli("sweep", "--thresholds", "-5,-10")
    assert result.code == 0
    assert "box 1hz: 4 training pairs, 3 active test pairs of 3" in result.out
    assert "box 2hz: 2 training pairs, 1 active test pair of 2" in result.out
    assert "Positive = helpful, negative = harmful" in result.out
    lines = [line.split() for line in result.out.splitlines()]
    assert ["-5", "2", "2", "1", "2", "50.0%", "50.0%"] in lines, "60% of 3 is 2 votes, and two pairs have them"
    assert ["-10", "0", "0", "0", "0", "0.0%", "0.0%"] in lines


def test_sweep_json_is_the_documented_result_and_nothing_else(cli, project):
    (answer,) = cli.json("sweep", "--thresholds", "-5,-7.5", "--frequency", "1hz", "--min-occurrences", "3")
    assert answer.pop("warnings") == [
        "there are only 3 test pairs; with so few votes, the order of training pairs is unreliable"
    ]
    assert [answer] == [
        {
            "file": str(project / "metadata" / "box_1hz_influence_metadata.json"),
            "material": "box",
            "frequency": "1hz",
            "train_pairs": 4,
            "test_pairs": 3,
            "active_test_pairs": 3,
            "rule": "votes",
            "thresholds": [
                {"threshold": -5.0, "votes": {"1": 2, "2": 2, "3": 1}, "required_votes": 3, "harmful": 1},
                {"threshold": -7.5, "votes": {"1": 1, "2": 0, "3": 0}, "required_votes": 3, "harmful": 0},
            ],
            "top": [],
        }
    ]


def test_sweep_csv_has_one_line_per_threshold(cli, project):
    rows = list(csv.DictReader(io.StringIO(cli("sweep", "--thresholds", "-5,0", "--csv").out)))
    assert [(row["frequency"], row["threshold"], row["votes_1"], row["harmful"]) for row in rows] == [
        ("1hz", "-5.0", "2", "2"),
        ("1hz", "0.0", "3", "2"),
        ("2hz", "-5.0", "0", "0"),
        ("2hz", "0.0", "1", "1"),
    ]


@pytest.mark.parametrize(("active", "columns"), [(20, range(1, 21)), (2000, (1, 500, 1000, 1200, 1500, 2000))])
def test_sweep_csv_has_few_columns_for_any_number_of_votes(cli, project, active, columns):
    write_score_file(project / "metadata" / "box_3hz_influence_metadata.json", [[-1.0] * active] * 2)
    header, line = csv.reader(io.StringIO(cli("sweep", "--frequency", "3hz", "--thresholds", "0", "--csv").out))
    assert header[header.index("item_share") + 1 :] == [f"votes_{k}" for k in columns]
    assert set(line[header.index("item_share") + 1 :]) == {"2"}


def test_sweep_lists_the_pairs_with_most_votes(cli, project):
    out = cli("sweep", "--thresholds", "-5", "--frequency", "1hz", "--top", "1").out
    assert "box_deg000_1hz_00_box_deg036_1hz_00" in out
    assert "box_deg000_1hz_01_box_deg036_1hz_01" not in out


def test_a_rule_that_can_never_fire_is_explained(cli, project):
    result = cli("sweep", "--thresholds", "0", "--frequency", "2hz", "--min-occurrences", "2")
    assert result.code == 0
    assert "needs 2 votes, but only 1 of 2 test pairs are active" in " ".join(result.err.split())


def test_a_wrong_score_file_gets_a_suggestion(cli, project):
    columns = project / "metadata" / "box_1hz_influence.parquet"
    write_scores(open_scores(project / "metadata" / "box_1hz_influence_metadata.json"), columns)
    (project / "metadata" / "box_1hz_influence_metadata.json").unlink()
    meant = cli("exclude", "--metadata-file", "metadata/box_1hz_influence_metadata.json")
    assert meant.code == 2
    assert "Did you mean metadata/box_1hz_influence.parquet?" in meant.err
    (project / "planted.csv").write_text("a,b\n")
    other = cli("exclude", "--metadata-file", "planted.csv")
    assert other.code == 1
    assert "Names of score files end in _influence_metadata.json or _influence.parquet" in other.err


def test_a_missing_score_file_is_named_with_the_command_that_makes_it(cli, project):
    (project / "tracinctl.toml").write_text('material = "box"\nfrequencies = ["1hz", "3hz"]\n')
    result = cli("sweep")
    assert result.code == 0, "existing scores are shown"
    assert "box 1hz" in result.out
    assert "there is no metadata/box_3hz_influence_metadata.json" in result.err
    assert "tracinctl compute --material box --frequency 3hz" in result.err
    assert cli("sweep", "--frequency", "3hz").code == 2


def test_without_any_scores_the_command_that_makes_them_is_named(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in ("sweep", "exclude"):
        result = cli(command, "--material", "box", "--frequency", "1hz")
        assert (result.code, result.out) == (1, "")
        assert "tracinctl compute --material box --frequency 1hz" in result.err


def test_an_ambiguous_material_must_be_given(cli, project):
    write_score_file(project / "metadata" / "metal_1hz_influence_metadata.json", [[1.0]])
    result = cli("sweep")
    assert result.code == 2
    assert "no material was given, and metadata has several: box, metal" in result.err
    assert cli("sweep", "--material", "metal").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "--thresholds", "abc"], "'abc'"),
        (["sweep", "--thresholds", "--5"], "'--5'"),
        (["sweep", "--thresholds", ""], "threshold"),
        (["sweep", "--thresholds", "-5,,"], "threshold"),
        (["exclude", "--threshold", "200%"], "'200%'"),
        (["exclude", "--threshold", "nan"], "'nan'"),
        (["sweep", "--min-occurrences", "0"], "min-occurrences"),
        (["exclude", "--max-exclusions", "0"], "--max-exclusions"),
        (["exclude", "--pair-mode", "pairs"], "--pair-mode"),
        (["exclude", "--output-file", "x.txt"], "2 score files"),
        (["sweep", "--json", "--csv"], "exclude each other"),
        (["sweep", "--csv", "--retrain"], "--csv cannot show the result of --retrain"),
        (["exclude", "--output-file", "a.txt", "--output-dir", "lists"], "exclude each other"),
        (
            ["plot", "--metadata-file", "a.json", "--frequency", "1hz"],
            "--metadata-file and --frequency both choose the scores",
        ),
        (["sweep", "--frequency", "1hz,,2hz"], "empty entry"),
    ],
)
def test_wrong_usage_is_explained_and_writes_nothing(cli, project, arguments, message):
    result = cli(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert message in result.err
    assert result.err.startswith("error: ")
    assert "Traceback" not in result.err
    assert not (project / "exclusions").exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a_b": 3}', '{"a_b": {"x": 1}}', "{}"])
def test_a_broken_score_file_is_one_message(cli, tmp_path, content):
    path = tmp_path / "box_1hz_influence_metadata.json"
    path.write_text(content)
    for command in ("sweep", "exclude"):
        result = cli(command, "--metadata-file", path)
        assert (result.code, result.out) == (1, "")
        assert str(path) in result.err
        assert "Traceback" not in result.err


def test_a_misspelt_frequency_gets_a_suggestion_and_each_known_name_once(cli, project):
    result = cli("sweep", "--material", "box", "--frequency", "1")
    assert result.code == 2
    assert "Did you mean box 1hz?" in result.err
    assert result.err.count("box 2hz") == 1


def test_a_misspelt_file_or_folder_gets_a_suggestion(cli, project):
    result = cli("sweep", "--metadata-file", "metadata/box_1hz_influence_metdata.json")
    assert result.code == 2
    assert "there is no score file metadata/box_1hz_influence_metdata.json" in result.err
    assert "Did you mean metadata/box_1hz_influence_metadata.json?" in result.err
    assert "--metadata-dir metadata" in cli("sweep", "--metadata-file", "metadata").err
    both = ",".join(f"metadata/box_{k}hz_influence_metadata.json" for k in (1, 2))
    assert "Give --metadata-file once for each file." in cli("sweep", "--metadata-file", both).err


def test_exclude_writes_a_list_of_ids_below_comments(cli, project):
    result = cli("exclude", "--frequency", "1hz", "--threshold", "-5")
    path = project / "exclusions" / "box_1hz_excluded_pairs.txt"
    assert result.code == 0
    lines = path.read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "box_deg000_1hz_00_box_deg036_1hz_00",
        "box_deg000_1hz_01_box_deg036_1hz_01",
    ]
    assert "exclusions/box_1hz_excluded_pairs.txt" in result.out
    assert "tracinctl train --material box --frequency 1hz --exclusions-file exclusions/box_1hz" in result.out


def test_exclude_json_is_the_documented_result(cli, project):
    (answer,) = cli.json("exclude", "--frequency", "1hz", "--threshold", "-5", "--max-exclusions", "1")
    assert ["test pairs" in text for text in answer.pop("warnings")] == [True, False]
    assert answer == {
        "file": str(project / "metadata" / "box_1hz_influence_metadata.json"),
        "material": "box",
        "frequency": "1hz",
        "output_file": str(project / "exclusions" / "box_1hz_excluded_pairs.txt"),
        "mode": "ranking_pair",
        "rule": "votes",
        "threshold": -5.0,
        "required_votes": 2,
        "harmful": 2,
        "excluded": ["box_deg000_1hz_00_box_deg036_1hz_00"],
        "excluded_before": 0,
        "replaced": None,
    }
    several = cli.json("exclude")
    assert [each["harmful"] for each in several] == [2, 1]


def test_a_dry_run_shows_the_list_and_writes_nothing(cli, project):
    before = sorted(project.rglob("*"))
    result = cli("exclude", "--dry-run", "--update-metadata", "--threshold", "-5", "--frequency", "1hz")
    assert "2 pairs to leave out" in result.out
    assert "was not written" in result.out
    assert cli.json("exclude", "--dry-run", "--frequency", "1hz")[0]["output_file"] is None
    assert sorted(project.rglob("*")) == before


def test_full_pair_lists_both_items(cli, project):
    cli("exclude", "--frequency", "1hz", "--threshold", "-5", "--pair-mode", "full_pair", "--max-exclusions", "1")
    text = (project / "exclusions" / "box_1hz_excluded_pairs.txt").read_text()
    assert text.splitlines()[-2:] == ["box_deg000_1hz_00", "box_deg036_1hz_00"]


def test_update_metadata_marks_excluded_items_and_keeps_the_rest(cli, project):
    records = project / "metadata" / "box_1hz_metadata.json"
    records.write_text(json.dumps({"box_deg000_1hz_00": {"angle": "deg000", "notes": "loud"}}))
    cli("exclude", "--frequency", "1hz", "--threshold", "-5", "--pair-mode", "full_pair", "--update-metadata")
    record = json.loads(records.read_text())["box_deg000_1hz_00"]
    assert record["angle"] == "deg000"
    assert record["excluded"] is True
    assert record["notes"].startswith("loud")
    assert record["tracin_info"]["negative_occurrences"] == 3


def test_exclude_csv_has_one_line_per_id(cli, project):
    rows = list(csv.DictReader(io.StringIO(cli("exclude", "--csv", "--frequency", "1hz", "--threshold", "-5").out)))
    assert [(row["id"][-2:], row["votes"], float(row["mean_score"])) for row in rows] == [
        ("00", "3", -7.0),
        ("01", "2", -4.0),
    ]


def test_an_upper_threshold_counts_as_a_vote(cli, project):
    arguments = ["exclude", "--frequency", "1hz", "--threshold", "-5", "--min-occurrences", "3"]
    assert cli.json(*arguments)[0]["harmful"] == 1
    assert cli.json(*arguments, "--upper-threshold", "3.5")[0]["harmful"] == 2


def test_quiet_prints_only_the_paths_of_written_files(cli, project):
    result = cli("-q", "exclude", "--threshold", "-5")
    assert result.out.splitlines() == [
        str(project / "exclusions" / "box_1hz_excluded_pairs.txt"),
        str(project / "exclusions" / "box_2hz_excluded_pairs.txt"),
    ]
    assert result.err == ""
    assert cli("exclude", "-q", "--frequency", "1hz").out.count("\n") == 1, "-q works after the command too"


def test_nothing_is_cut_in_a_pipe(cli, tmp_path):
    long_id = f"box_deg000_1hz_{'0' * 150}_box_deg036_1hz_{'1' * 150}"
    path = tmp_path / "box_1hz_influence_metadata.json"
    write_score_file(path, [[-1.0]], train_ids=[long_id])
    result = cli("exclude", "--metadata-file", path, "--dry-run")
    assert long_id in result.out
    assert "…" not in result.out


def test_hostile_ids_stay_text(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile = "box_[red]\x1b]0;title\x07_1hz_00_box_[/red]_1hz_00"
    path = tmp_path / "box_1hz_influence_metadata.json"
    write_score_file(path, [[-1.0]], train_ids=[hostile])
    for arguments in (["exclude", "--dry-run"], ["sweep", "--top", "1"]):
        result = cli(*arguments, "--metadata-file", path)
        assert result.code == 0, result.err
        assert "\x1b" not in result.out + result.err
        assert "\x07" not in result.out + result.err
        assert "box_[red]\\x1b]0;title\\x07_1hz_00_box_[/red]_1hz_00" in result.out


@needs_reference
def test_the_users_files_give_their_known_counts(cli):
    answer = {
        each["frequency"]: [[row["votes"].get(k, 0) for k in "123"] for row in each["thresholds"]]
        for each in cli.json("sweep", "--metadata-dir", ROOT, "--thresholds", "-5,-10,-15,-100")
    }
    assert answer == {
        "500hz": [[268, 98, 0], [228, 85, 0], [201, 71, 0], [74, 0, 0]],
        "1000hz": [[222, 36, 0], [182, 6, 0], [163, 0, 0], [60, 0, 0]],
    }


@needs_reference
def test_two_votes_below_minus_five_find_98_pairs_in_the_users_500hz_file(cli, tmp_path):
    file = ROOT / "plastic_500hz_influence_metadata.json"
    places = ("--metadata-file", file, "--output-file", tmp_path / "list.txt")
    assert cli.json("exclude", *places, "--threshold", "-5", "--min-occurrences", "2")[0]["harmful"] == 98
    listed = [line for line in (tmp_path / "list.txt").read_text().splitlines() if line[0] != "#"]
    assert len(listed) == 98 + 24  # 24 of them have a mirror image in training that its own scores do not find


def test_labels_name_other_methods():
    assert label_of("box 1hz", table([[1.0]])) == "box 1hz"
    assert label_of("box 1hz", table([[1.0]], provenance={"method": "tracin"})) == "box 1hz"
    assert label_of("box 1hz", table([[1.0]], provenance={"method": "fisher"})) == "box 1hz by fisher"


@pytest.mark.parametrize("command", ["sweep", "exclude", "plot", "workflow"])
def test_score_files_in_the_current_folder_get_a_hint(cli, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    write_score_file(tmp_path / "box_1hz_influence_metadata.json", [[-6, -7], [1, 2]])
    refused = cli(command)
    assert refused.code == 1
    assert "1 score file is in this folder itself: add --metadata-dir ." in refused.err
    assert cli(command, "--metadata-dir", ".").code == 0


def test_two_score_files_never_write_one_list(cli, project):
    scores = project / "metadata" / "box_1hz_influence_metadata.json"
    copy = project / "elsewhere" / scores.name
    copy.parent.mkdir()
    copy.write_bytes(scores.read_bytes())
    result = cli("exclude", "--metadata-file", str(scores), "--metadata-file", str(copy))
    message = " ".join(result.err.split())
    assert result.code == 2
    assert f"metadata/{scores.name} and elsewhere/{scores.name} would both write" in message
    assert "each with its own --output-file" in message
    assert not (project / "exclusions").exists()


def test_no_cell_of_csv_is_a_formula(cli, project):
    path = project / "formula_influence_metadata.json"
    ids = ["=1+1_a", "@a_b", "+a_b", "-a_b", "a_b"]
    path.write_text(json.dumps({name: {"tracin_influence_t": -7.0 - k} for k, name in enumerate(ids)}))
    rows = list(csv.DictReader(io.StringIO(cli("exclude", "--csv", "--metadata-file", str(path)).out)))
    assert sorted(row["id"] for row in rows) == sorted([*(f"'{name}" for name in ids[:4]), "a_b"])
    assert {row["mean_score"][0] for row in rows} == {"-"}, "numbers are unchanged"


def test_rule_total_uses_and_shows_the_sums_of_scores(cli, project):
    shown = cli("exclude", "--frequency", "1hz", "--rule", "total", "--threshold", "25%")
    assert shown.code == 0, shown.err
    assert "Harmful: the scores on all test pairs add up to less than" in shown.out
    assert "total score" in shown.out
    text = (project / "exclusions" / "box_1hz_excluded_pairs.txt").read_text()
    assert "(the lowest 25% of the training pairs) (rule total)" in text
    [answer] = cli.json("sweep", "--frequency", "1hz", "--rule", "total", "--thresholds", "0,25%")
    ids = [line for line in text.splitlines() if not line.startswith("#")]
    assert [row["harmful"] for row in answer["thresholds"]][1] == len(ids) > 0
    assert answer["rule"] == "total"
    top = cli("sweep", "--frequency", "1hz", "--rule", "total", "--top", "1")
    assert "Lowest totals" in top.out
    assert ids[0] in top.out
    assert cli("sweep", "--frequency", "1hz", "--rule", "total", "--csv").code == 0


@pytest.mark.parametrize(
    "more", [["--min-occurrences", "3"], ["--upper-threshold", "9"]], ids=["votes asked for", "upper threshold"]
)
@pytest.mark.parametrize("command", ["sweep", "exclude"])
def test_rule_total_refuses_settings_of_votes(cli, project, command, more):
    result = cli(command, "--frequency", "1hz", "--rule", "total", *more)
    assert result.code == 2
    assert "sets votes, but the rule total has none" in " ".join(result.err.split())


def test_a_replaced_list_is_named_and_an_edited_one_is_kept(cli, project):
    listed = project / "exclusions" / "box_1hz_excluded_pairs.txt"
    assert cli("exclude", "--frequency", "1hz").code == 0
    other = cli("exclude", "--frequency", "1hz", "--threshold", "-6.5")
    assert "Replaced: was 2 pairs, at least 2 of 3 active test pairs score below 0" in other.out
    assert "Replaced" not in cli("exclude", "--frequency", "1hz", "--threshold", "-6.5").out
    head = [line for line in listed.read_text().splitlines() if line.startswith("# ids")]
    listed.write_text("\n".join([*head, "# excluded: 1 id", "by hand"]) + "\n")
    for command in ("exclude", "workflow"):
        refused = cli(command, "--frequency", "1hz")
        assert refused.code == 2
        assert "was edited by hand" in refused.err
        assert "--force" in refused.err
    assert "by hand" in listed.read_text()
    assert cli("exclude", "--frequency", "1hz", "--force").code == 0
    assert "by hand" not in listed.read_text()


def test_a_file_that_is_no_list_is_not_replaced(cli, project):
    for name, content in {"pairs.csv": b"split,id1,id2,target\n", "sound.wav": b"RIFF\xff\xfe"}.items():
        (project / name).write_bytes(content)
        refused = cli("exclude", "--frequency", "1hz", "--output-file", name)
        assert refused.code == 2
        assert "is not replaced" in refused.err
        assert (project / name).read_bytes() == content


def test_sweep_lists_the_same_pairs_for_people_and_for_programs(cli, project):
    arguments = ("sweep", "--frequency", "1hz", "--thresholds", "-5", "--top", "2")
    (answer,) = cli.json(*arguments)
    assert [(pair["votes"], pair["mean"], pair["total"]) for pair in answer["top"]] == [(3, -7, -21), (2, -4, -12)]
    shown = cli(*arguments).out
    assert shown.index(answer["top"][0]["pair"]) < shown.index(answer["top"][1]["pair"])
    (total,) = cli.json(*arguments, "--rule", "total")
    assert [pair["total"] for pair in total["top"]] == [-21, -12]
    refused = cli(*arguments, "--csv")
    assert refused.code == 2
    assert "--top" in refused.err
