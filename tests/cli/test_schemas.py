"""``--json`` fits the JSON Schema of each command."""

from __future__ import annotations

import inspect
import json
from importlib import import_module, resources

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from wav_trees import retrainable

from tracinctl.cli.registry import ENTRIES
from tracinctl.demo.make import DemoResult, DemoSet
from tracinctl.plots.views import VIEWS

NAME = "plastic_500hz"
ONE = ("--frequency", "500hz")
SCHEMAS = {
    path.name.removesuffix(".json"): json.loads(path.read_text())
    for path in (resources.files("tracinctl.cli") / "schemas").iterdir()
}


@pytest.fixture
def checked(cli):
    """Run a command with --json, check the result against the schema, and return it."""

    def run(command, *arguments, code=0):
        result = cli(command, *arguments, "--json")
        assert result.code == code, result.err
        answer = json.loads(result.out)
        Draft202012Validator(SCHEMAS[command.split()[0]]).validate(answer)
        return answer

    return run


def test_every_command_with_json_has_a_strict_schema():
    with_json = {
        name
        for name in ENTRIES
        if "json" in inspect.signature(getattr(import_module(f"tracinctl.cli.commands.{name}"), name)).parameters
    }
    assert with_json == set(SCHEMAS)
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)
        for part in objects(schema):
            assert part["additionalProperties"] is False or "properties" not in part


def objects(part):
    if isinstance(part, dict):
        if part.get("type") == "object":
            yield part
        for inner in part.values():
            yield from objects(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from objects(inner)


def test_steps_and_views(project, checked):
    assert checked("status")[0]["scores"] is None
    checked("compute", "--save-per-checkpoint")
    checked("sweep", *ONE, "--top", "3")
    checked("sweep", *ONE, "--rule", "total")
    checked("exclude", "--dry-run")
    checked("exclude", "--min-occurrences", "1", "--max-exclusions", "4")
    assert checked("exclude", *ONE, "--min-occurrences", "1", "--max-exclusions", "3")[0]["replaced"]
    checked("exclude", *ONE, "--pair-mode", "sample", "--dry-run")
    for view in VIEWS:
        checked("plot", view)
    [pair, *_] = checked("sweep", *ONE, "--top", "1")[0]["top"]
    checked("plot", "top", *ONE, "--train-pair", pair["pair"])
    checked("explain", pair["pair"], *ONE)
    assert checked("sweep", *ONE, "--by", "class")[0]["groups"]
    checked("exclude", *ONE, "--by", "item", "--min-occurrences", "1", "--dry-run")
    checked("train", "--exclusions-file", f"exclusions/{NAME}_excluded_pairs.txt")
    status = checked("status")
    assert status[0]["list"]["ids"] == 3
    assert len(status[0]["rounds"]) == 2


def test_workflow_in_all_its_forms(project, checked):
    checked("workflow", "--evaluate-only")
    checked("workflow", "--report", "report.html")
    rounds = checked("workflow", *ONE, "--rounds", "2", "--min-occurrences", "1", "--max-exclusions", "4")
    assert len(rounds[0]["rounds"]) == 2
    (project / "checkpoints" / NAME / "model_epoch_1.pt").write_bytes(b"broken")
    failed = checked("workflow", "--fail-fast", code=1)
    assert [run["status"] for run in failed] == ["failed", "skipped"]


def test_retraining(tmp_path, monkeypatch, cli, checked):
    retrainable(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert cli("train").code == 0
    judged = checked("workflow", "--retrain", "--repeats", "1", "--at-once", "1")
    assert judged[0]["retraining"]["choice"]
    arguments = ("--thresholds", "0", "--retrain", "--repeats", "1", "--at-once", "1")
    assert checked("sweep", *arguments)[0]["retraining"]["arms"] is not None


def test_pairs_of_a_table(tmp_path, monkeypatch, checked):
    monkeypatch.chdir(tmp_path)
    lines = [f"a{k},b{k},1" for k in range(8)]
    (tmp_path / "votes.csv").write_text("\n".join(["winner,loser,weight", *lines]) + "\n")
    checked("pairs", "import", "votes.csv")


def test_the_demo(tmp_path, monkeypatch, checked):
    def made(directory, frequencies, seed, *, progress):
        del seed, progress
        return DemoResult(directory.absolute(), [DemoSet("plastic", frequencies[0], 270, 150, 4, 0.9)])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tracinctl.demo.make.make_demo", made)
    assert checked("demo", "x")[0]["planted_items"] == 4


def test_values_of_a_wrong_type_do_not_fit_the_schema(project, cli):
    answer = cli.json("status")
    check = Draft202012Validator(SCHEMAS["status"]).validate
    check(answer)
    for change in ({"recordings": "12"}, {"checkpoints": "2 checkpoints"}, {"more": 1}):
        with pytest.raises(ValidationError):
            check([answer[0] | change])
    del answer[0]["next"]
    with pytest.raises(ValidationError):
        check(answer)
