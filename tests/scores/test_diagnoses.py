"""Diagnoses: each one where it applies, once, and nowhere else."""

import json
import shutil

import numpy as np
import pytest
import torch
from command_line import CommandLine, write_score_file
from score_tables import table

from tracinctl.scores.diagnoses import diagnose, diagnose_scores
from tracinctl.scores.exclusion import choose_exclusions
from tracinctl.scores.options import Rule
from tracinctl.scores.pair_ids import class_of_items
from tracinctl.scores.sweep import sweep_thresholds
from tracinctl.scores.votes import parse_thresholds
from tracinctl.text import number

RANDOM = np.random.default_rng(0)


def noise(rows=40, columns=30):
    """Scores without a diagnosis."""
    return np.random.default_rng(1).normal(0, 10, (rows, columns))


def of_sweep(scores, thresholds="0", rule="60%", **more):
    source = scores if hasattr(scores, "blocks") else table(scores)
    found = diagnose(source, sweep_thresholds(source, parse_thresholds(thresholds), rule, **more))
    return {diagnosis.code: diagnosis for diagnosis in found}


def of_list(scores, threshold="0", rule="60%", **more):
    source = scores if hasattr(scores, "blocks") else table(scores)
    chosen = choose_exclusions(source, Rule(threshold=threshold, min_occurrences=rule, **more))
    found = diagnose(source, chosen)
    assert len({diagnosis.code for diagnosis in found}) == len(found), "each diagnosis occurs once"
    return {diagnosis.code: diagnosis for diagnosis in found}


def test_good_scores_have_no_diagnosis():
    assert of_sweep(noise(), "0,-5") == {}
    assert of_list(noise()) == {}


@pytest.mark.parametrize(("active", "said"), [(19, True), (20, False)])
def test_few_active_test_pairs(active, said):
    scores = noise(columns=60)
    scores[:, active:] = 0
    found = of_sweep(scores)
    assert ("few-active" in found) is said
    if said:
        assert "only 19 of 60 test pairs are active (the other 41" in found["few-active"].text
        assert "a larger margin" in found["few-active"].hint


def test_few_test_pairs_suggest_more_of_them():
    found = of_sweep(noise(columns=5))["few-active"]
    assert "there are only 5 test pairs" in found.text
    assert "tracinctl compute uses all" in found.hint


@pytest.mark.parametrize(("columns", "hint"), [(19, "tracinctl compute uses all"), (20, "a larger margin")])
def test_more_test_pairs_are_suggested_if_even_all_would_be_few(columns, hint):
    scores = noise(columns=columns)
    scores[:, 5:] = 0
    assert hint in of_sweep(scores)["few-active"].hint


def test_a_rule_that_can_never_fire_names_one_that_can():
    scores = noise()
    scores[:, 25:] = 0
    found = of_list(scores, rule="26")
    assert "needs 26 votes, but only 25 of 30 test pairs are active" in found["never-fires"].text
    assert "nothing-harmful" not in found, "one reason is enough"
    assert "never-fires" not in of_list(scores, rule="25")
    assert "every score is zero" in of_sweep(np.zeros((3, 3)))["never-fires"].text


def test_a_rule_that_finds_nothing_names_the_nearest_that_does():
    scores = np.full((10, 30), 1.0)
    scores[3, :7] = scores[5, 5:12] = -2
    found = of_sweep(scores, "0,-1")["nothing-harmful"]
    assert "needs 18 votes" in found.text
    assert "no training pair has more than 7, which 2 pairs have below 0" in found.text
    assert "`min_occurrences` 7" in found.hint
    assert of_list(scores, rule="7").keys() == {"helps-on-average"}, "the suggested rule finds them"
    assert "the list is empty" in of_list(scores)["empty-list"].text


def test_a_test_pair_that_gives_most_of_the_votes_is_named():
    scores = np.abs(noise())
    scores[:20, 4] = -100
    scores[20:30, 9] = -100
    found = of_sweep(scores, "-50")["one-voter"]
    assert "a single test pair gives 67% of all votes below -50" in found.text
    assert "tracinctl plot top --test-pair m_4_m_904" in found.hint
    scores[20:40, 9] = -100
    assert "one-voter" not in of_sweep(scores, "-50"), "half is not most"


def test_thresholds_out_of_the_range_of_the_scores():
    scores = noise()
    low = scores.min()
    assert (
        f"no score is below -1000; the lowest is {number(low)}" in of_sweep(scores, "0,-1000")["threshold-too-low"].text
    )
    assert "no score is negative" in of_list(np.abs(scores))["no-harm"].text
    assert "threshold-too-low" not in of_list(np.abs(scores))
    assert "every score is below 0" in of_list(-np.abs(scores) - 1)["threshold-too-high"].text
    found = of_sweep(scores, upper_threshold=1000.0)["upper-threshold-too-high"]
    assert "no score is above the upper threshold 1000" in found.text


def test_a_list_of_pairs_that_help_on_average_is_diagnosed():
    scores = np.abs(noise()) + 10
    scores[:8, :3] = -5
    assert "helps-on-average" not in of_list(np.where(np.arange(40)[:, None] < 8, -scores, scores), rule="3")
    found = of_list(scores, rule="3")["helps-on-average"]
    assert "8 of 8 harmful pairs" in found.text
    assert "3 or more test pairs" in found.text


def test_a_cap_that_cuts_gives_the_number():
    scores = np.abs(noise())
    scores[:6] *= -1
    assert "cap-cut" not in of_list(scores, max_exclusions=6)
    assert "the cap of 2 left 4 harmful pairs off" in of_list(scores, max_exclusions=2)["cap-cut"].text


def in_classes(harmful):
    """Three classes of four items, every pair between classes once; ``harmful`` selects the harmful pairs."""
    items = [f"box_deg{angle:03}_1hz_{take}" for angle in (0, 36, 72) for take in range(4)]
    pairs = [(a, b) for k, a in enumerate(items) for b in items[k + 1 :] if a[:10] != b[:10]]
    sign = np.array([-1.0 if harmful(a, b) else 1.0 for a, b in pairs])
    scores = np.random.default_rng(2).uniform(1, 2, (len(pairs), 30)) * sign[:, None]
    return table(scores, train_items=pairs)


def test_an_item_that_loses_its_pairs_is_named():
    found = of_list(in_classes(lambda a, b: "box_deg036_1hz_2" in (a, b)))
    assert "leaves 1 item (nearly) without training pairs: box_deg036_1hz_2" in found["items-emptied"].text
    assert "`pair_mode` sample" in found["items-emptied"].hint
    assert "classes-emptied" not in found


def test_a_class_that_loses_its_pairs_is_named():
    found = of_list(in_classes(lambda a, b: "box_deg036" in a + b))
    assert "leaves class deg036 (nearly) empty" in found["classes-emptied"].text
    assert "items-emptied" not in found, "only its class is named"
    assert "leaves out 67% of the training pairs" in found["takes-most"].text
    assert "classes-emptied" not in of_list(in_classes(lambda a, b: True)), "taking nearly all pairs is reported once"
    whole = of_list(in_classes(lambda a, b: (a[:10], b[-3:-1]) == ("box_deg000", "z_")), mode="full_pair")
    assert "items-emptied" not in whole, "an item on the list is not called emptied"


def checkpoints(**of_second):
    first = {"name": "model_epoch_5.pt", "learning_rate": 0.1, "gradient_zero": False}
    return {"checkpoints": [first, {**first, "name": "model_epoch_10.pt", **of_second}]}


def test_classes_are_read_from_ids_without_an_angle():
    items = [f"cat{k // 2}_take{k}" for k in range(6)]  # two items of each
    assert class_of_items(items) == {item: item[:4] for item in items}
    assert class_of_items(items[::2]) == {}, "a token that differs for each item is not a class"


def test_checkpoints_without_gradients_or_learning_rates_are_named():
    found = of_sweep(table(noise(), provenance=checkpoints(gradient_zero=True)))
    assert "1 of 2 checkpoints add nothing" in found["zero-gradient"].text
    assert "model_epoch_10.pt" in found["zero-gradient"].text
    found = of_sweep(table(noise(), provenance=checkpoints(learning_rate=None)))
    assert "the learning rate of 1 of 2 checkpoints is unknown (model_epoch_10.pt)" in found["no-learning-rate"].text
    uniform = {**checkpoints(learning_rate=None), "checkpoint_weights": "uniform"}
    assert of_sweep(table(noise(), provenance=uniform)) == {}, "equal weights need no learning rates"
    assert of_sweep(table(noise(), provenance=checkpoints())) == {}


def test_diagnoses_of_the_scores_alone():
    def codes(*about):
        return [diagnosis.code for diagnosis in diagnose_scores(*about)]

    assert codes(30, 25, checkpoints()) == []
    assert codes(30, 19, checkpoints()) == codes(5, 5, {}) == ["few-active"]
    assert codes(30, 0, checkpoints(gradient_zero=True)) == ["none-active", "zero-gradient"]
    assert codes(30, 25, checkpoints(learning_rate=None)) == ["no-learning-rate"]


def test_mirror_images_with_different_scores_are_diagnosed():
    scores = noise(rows=2)
    both = [("m_1", "m_2"), ("m_2", "m_1")]
    found = of_sweep(table(scores, train_items=both))["mirror-images-differ"]
    assert "1 of 1 mirror images" in found.text
    furthest = abs(scores.mean(axis=1)[0] - scores.mean(axis=1)[1])
    assert f"by up to {furthest:.4g}" in found.text
    for size in (1e-3, 1.0, 1e6):
        scores[1] = scores[0] * (1 + 1e-6)  # rounding, whatever the scale
        assert "mirror-images-differ" not in of_sweep(table(size * scores, train_items=both))


def test_mode_sample_has_no_diagnoses_of_votes():
    items = [(f"m_{k}", f"m_{k + 1}") for k in range(10)]
    source = table(
        np.abs(noise(rows=10, columns=3)),
        train_items=items,
        sample_ids=[f"m_{k}" for k in range(11)],
        sample_influence=np.array([1.0, 1.1, 0.9, 1.2, 0.8, 1.0, 1.1, 0.9, 1.2, 50.0, 60.0]),
    )
    found = of_list(source, mode="sample", max_exclusions=1)
    assert set(found) == {"cap-cut"}
    assert "left 1 suspicious item off" in found["cap-cut"].text


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scores = np.ones((10, 30))
    scores[3, :7] = -2
    write_score_file(tmp_path / "metadata" / "box_1hz_influence_metadata.json", scores)
    return CommandLine(capsys)


@pytest.mark.parametrize(
    "arguments",
    [["sweep", "--json"], ["exclude", "--dry-run", "--csv"], ["workflow"], ["workflow", "--json"], ["plot"]],
)
def test_every_command_that_shows_votes_prints_a_diagnosis_once_on_stderr(cli, arguments):
    result = cli(*arguments)
    assert result.code == 0, result.err
    assert " ".join(result.err.split()).count("the rule needs 18 votes") == 1
    if "--json" in arguments:
        (warnings,) = (result_of_file["warnings"] for result_of_file in json.loads(result.out))
        assert sum("the rule needs 18 votes" in text for text in warnings) == 1
    else:
        assert "the rule needs 18 votes" not in result.out
    assert "warning: box 1hz: " in result.err
    assert cli("-q", *arguments).err == ""


@pytest.mark.parametrize("arguments", [["sweep"], ["exclude"], ["workflow"], ["plot"]])
def test_one_diagnosis_of_several_files_is_one_warning(cli, arguments, tmp_path):
    scores = np.ones((10, 5))
    scores[3, :2] = -2
    write_score_file(tmp_path / "metadata" / "box_1hz_influence_metadata.json", scores)
    scores[:, 3:] = 0
    write_score_file(tmp_path / "metadata" / "box_2hz_influence_metadata.json", scores)
    result = cli(*arguments)
    assert result.code == 0, result.err
    lines = result.err.splitlines()
    few = next(k for k, line in enumerate(lines) if line == "warning: box 1hz: there are only 5 test pairs")
    assert lines[few + 1].strip().startswith("box 2hz: only 3 of 5 test pairs are active")
    assert lines[few + 2].strip() == "With so few votes, the order of training pairs is unreliable."
    assert lines[few + 3].startswith("  Hold out more pairs")
    assert result.err.count("the order of training pairs is unreliable") == result.err.count("Hold out more pairs") == 1


def test_a_view_without_votes_has_no_diagnoses_of_votes(cli):
    assert cli("plot", "top").err == ""


def without_rates(folder):
    """The first checkpoint of each frequency without its optimizer."""
    for path in folder.glob("checkpoints/*/model_epoch_1.pt"):
        state = torch.load(path)
        del state["optimizer_state_dict"]
        torch.save(state, path)


@pytest.mark.parametrize("command", [["compute"], ["workflow"], ["compute", "--json"], ["workflow", "--json"]])
def test_missing_learning_rates_are_reported_once(trained, tmp_path, monkeypatch, capsys, command):
    folder = tmp_path / "project"
    shutil.copytree(trained, folder)
    without_rates(folder)
    monkeypatch.chdir(folder)
    result = CommandLine(capsys)(*command, "--num-test-samples", "5")
    assert result.code == 0, result.err
    for of in ("plastic 500hz", "plastic 1000hz"):
        assert result.err.count(f"{of}: the learning rate of 1 of 2 checkpoints is unknown (model_epoch_1.pt)") == 1
    assert result.err.count("learning rate") == 2
    assert result.err.count("the order of training pairs is unreliable") == 1
    (folder / "flat_loss.py").write_text("def flat(first, second, target):\n    return 0 * (first - second)\n")
    quiet = CommandLine(capsys)(*command, "--checkpoint-weights", "uniform", "--loss-type", "flat_loss:flat")
    assert "learning rate" not in quiet.err
    assert quiet.err.count("2 of 2 checkpoints (all of them) add nothing") == 2
