"""A short week of commands: after each one, ``status`` fits the files. ``week.py`` is the long form."""

from __future__ import annotations

import json

from week import NAME, ONE, WEEK, Files, differences, without_an_id

LOOKS = ("status", "sweep", "plot", "explain")
STEPS = [step for step in WEEK if not step.interrupt and step.command[:1] not in ([name] for name in LOOKS)]


def status(cli):
    return json.loads(cli("status", *ONE, "--json").out)[0]


def test_status_is_true_after_each_command_of_a_week(project, cli):
    assert len(STEPS) > 20
    assert sum(step.by_hand is None for step in WEEK) >= 40
    files, seen = Files(project), set()
    for number, step in enumerate(STEPS):
        if step.by_hand is without_an_id:
            files.edited(1, step.by_hand)
        elif step.by_hand is not None:
            step.by_hand(project)
        else:
            result = cli(*step.command)
            assert result.code == step.code, (step, result.err)
        assert differences(files, status(cli)) == [], (number, step)
        seen |= {kind for number in (1, 2, 3) for kind in files.truth(number)["stale"]}
    assert seen == {"checkpoints", "scores", "list"}, "the week contains everything that can be out of date"


def test_a_false_status_is_found(project, cli):
    files = Files(project)
    said = status(cli)
    assert differences(files, said) == []
    (project / "checkpoints" / NAME / "model_epoch_1.pt").unlink()
    assert differences(files, said) == ["round 1, checkpoints: said 2, true 1"]
