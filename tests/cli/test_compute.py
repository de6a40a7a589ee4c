"""``compute`` and ``train`` on a small project of recordings."""

import csv
import json

import numpy as np
import pytest
from reference_project import PROJECT, needs_reference

from tracinctl.errors import UsageError
from tracinctl.project.declared import parse_size


def test_compute_writes_and_reports_scores(cli, project):
    (answer,) = cli.json("compute", "--frequency", "500hz")
    keys = "material frequency classes output_file replaced train_pairs test_pairs active_test_pairs checkpoints"
    assert set(answer) == {*keys.split(), "gradients_computed", "seconds", "warnings"}
    assert answer["output_file"] == str(project / "metadata" / "plastic_500hz_influence_metadata.json")
    assert [entry["name"] for entry in answer["checkpoints"]] == ["model_epoch_1.pt", "model_epoch_2.pt"]
    assert answer["gradients_computed"] == 2 * 12
    scores = json.loads((project / "metadata" / "plastic_500hz_influence_metadata.json").read_text())
    assert len(scores) == answer["train_pairs"]
    assert all(len(row) == answer["test_pairs"] for row in scores.values())
    records = json.loads((project / "metadata" / "plastic_500hz_metadata.json").read_text())
    assert any("tracin_self_influence" in record for record in records.values())
    assert any("tracin_sample_influence" in record for record in records.values())


def test_another_margin_needs_no_gradient(cli, project):
    cli("compute", "--frequency", "500hz")
    result = cli("-v", "compute", "--frequency", "500hz", "--margin", "3", "--json")
    assert json.loads(result.out)[0]["gradients_computed"] == 0
    assert "taken from the cache" in result.err
    assert cli.json("compute", "--frequency", "500hz", "--no-cache")[0]["gradients_computed"] == 24
    assert (project / ".tracinctl" / "cache" / "plastic_500hz" / ".gitignore").read_text() == "*\n"


def test_a_project_without_a_place_for_kernels_is_computed_without_a_cache(cli, project):
    (project / ".tracinctl").write_text("")
    result = cli("compute", "--frequency", "500hz")
    assert result.code == 1
    assert "To keep no kernels, give --no-cache." in result.err
    assert cli("compute", "--frequency", "500hz", "--no-cache").code == 0


def test_another_method_needs_no_gradient_and_is_recorded(cli, project):
    cli("compute", "--frequency", "500hz")
    with (project / "tracinctl.toml").open("a") as settings:
        settings.write('\n[compute]\nmethod = "fisher"\n')
    assert cli.json("compute", "--frequency", "500hz")[0]["gradients_computed"] == 0
    beside = json.loads((project / "metadata" / "plastic_500hz_influence_provenance.json").read_text())
    assert beside["provenance"]["method"] == "fisher"
    wrong = cli("compute", "--frequency", "500hz", "--method", "gauss")
    assert wrong.code == 2
    assert "--method" in wrong.err


def test_pruning_deletes_kernels_that_no_checkpoint_uses(cli, project):
    cli("compute", "--frequency", "all")
    (project / "checkpoints" / "plastic_500hz" / "model_epoch_1.pt").unlink()
    result = cli("compute", "--frequency", "all", "--prune-cache")
    assert "of unused kernels deleted" in result.err
    again = cli.json("compute", "--frequency", "all")
    assert [entry["gradients_computed"] for entry in again] == [0, 0], "used kernels are kept"


def test_only_the_named_or_drawn_test_pairs_are_used(cli, project):
    cli("compute", "--frequency", "500hz")
    path = project / "metadata" / "plastic_500hz_influence_metadata.json"
    everything = json.loads(path.read_text())
    name = next(iter(next(iter(everything.values())))).removeprefix("tracin_influence_")
    cli("compute", "--frequency", "500hz", "--test-pair", name)
    alone = json.loads(path.read_text())
    assert {key for row in alone.values() for key in row} == {f"tracin_influence_{name}"}
    for train_id, row in alone.items():
        assert row[f"tracin_influence_{name}"] == pytest.approx(everything[train_id][f"tracin_influence_{name}"])
    assert cli.json("compute", "--frequency", "500hz", "--num-test-samples", "2")[0]["test_pairs"] == 2
    result = cli("compute", "--frequency", "500hz", "--test-pair", name[:-1])
    assert result.code == 2
    assert f"Did you mean {name}?" in result.err


def test_parquet_replaces_json_and_says_so(cli, project):
    cli("compute", "--frequency", "500hz")
    result = cli("compute", "--frequency", "500hz", "--format", "parquet")
    assert result.code == 0, result.err
    assert "held older scores and was removed" in result.err
    names = sorted(path.name for path in (project / "metadata").glob("plastic_500hz_influence*"))
    assert names == ["plastic_500hz_influence.parquet", "plastic_500hz_influence.parquet.json"]
    assert cli("sweep", "--frequency", "500hz").code == 0
    cli("compute", "--frequency", "500hz", "--format", "json")
    assert not (project / "metadata" / "plastic_500hz_influence.parquet").exists()


def test_scores_that_replace_those_of_other_settings_say_so(cli, project):
    def replaced(*arguments, command="compute"):
        result = cli(command, "--frequency", "500hz", *arguments)
        assert result.code == 0, result.err
        lines = [line for line in result.err.splitlines() if "replaced the scores" in line]
        return [line.partition("replaced the scores made with ")[2] for line in lines]

    assert replaced() == []
    assert replaced() == []
    assert replaced("--margin", "3", "--layers", "features.*") == ["margin 1, no layers"]
    assert replaced("--loss-type", "logistic") == ["loss standard, margin 3, layers features.*"]
    assert replaced(command="workflow") == ["loss logistic"]
    assert cli.json("compute", "--frequency", "500hz", "--margin", "3")[0]["replaced"] == "margin 1"
    (project / "metadata/plastic_500hz_influence_provenance.json").unlink()
    assert replaced() == ["unknown settings"]


def test_parquet_scores_that_replace_those_of_other_settings_say_so(cli, project):
    parquet = ["compute", "--frequency", "500hz", "--format", "parquet"]
    assert cli(*parquet).code == 0
    assert "replaced" not in cli(*parquet).err
    assert "replaced the scores made with margin 1" in cli(*parquet, "--margin", "3").err


def test_the_provenance_of_removed_scores_is_removed(cli, project):
    cli("compute", "--frequency", "500hz")
    (project / "metadata/plastic_500hz_influence_metadata.json").unlink()
    cli("compute", "--frequency", "500hz", "--format", "parquet")
    names = sorted(path.name for path in (project / "metadata").glob("plastic_500hz_influence*"))
    assert names == ["plastic_500hz_influence.parquet", "plastic_500hz_influence.parquet.json"]


def test_only_the_requested_scores_are_written(cli, project):
    result = cli("compute", "--frequency", "500hz", "--no-compute-influence", "--save-per-checkpoint")
    assert result.code == 0, result.err
    assert sorted(path.name for path in (project / "metadata").glob("*.json")) == [
        "plastic_500hz_metadata.json",
        "plastic_500hz_per_checkpoint_influence_metadata.json",
    ]
    cli("compute", "--frequency", "1000hz", "--no-compute-self-influence")
    assert not (project / "metadata" / "plastic_1000hz_metadata.json").exists()


def test_scores_of_checkpoints_draw_the_same_in_both_formats(cli, project):
    drawn = []
    for form, ending in (("json", "_metadata.json"), ("parquet", ".parquet")):
        result = cli("compute", "--frequency", "500hz", "--save-per-checkpoint", "--format", form)
        assert result.code == 0, result.err
        names = [path.name for path in (project / "metadata").glob(f"plastic_500hz_per_checkpoint*{ending}")]
        assert names == [f"plastic_500hz_per_checkpoint_influence{ending}"]
        drawn.append([cli("plot", "checkpoints", *more).out for more in ((), ("--json",))])
        assert "checkpoints" in drawn[-1][0]
    assert drawn[0][0] == drawn[1][0]
    assert json.loads(drawn[0][1])[0]["checkpoints"] == json.loads(drawn[1][1])[0]["checkpoints"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--frequency", "700hz"], 2, "no plastic at 700hz"),
        (["--material", "plastik"], 2, "Did you mean plastic?"),
        (["--data-root", "nowhere"], 2, "no data folder nowhere"),
        (["--checkpoint-dir", "nowhere", "--frequency", "500hz"], 2, "no checkpoints"),
        (["--checkpoint-prefix", "other_", "--frequency", "500hz"], 2, "other_"),
        (["--pairs-file", "nowhere.csv", "--frequency", "500hz"], 2, "nowhere.csv"),
        (["--device", "cuda:99", "--frequency", "500hz"], 2, "cuda:99"),
        (["--loss-type", "hinge", "--frequency", "500hz"], 2, "hinge"),
        (["--memory", "much"], 2, "--memory 'much' is not a size"),
        (["--dtype", "int8"], 2, "--dtype"),
        (["--source", "nowhere:load", "--frequency", "500hz"], 2, "nowhere cannot be imported"),
        (["--source", "nowhere:load", "--frequency", "all"], 2, "frequency cannot be 'all'"),
        (["--source", "nowhere", "--frequency", "500hz"], 2, "--source my_project:load"),
        (["--model", "json:nothing", "--frequency", "500hz"], 2, "json:nothing"),
        (["--layers", "nothing.*", "--frequency", "500hz"], 2, "nothing.*"),
    ],
)
def test_wrong_usage_is_one_message_and_writes_nothing(cli, project, arguments, code, message):
    result = cli("compute", *arguments)
    assert message in " ".join(result.err.split())
    assert (result.code, result.out) == (code, "")
    assert result.err.count("error: ") == 1
    assert "Traceback" not in result.err
    assert not (project / "metadata").exists() or not list((project / "metadata").iterdir())


@pytest.mark.parametrize("command", ["compute", "train"])
def test_a_loss_that_prints_leaves_the_result_alone_on_stdout(cli, project, command):
    (project / "loud_loss.py").write_text(
        "def loss(first, second, target):\n    print('loss')\n    return (target - first + second) ** 2\n"
    )
    result = cli(command, "--frequency", "500hz", "--loss-type", "loud_loss:loss", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)
    assert "loss" in result.err.splitlines()


def test_a_loss_that_ends_the_program_is_named(cli, project):
    (project / "ending_loss.py").write_text("def loss(first, second, target):\n    raise SystemExit(3)\n")
    result = cli("compute", "--frequency", "500hz", "--loss-type", "ending_loss:loss")
    assert (result.code, result.out) == (1, "")
    assert "error: loss loss failed: SystemExit: 3" in result.err


def test_the_users_source_and_model_are_used(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_for_compute.py").write_text(
        "import numpy as np, torch\n"
        "from tracinctl import Pairs, RankingData, Samples\n"
        "def load(frequency, material):\n"
        "    assert (frequency, material) == ('all', 'digits')\n"
        "    x = torch.arange(12.0).reshape(6, 2)\n"
        "    ids = [f'i{k}' for k in range(6)]\n"
        "    pairs = Pairs([0, 1], [1, 2], [1, -1])\n"
        "    return RankingData(Samples(ids, x), pairs, Samples(ids, x), pairs)\n"
        "def build():\n    return torch.nn.Linear(2, 1)\n"
    )
    import torch

    (tmp_path / "checkpoints").mkdir()
    torch.save(torch.nn.Linear(2, 1).state_dict(), tmp_path / "checkpoints" / "model_epoch_1.pt")
    arguments = ["--source", "mine_for_compute:load", "--model", "mine_for_compute:build"]
    arguments += ["--material", "digits", "--frequency", "all-sizes"]
    result = cli("compute", *arguments)
    assert result.code == 1
    assert "--source mine_for_compute:load failed: AssertionError" in result.err
    assert "Traceback" not in result.err
    arguments[-1] = "sizes"
    (tmp_path / "mine_for_compute.py").write_text(
        (tmp_path / "mine_for_compute.py").read_text().replace("('all', 'digits')", "('sizes', 'digits')")
    )
    import sys

    sys.modules.pop("mine_for_compute")
    assert cli.json("compute", *arguments)[0]["train_pairs"] == 2


def test_train_reports_what_a_list_left_out_and_its_unknown_ids(cli, project):
    cli("compute", "--frequency", "500hz")
    with (project / "checkpoints" / "plastic_500hz" / "pairs.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "train"]
    pair = f"{rows[0]['id1']}_{rows[0]['id2']}"
    item = rows[-1]["id1"]
    (project / "list.txt").write_text(f"\ufeff# mine\r\n{pair}\r\n{item}\r\nnonsense")
    result = cli("train", "--frequency", "500hz", "--exclusions-file", "list.txt", "--json")
    assert result.code == 0, result.err
    (answer,) = json.loads(result.out)
    assert answer["left_out_pairs"] == [pair]
    assert answer["left_out_items"] == [item]
    assert answer["unknown_ids"] == ["nonsense"]
    assert "nonsense" in result.err
    kept = [row for row in rows if item not in (row["id1"], row["id2"]) and (row["id1"], row["id2"]) != (pair, "")]
    assert answer["train_pairs"] <= len(kept)
    assert answer["output_dir"] == str(project / "checkpoints" / "retrained" / "plastic_500hz")
    assert (project / "checkpoints" / "plastic_500hz" / "model_epoch_2.pt").exists(), (
        "the checkpoints behind the scores are kept"
    )


@pytest.mark.parametrize("mode", ["ranking_pair", "full_pair", "sample"])
def test_training_reads_a_list_of_each_mode(cli, project, mode):
    cli("compute", "--frequency", "500hz")
    cli("exclude", "--frequency", "500hz", "--pair-mode", mode, "--max-exclusions", "2", "--min-occurrences", "1")
    listed = "exclusions/plastic_500hz_excluded_pairs.txt"
    (answer,) = cli.json("train", "--frequency", "500hz", "--exclusions-file", listed)
    assert answer["unknown_ids"] == []
    assert bool(answer["left_out_pairs"]) == (mode == "ranking_pair")
    assert bool(answer["left_out_items"]) <= (mode != "ranking_pair")


def test_a_retrained_ranker_can_be_computed(cli, project):
    (project / "list.txt").write_text("")
    cli("train", "--frequency", "500hz", "--exclusions-file", "list.txt")
    result = cli("compute", "--frequency", "500hz", "--checkpoint-dir", "checkpoints/retrained", "--json")
    assert result.code == 0, result.err


def test_every_command_line_of_the_old_scripts_works(cli, project):
    """The users' old command lines, with only the command's name changed."""
    place = "--frequency 500hz --material plastic"
    scores, listed = "metadata/plastic_500hz_influence_metadata.json", "lists/plastic_500hz_excluded_pairs.txt"
    for line in (
        f"compute {place}",
        f"exclude --metadata-file {scores}",
        f"compute {place} --checkpoint-dir checkpoints --compute-influence --num-test-samples 5",
        f"sweep --metadata-file {scores} --thresholds -5.0,-10.0,-15.0",
        f"exclude --metadata-file {scores} --output-file {listed} --threshold -5.0 --pair-mode ranking_pair",
        f"train {place} --exclusions-file {listed}",
        "workflow --frequencies 500hz,1000hz --threshold -5.0 --pair-mode ranking_pair",
        "workflow --help",
    ):
        result = cli(*line.split())
        assert result.code == 0, (line, result.err)
    assert (project / listed).exists()


@needs_reference
def test_compute_runs_on_the_users_own_folder(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = ("--data-root", PROJECT / "data", "--checkpoint-dir", PROJECT / "checkpoints")
    (answer,) = cli.json("compute", *places, "--pairs-file", PROJECT / "pairs.csv")
    assert [entry["name"] for entry in answer["checkpoints"]] == [f"model_epoch_{n}.pt" for n in (5, 10, 15, 20)]
    assert answer["gradients_computed"] == 4 * 53


@pytest.mark.parametrize(
    ("text", "size"), [("4GiB", 4 << 30), ("500 MB", 500_000_000), ("2g", 2 << 30), ("1000", 1000), ("1.5k", 1536)]
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "GiB", "4 apples"])
def test_text_that_is_no_size_is_refused(text):
    with pytest.raises(UsageError):
        parse_size(text)


def test_a_draw_of_test_pairs_is_reproducible():
    from tracinctl.data.pairs import Pairs, RankingData, Samples
    from tracinctl.project.settings import ComputeSettings
    from tracinctl.project.sources import choose_test_pairs

    ids = [f"i{k}" for k in range(30)]
    pairs = Pairs(np.arange(29), np.arange(1, 30), np.ones(29, dtype=int))
    data = RankingData(Samples(ids, np.zeros((30, 1))), pairs, Samples(ids, np.zeros((30, 1))), pairs)
    first = choose_test_pairs(data, ComputeSettings(num_test_samples=5))
    assert len(set(first.tolist())) == 5
    assert first.tolist() == choose_test_pairs(data, ComputeSettings(num_test_samples=5)).tolist()
    with pytest.raises(UsageError):
        choose_test_pairs(data, ComputeSettings(test_pairs=("nobody",)))
    with pytest.raises(UsageError):
        choose_test_pairs(data, ComputeSettings(test_pairs=("i0_i1",), num_test_samples=1))
