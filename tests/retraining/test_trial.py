"""The arms of a retraining: what each trains on and sees, what is kept, and what is reported."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import oracle
import pytest
import torch
from places import HELPERS, ROOT

from tests.retraining.test_interrupt import alive, children
from tracinctl import Pairs, RankingData, Samples
from tracinctl.errors import ProcessLostError, TrainingError
from tracinctl.project.config import load_project, load_settings
from tracinctl.project.target import Target
from tracinctl.retraining.builtin_trainer import RankerTrainer
from tracinctl.retraining.choice import Choice, Gain
from tracinctl.retraining.judging import divide_held_out
from tracinctl.retraining.runs import run_trainings
from tracinctl.retraining.trainer import Recipe, Trained, Training
from tracinctl.retraining.trial import (
    ADDED,
    CAPPED,
    EVERYTHING,
    RANDOM,
    TRUTH,
    WITHOUT,
    RetrainSettings,
    as_many_at_random,
    retrain,
)
from tracinctl.retraining.wording import action_words, arm_rows, difference_rows, verdict_words
from tracinctl.training.options import TrainSettings


def spectrograms(labels, seed):
    """Items whose rank shows, more or less, in how their energy lies over the rows."""
    random = np.random.default_rng(seed)
    rows = np.linspace(0, 1, 9)[:, None]
    return torch.from_numpy(
        np.stack([rows * (rank - 1.5) + random.normal(size=(9, 8)) for rank in labels])[:, None].astype(np.float32)
    )


def ranking_data(train=16, test=24):
    labels = [(np.arange(count) % 4).astype(float) for count in (train, test)]
    parts = []
    for name, values in zip(("t", "h"), labels, strict=True):
        first, second = np.triu_indices(len(values), 1)
        first, second = (side[values[first] != values[second]] for side in (first, second))
        pairs = Pairs(first, second, np.sign(values[first] - values[second]).astype(int))
        parts += [Samples([f"{name}{k}" for k in range(len(values))], spectrograms(values, len(values)), values), pairs]
    return RankingData(*parts)


DATA = ranking_data()
DIVISION = divide_held_out(DATA, 0)
QUICK = TrainSettings(epochs=2, batch_size=32)
LISTED = DATA.train_pairs.row_ids(DATA.train.ids)[:20]


@dataclasses.dataclass(frozen=True)
class Pretended:
    """A trainer without training: scores are the true rank plus noise, and ``harm`` more if nothing is left out."""

    harm: float = 0.0
    plain: bool = False
    log: list = dataclasses.field(default_factory=list)

    def key(self, training):
        return hashlib.sha256(repr((training.seed, training.exclusions)).encode()).hexdigest()[:16]

    together = 1
    needs_process = False
    data_digest = "pretended"

    def train(self, trainings, report):
        report(1, 1)
        return [self.train_one(training) for training in trainings]

    def train_one(self, training):
        self.log.append(training)
        random = np.random.default_rng([training.seed, len(training.exclusions)])
        bad = self.harm if set(training.exclusions) != set(LISTED) else 0.0
        place = {name: k for k, name in enumerate(DATA.test.ids)}
        if self.plain:
            return Trained({}, accuracy=0.8 + 0.01 * random.random() - 0.1 * bad, loss=0.5)
        scores = {name: (place[name] % 4 + random.normal() * (0.4 + bad),) for name in DIVISION.judging}
        return Trained(scores, train_pairs=7)


def judged(trainer, folder, **more):
    return retrain(trainer, DATA, DIVISION, LISTED, RetrainSettings(**more), folder, truth=LISTED[:9])


def test_every_arm_trains_with_the_same_seeds_and_its_own_list(tmp_path):
    trainer = Pretended()
    result = judged(trainer, tmp_path / "kept", repeats=3, seed=42)
    assert [arm.name for arm in result.arms] == [EVERYTHING, WITHOUT, RANDOM, TRUTH]
    by_arm = {name: [each for each in trainer.log if each.arm == name] for name in (EVERYTHING, WITHOUT, RANDOM, TRUTH)}
    assert all([each.seed for each in of] == [43, 44, 45] for of in by_arm.values())
    assert {each.exclusions for each in by_arm[EVERYTHING]} == {()}
    assert {each.exclusions for each in by_arm[WITHOUT]} == {tuple(LISTED)}
    assert len({each.exclusions for each in by_arm[RANDOM]}) == 3, "drawn anew each time"
    assert {set(each.exclusions) == set(LISTED[:9]) for each in by_arm[TRUTH]} == {True}


def test_a_list_that_helps_and_one_that_hurts_are_told(tmp_path):
    good = judged(Pretended(harm=3.0), tmp_path / "good")
    assert good.judgement.verdict == "helped"
    assert "better than leaving out as many at random" in verdict_words(good)
    assert good.comparisons[0].accuracy.low > 0 > good.comparisons[0].loss.high
    bad = judged(Pretended(harm=-0.4), tmp_path / "same")
    assert bad.judgement.verdict != "helped"


def test_the_numbers_are_those_of_the_judging_pairs(tmp_path):
    trainer = Pretended(harm=1.0)
    result = judged(trainer, tmp_path / "kept", repeats=2)
    place = {name: k for k, name in enumerate(DATA.test.ids)}
    rows = [
        (i, j, y)
        for i, j, y in oracle.rows(DATA.test_pairs)
        if {DATA.test.ids[i], DATA.test.ids[j]} <= set(DIVISION.judging)
    ]
    assert result.judging_pairs == len(rows)
    for arm in result.arms[:2]:
        for repeat, seed in enumerate(result.seeds):
            training = next(each for each in trainer.log if (each.arm, each.seed) == (arm.name, seed))
            scores = {place[k]: v for k, (v,) in trainer.train_one(training).scores.items()}
            margins = np.array([y * (scores[i] - scores[j]) for i, j, y in rows])
            assert arm.accuracy[repeat] == pytest.approx((margins > 0).mean())
            assert arm.loss[repeat] == pytest.approx(np.maximum(0, 1 - margins).mean())
    gain = result.arms[1].accuracy - result.arms[0].accuracy
    assert result.comparisons[0].accuracy.mean == pytest.approx(gain.mean())


def test_numbers_without_items_are_compared_over_seeds(tmp_path):
    result = judged(Pretended(harm=1.0, plain=True), tmp_path / "kept")
    assert result.comparisons[0].accuracy.item_standard_error == 0
    assert result.judgement.verdict == "helped"


def test_an_empty_list_has_nothing_to_judge(tmp_path):
    trainer = Pretended()
    result = retrain(trainer, DATA, DIVISION, [], RetrainSettings(), tmp_path / "kept")
    assert (result.judgement.verdict, trainer.log) == ("cannot tell", [])
    assert "the list is empty" in verdict_words(result)


def test_a_chosen_loss_is_judged_in_the_place_of_a_list(tmp_path):
    class Capped(Pretended):
        def key(self, training):
            return f"{super().key(training)}-{training.loss}"

        def train_one(self, training):
            robust = dataclasses.replace(self, harm=0.0 if training.loss == "capped" else 3.0)
            return Pretended.train_one(robust, training)

    trainer, recipe = Capped(), Recipe(loss="capped")
    result = retrain(trainer, DATA, DIVISION, [], RetrainSettings(), tmp_path / "kept", recipe=recipe, rivals=True)
    assert [arm.name for arm in result.arms] == [EVERYTHING, ADDED, CAPPED]
    assert {each.loss for each in trainer.log if each.arm != CAPPED} == {None}
    assert [(one.arm, one.less) for one in result.comparisons] == [(CAPPED, EVERYTHING), (CAPPED, ADDED)]
    assert verdict_words(result).startswith("helped: +")
    assert "with the capped loss" in verdict_words(result)
    gain = Gain(CAPPED, 0, 0.1, 0.0, recipe, final=True)
    chosen = dataclasses.replace(result, choice=Choice([gain], gain, (), Recipe()))
    words = action_words(chosen)
    assert words.startswith("Leave nothing out; use the capped loss and train to the end: +")


def test_the_tables_fit_eighty_columns_and_their_json_is_whole(tmp_path, capsys):
    from tracinctl.cli.output.retraining import show_verdicts
    from tracinctl.project.workflow import Run

    result = judged(Pretended(harm=3.0), tmp_path / "kept")
    project = load_project(load_settings(None))
    show_verdicts(
        [
            Run(Target(project, "plastic", "1000hz"), "done", retraining=result),
            Run(Target(project, "plastic", "500hz"), "failed"),
        ]
    )
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "Helped: +" in shown
    assert f"{len(DIVISION.judging)} judge" in " ".join(shown.split())
    assert len(arm_rows(result)) == 4
    assert len(difference_rows(result)) == 3
    content = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert content["verdict"] == "helped"
    assert len(content["arms"][0]["accuracy"]["repeats"]) == 5
    assert set(content["division"]["scoring"]).isdisjoint(content["division"]["judging"])


def test_as_many_at_random_are_of_the_same_kind_with_their_mirror_images():
    first = np.array([0, 1, 2, 1, 3, 0])
    second = np.array([1, 0, 3, 2, 4, 1])
    data = RankingData(
        Samples(list("abcde"), torch.zeros(5, 1)),
        Pairs(first, second, np.array([1, -1, 1, 1, 1, 1])),
        Samples(["z"], torch.zeros(1, 1)),
        Pairs(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int)),
    )
    draws = [as_many_at_random(data, ["a_b", "b_a"], seed) for seed in range(40)]
    assert set(draws) == {("a_b", "b_a", "a_b#2"), ("c_d",), ("b_c",), ("d_e",)}, (
        "one comparison, in both directions, with its repeat"
    )
    assert {len(as_many_at_random(data, ["a", "d"], seed)) for seed in range(9)} == {2}
    assert set().union(*(as_many_at_random(data, ["a", "d"], seed) for seed in range(40))) == set("abcde")
    assert as_many_at_random(data, ["unknown"], 0) == ()


# The built-in ranker as an arm


def test_judging_items_have_no_part_in_training():
    """Other judging items with other ranks: the same ranker; the scoring pairs steer the learning rate as they do."""
    place = {name: k for k, name in enumerate(DATA.test.ids)}
    others = DATA.test.inputs.clone()
    others[[place[name] for name in DIVISION.judging]] = torch.randn(len(DIVISION.judging), 1, 9, 8) * 100
    target = DATA.test_pairs.target.copy()
    target[DIVISION.rows(DATA, "judging")] *= -1
    changed = RankingData(
        DATA.train,
        DATA.train_pairs,
        Samples(DATA.test.ids, others, DATA.test.labels),
        Pairs(DATA.test_pairs.first, DATA.test_pairs.second, target),
    )
    settings = dataclasses.replace(QUICK, patience=0, epochs=4)
    plan = [Training("all", 1, 5, ()), Training("more", 1, 5, (), added=True)]
    one, two = (RankerTrainer(data, DIVISION, settings).train(plan, lambda *_: None) for data in (DATA, changed))
    for name in DIVISION.scoring:
        assert [trained.scores[name] for trained in one] == [trained.scores[name] for trained in two]
    assert any(one[0].scores[name] != two[0].scores[name] for name in DIVISION.judging)
    assert one[0].scores != one[1].scores


@pytest.mark.parametrize(
    "change",
    [
        {"settings": dataclasses.replace(QUICK, epochs=3)},
        {"data": ranking_data(train=18)},
        {"division": divide_held_out(DATA, 1)},
    ],
)
def test_a_kept_result_is_of_its_settings_data_and_division(change):
    base = {"data": DATA, "division": DIVISION, "settings": QUICK}
    training = Training("x", 1, 5, ("t0_t1",))
    key = RankerTrainer(**base).key(training)
    assert RankerTrainer(**base).key(dataclasses.replace(training, arm="y", repeat=2)) == key
    assert RankerTrainer(**{**base, **change}).key(training) != key
    assert RankerTrainer(**base).key(dataclasses.replace(training, seed=6)) != key
    assert RankerTrainer(**base).key(dataclasses.replace(training, exclusions=())) != key
    assert RankerTrainer(**base).key(dataclasses.replace(training, loss="capped")) != key


def test_a_training_under_its_own_loss_is_that_of_a_trainer_under_it():
    plan = [Training("all", 1, 5, ()), Training("capped", 1, 5, (), loss="capped")]
    both = RankerTrainer(DATA, DIVISION, QUICK).train(plan, lambda *_: None)
    capped = RankerTrainer(DATA, DIVISION, dataclasses.replace(QUICK, loss_type="capped"))
    [alone] = capped.train(plan[:1], lambda *_: None)
    assert both[1].scores == alone.scores != both[0].scores


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_trainings_on_a_card_rank_as_on_the_cpu():
    plan = [Training("all", 1, 5, ()), Training("some", 1, 6, ("t0_t1",))]
    on_card, on_cpu = (RankerTrainer(DATA, DIVISION, QUICK, device) for device in ("cuda", "cpu"))
    assert on_card.together > 1, "one call trains many"
    pairs = zip(*(trainer.train(plan, lambda *_: None) for trainer in (on_card, on_cpu)), strict=True)
    for card, cpu in pairs:
        for name in DATA.test.ids:
            assert card.scores[name] == pytest.approx(cpu.scores[name], rel=1e-3, abs=1e-3)


def test_a_training_that_stops_early_is_the_beginning_of_a_longer_one():
    trainer = RankerTrainer(DATA, DIVISION, dataclasses.replace(QUICK, epochs=4))
    plan = [Training("all", 1, 5, (), stop=stop) for stop in (0, 2)]
    whole, short = trainer.train(plan, lambda *_: None)
    assert (whole.stops, short.stops) == ((1, 2, 3, 4), (1, 2))
    assert all(short.scores[name] == whole.scores[name][:2] for name in DATA.test.ids)
    assert trainer.key(plan[0]) != trainer.key(plan[1])


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.json"))}


PLAN = [Training(arm, 1, 5, tuple(left)) for arm, left in (("all", ()), ("some", LISTED), ("few", LISTED[:4]))]


def test_several_processes_give_the_bytes_of_one(tmp_path):
    trainer = RankerTrainer(DATA, DIVISION, QUICK)
    reports = []
    one = run_trainings(trainer, PLAN, tmp_path / "1" / "kept", at_once=1, progress=reports.append)
    two = run_trainings(trainer, PLAN, tmp_path / "2" / "kept", at_once=2, progress=reports.append)
    assert one == two
    assert files(tmp_path / "1" / "kept") == files(tmp_path / "2" / "kept")
    assert (reports[-1].done, reports[-1].total, reports[-1].unit) == (3, 3, "trainings")
    assert (tmp_path / "1" / ".gitignore").read_text() == "*\n"


def test_the_same_training_is_done_once_and_a_broken_file_is_made_again(tmp_path):
    trainer = Pretended()
    run_trainings(trainer, [*PLAN, *PLAN], tmp_path / "kept", at_once=1, progress=lambda _: None)
    assert len(trainer.log) == 3
    whole = files(tmp_path / "kept")
    (tmp_path / "kept" / next(iter(whole))).write_text("{")
    run_trainings(trainer, PLAN, tmp_path / "kept", at_once=1, progress=lambda _: None)
    assert len(trainer.log) == 4
    assert files(tmp_path / "kept") == whole


def test_a_training_that_fails_in_another_process_is_an_error_and_the_others_are_kept(tmp_path):
    trainer = RankerTrainer(DATA, DIVISION, dataclasses.replace(QUICK, learning_rate=1e30))
    with pytest.raises(TrainingError, match="diverged"):
        run_trainings(trainer, PLAN, tmp_path / "kept", at_once=2, progress=lambda _: None)


class DiesWhenItIsRead(Pretended):
    """A trainer that ends each process that it is sent to, at its start, and is too large for a pipe."""

    def __init__(self):
        super().__init__()
        object.__setattr__(self, "ballast", bytes(1 << 20))

    def __reduce__(self):
        return (os._exit, (3,), None, iter([self.ballast]))


@pytest.mark.parametrize("at_once", [2, 3])
def test_processes_that_die_at_their_start_are_one_error_and_no_wait(tmp_path, at_once):
    before = children(os.getpid())
    with pytest.raises(ProcessLostError, match="was ended from outside") as error:
        run_trainings(DiesWhenItIsRead(), PLAN, tmp_path / "kept", at_once=at_once, progress=lambda _: None)
    assert "`at_once` 1" in error.value.hint
    assert files(tmp_path / "kept") == {}
    assert not [pid for pid in children(os.getpid()) if pid not in before and alive(pid)]


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
import tests.retraining.test_trial as t
if __name__ == "__main__":
    trainer = t.RankerTrainer(t.DATA, t.DIVISION, t.dataclasses.replace(t.QUICK, epochs=5))
    t.run_trainings(trainer, t.PLAN, Path("kept"), at_once={at_once}, progress=lambda p: print(p.done, flush=True))
"""


@pytest.mark.skipif(os.name != "posix", reason="a signal that nothing can catch")
def test_killed_it_goes_on_to_the_same_bytes_and_leaves_no_process(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(root=str(ROOT), at_once=2))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HELPERS)}
    process = subprocess.Popen(
        [sys.executable, script], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment
    )
    for line in process.stdout:
        if line.strip() == "1":
            break
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    # a hidden file is one that was being written; the next run clears it, as the comparison below checks
    kept = {name: content for name, content in files(tmp_path / "kept").items() if not name.startswith(".")}
    assert 1 <= len(kept) <= 3
    deadline = time.monotonic() + 60
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, workers))
    trainer = RankerTrainer(DATA, DIVISION, dataclasses.replace(QUICK, epochs=5))
    run_trainings(trainer, PLAN, tmp_path / "kept", at_once=1, progress=lambda _: None)
    run_trainings(trainer, PLAN, tmp_path / "untouched" / "kept", at_once=1, progress=lambda _: None)
    assert files(tmp_path / "kept") == files(tmp_path / "untouched" / "kept")
    assert kept.items() <= files(tmp_path / "kept").items()
