"""``workflow`` on recordings and on score files alone, and its report."""

import json

import pytest
from command_line import write_score_file
from reference_project import ROOT, needs_reference

from tracinctl.project.settings import WorkflowSettings
from tracinctl.project.target import Target
from tracinctl.project.workflow import run_workflow
from tracinctl.scores.options import Rule


def test_workflow_writes_lists_and_names_the_next_command(cli, project):
    result = cli("workflow", "--frequencies", "500hz,1000hz", "--min-occurrences", "1")
    assert result.code == 0, result.err
    for frequency in ("500hz", "1000hz"):
        assert (project / "exclusions" / f"plastic_{frequency}_excluded_pairs.txt").exists()
    assert "positive = helpful, negative = harmful" in result.out
    lines = [line for line in result.out.splitlines() if "tracinctl train" in line]
    assert len(lines) == 2
    assert all("--exclusions-file exclusions/plastic_" in line for line in lines)


def test_a_later_round_that_is_not_trained_yet_names_the_list_to_train_with(cli, project):
    (project / "checkpoints" / "retrained" / "plastic_500hz").mkdir(parents=True)
    result = cli("workflow", "--frequencies", "500hz", "--checkpoint-dir", "checkpoints/retrained")
    assert result.code == 1
    said = " ".join(result.err.split())
    assert "Train first: tracinctl train --material plastic --frequency 500hz --exclusions-file " in said
    assert "exclusions/plastic_500hz_excluded_pairs.txt" in said


def test_workflow_continues_after_a_failed_frequency(cli, project):
    (project / "checkpoints" / "plastic_500hz" / "model_epoch_1.pt").write_bytes(b"broken")
    result = cli("workflow", "--json")
    assert result.code == 1
    runs = json.loads(result.out)
    assert [run["status"] for run in runs] == ["failed", "done"]
    assert "model_epoch_1.pt" in runs[0]["error"]
    keys = "material frequency round status scores_of train_pairs test_pairs active_test_pairs harmful excluded"
    keys += " excluded_before planted caught wrong output_file replaced report error warnings"
    assert set(runs[0]) == {*keys.split()}
    assert runs[1]["output_file"] == str(project / "exclusions" / "plastic_1000hz_excluded_pairs.txt")
    assert not (project / "exclusions" / "plastic_500hz_excluded_pairs.txt").exists()
    result = cli("workflow", "--fail-fast", "--json")
    assert [run["status"] for run in json.loads(result.out)] == ["failed", "skipped"]
    assert result.code == 1


def test_a_missing_frequency_gets_a_suggestion(cli, project):
    result = cli("workflow", "--frequencies", "500")
    assert result.code == 2
    assert "Did you mean plastic 500hz? There are " in result.err
    assert "tracinctl train --material plastic --frequency 500" in result.err


def test_workflow_evaluate_only_shows_thresholds_and_writes_no_list(cli, project):
    result = cli("workflow", "--evaluate-only")
    assert result.code == 0, result.err
    assert result.out.count("active test pair") == 2
    assert not (project / "exclusions").exists()


def test_workflow_draws_a_view_of_each_frequency(cli, project):
    result = cli("workflow", "--plot", "distribution")
    assert result.code == 0, result.err
    assert result.out.count(": distribution") == 2
    assert result.out.index("1000hz: distribution") < result.out.index("status"), "the table comes last"


@pytest.mark.parametrize("ending", [".html", ".md"])
def test_a_report_shows_what_was_done_and_the_next_command(cli, project, ending):
    result = cli("workflow", "--min-occurrences", "1", "--frequencies", "500hz,9hz", "--report", f"report{ending}")
    assert result.code == 2, "one frequency is missing"
    text = (project / f"report{ending}").read_text(encoding="utf-8")
    for message in (
        "tracinctl workflow --min-occurrences 1 --frequencies 500hz,9hz --report report",
        "model_epoch_2.pt",
        "--exclusions-file exclusions/plastic_500hz_excluded_pairs.txt",
        "plastic 9hz",
    ):
        assert message in text, message
    assert "500hz" in result.out, "the table is printed too"


def test_a_report_of_an_unknown_kind_is_refused_before_the_work(cli, project):
    result = cli("workflow", "--report", "report.pdf")
    assert result.code == 2
    assert ".html" in result.err
    assert not (project / "metadata").exists()


def test_workflow_uses_existing_scores_without_checkpoints(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_score_file(tmp_path / "scores" / "box_1hz_influence_metadata.json", [[-1.0], [2.0]])
    result = cli("workflow", "--metadata-dir", "scores", "--frequencies", "1hz,2hz", "--json")
    runs = json.loads(result.out)
    assert [(run["status"], run["harmful"]) for run in runs] == [("done", 1), ("failed", None)]
    assert "tracinctl train --material box --frequency 2hz" in result.err
    assert cli("workflow").code == 1
    assert "tracinctl demo" in cli("workflow").err


@needs_reference
def test_workflow_runs_on_the_users_score_files(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = cli("workflow", "--metadata-dir", ROOT, "--frequencies", "500hz,1000hz", "--json")
    assert result.code == 0, result.err
    assert [run["harmful"] for run in json.loads(result.out)] == [186, 0]


def test_planted_errors_are_compared_with_the_list(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ids = write_score_file(tmp_path / "metadata" / "box_1hz_influence_metadata.json", [[-1], [-1], [-1], [1], [1]])
    lines = ["kind,material,frequency,id", f"pair,box,1hz,{ids[0]}", f"pair,box,1hz,{ids[3]}"]
    lines += ["item,box,1hz,box_deg000_1hz_01", f"pair,box,2hz,{ids[2]}"]
    (tmp_path / "planted.csv").write_text("\n".join(lines) + "\n")
    result = cli("workflow")
    assert result.code == 0, result.err
    row = next(line.split() for line in result.out.splitlines() if line.startswith("1hz"))
    assert row[-3:] == ["2", "1", "1"], "two planted, one caught, one wrong; one has a planted item"


def test_the_library_workflow_reports_through_callbacks_and_prints_nothing(tmp_path, capsys):
    from tracinctl.project.config import load_project, load_settings

    write_score_file(tmp_path / "metadata" / "box_1hz_influence_metadata.json", [[-1.0]])
    project = load_project(load_settings(None), tmp_path)
    finished = []
    targets = [Target(project, "box", frequency) for frequency in ("1hz", "2hz")]
    settings = WorkflowSettings(rule=Rule(threshold="0"), evaluate_only=True)
    runs = run_workflow(targets, settings, finished=finished.append)
    assert finished == runs
    assert [run.status for run in runs] == ["done", "failed"]
    assert capsys.readouterr() == ("", "")


def test_with_a_custom_training_command_train_is_not_suggested(cli, project):
    with (project / "tracinctl.toml").open("a") as settings:
        settings.write('command = "mine {exclusions_file} {metrics_file}"\n')
    result = cli("workflow", "--frequencies", "500hz", "--min-occurrences", "1", "--report", "report.md")
    listed = "exclusions/plastic_500hz_excluded_pairs.txt"
    for text in (result.out, (project / "report.md").read_text(), cli("exclude", "--min-occurrences", "1").out):
        assert f"your training command with {listed}" in text
        assert "tracinctl train" not in text


def test_old_scores_of_another_source_model_or_pairs_file_are_refused(cli, project):
    name = "plastic_500hz"
    pairs = project / "checkpoints" / name / "pairs.csv"
    assert cli("compute", "--frequency", "500hz", "--pairs-file", str(pairs)).code == 0
    same, other = project / "same.csv", project / "other.csv"
    same.write_bytes(pairs.read_bytes())
    other.write_text("".join(pairs.read_text().splitlines(keepends=True)[:-1]))
    for path in (project / "checkpoints" / name).iterdir():
        path.unlink()
    assert cli("workflow", "--frequency", "500hz", "--pairs-file", str(same), "--train-share", "0.7").code == 0
    for flag, value in {
        "--source": "my:load",
        "--model": "my:model",
        "--pairs-file": "other.csv",
        "--train-share": "0.5",
        "--seed": "7",
    }.items():
        refused = cli("workflow", "--frequency", "500hz", flag, value)
        assert refused.code == 2, (flag, refused.err)
        assert flag in refused.err
        assert value in refused.err
        assert "no checkpoints" in refused.err
