"""What the library tells its caller while it works, and that it tells nobody else."""

from __future__ import annotations

from small_models import make_checkpoints, make_data
from torch import nn

from tracinctl import compute_influence


def test_every_checkpoint_and_every_item_is_reported_to_the_caller_alone(tmp_path, capfd):
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
    data = make_data((6,))
    paths = make_checkpoints(model, tmp_path, rates=(0.3, 0.1))
    for note in ("computed", "taken from the cache"):
        told = []
        compute_influence(data, model, paths, cache=tmp_path / "cache", progress=told.append)
        assert {(p.total, p.unit, p.inner_total, p.inner_unit) for p in told} == {(2, "checkpoints", 10, "items")}
        assert [p.name for p in told if p.note] == [path.name for path in paths]
        assert [(p.done, p.inner_done, p.note) for p in told if p.note] == [(1, 10, note), (2, 10, note)]
        # never back, so that a rate can be taken of it
        steps = [(p.done * 10 + (0 if p.note else p.inner_done)) for p in told]
        assert steps == sorted(steps)
    assert capfd.readouterr() == ("", "")
