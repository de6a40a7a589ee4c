"""The library reports progress to its callback and prints nothing."""

from __future__ import annotations

from small_models import make_checkpoints, make_data
from torch import nn

from tracinctl import compute_influence


def test_checkpoints_and_items_are_reported_to_the_callback_only(tmp_path, capfd):
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
    data = make_data((6,))
    paths = make_checkpoints(model, tmp_path, rates=(0.3, 0.1))
    for note in ("computed", "taken from the cache"):
        reports = []
        compute_influence(data, model, paths, cache=tmp_path / "cache", progress=reports.append)
        assert {(p.total, p.unit, p.inner_total, p.inner_unit) for p in reports} == {(2, "checkpoints", 10, "items")}
        assert [p.name for p in reports if p.note] == [path.name for path in paths]
        assert [(p.done, p.inner_done, p.note) for p in reports if p.note] == [(1, 10, note), (2, 10, note)]
        # the count never falls, so that a rate can be computed from it
        steps = [(p.done * 10 + (0 if p.note else p.inner_done)) for p in reports]
        assert steps == sorted(steps)
    assert capfd.readouterr() == ("", "")
