"""What the README says is so."""

from __future__ import annotations

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_example_of_an_own_model_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"<!-- example -->\n```python\n(.*?)```", README, re.DOTALL)
    space: dict = {}
    exec(code.group(1), space)  # noqa: S102  the example is what is tested
    table = space["table"]
    assert table.scores.shape == (40 * 39 // 2, 20 * 19 // 2)
    assert table.self_influence.shape == (780,)
    assert table.sample_influence.shape == (40,)
