"""Turn rows with all answers to a prompt and their scores, as in UltraFeedback, into one row per comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Final

import numpy as np

from tracinctl.data.comparisons import cell_text, find_column
from tracinctl.data.tables import Table
from tracinctl.errors import DataError
from tracinctl.text import clean, count

_SCORE: Final = "overall_score"
_HINT = f"Give each answer a response and a score: {_SCORE}, or annotations with a Rating each."


def answers_in_pairs(table: Table) -> tuple[Table, list[str]]:
    """Make one row per pair of answers with different scores, the better one as ``chosen``, and notes.

    A table of another layout comes back as it is.

    Raises:
        DataError: an answer has no response or no score, or no two answers differ in score.
    """
    import pandas as pd

    names = list(table.frame.columns)
    answers, prompt = find_column(names, ("completions",)), find_column(names, ("instruction", "prompt"))
    if answers is None or prompt is None or _are_steps(table, answers):
        return table, []
    rows: list[dict[str, Any]] = []
    lines, alone = [], 0
    for row, fields in enumerate(table.frame.to_dict("records")):
        listed = fields.pop(answers)
        scores = _scores(table, row, answers, listed)
        different = [(a, b) for a, b in combinations(range(len(scores)), 2) if scores[a] != scores[b]]
        alone += not different
        for a, b in different:
            better, worse = (a, b) if scores[a] > scores[b] else (b, a)
            rows.append(fields | _compared(listed[better], listed[worse]))
            lines.append(table.lines[row])
    if not rows:
        raise DataError(f"{table.path}: no two answers to one prompt differ in score", hint=_HINT)
    notes = [f"answers in {clean(answers)} compared by {_SCORE}, or by the mean of their ratings if it is missing"]
    notes += [f"{count(alone, 'row')} without two answers with different scores"] if alone else []
    return replace(table, frame=pd.DataFrame(rows, dtype=object), lines=np.asarray(lines, dtype=np.int64)), notes


def _are_steps(table: Table, answers: str) -> bool:
    """Whether the cells are lists of texts, which have no scores."""
    return any(isinstance(step, str) for listed in table.frame[answers] if _is_list(listed) for step in listed)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _compared(better: Mapping[str, Any], worse: Mapping[str, Any]) -> dict[str, Any]:
    columns = {"chosen": better["response"], "rejected": worse["response"]}
    models = {"chosen_model": better.get("model"), "rejected_model": worse.get("model")}
    return columns | {name: value for name, value in models.items() if value is not None}


def _scores(table: Table, row: int, answers: str, listed: Any) -> list[float]:
    if not _is_list(listed):
        raise DataError(f"{table.where(row)}: {clean(answers)} is not a list of answers", hint=_HINT)
    scores = [_score(answer) if isinstance(answer, Mapping) else None for answer in listed]
    for k, (answer, score) in enumerate(zip(listed, scores, strict=True), 1):
        if score is None or not isinstance(answer.get("response"), str):
            lack = "no score" if isinstance(answer, Mapping) and "response" in answer else "no response"
            raise DataError(f"{table.where(row)}: answer {k} of {clean(answers)} has {lack}", hint=_HINT)
    return [score for score in scores if score is not None]


def _score(answer: Mapping[str, Any]) -> float | None:
    overall = _number(answer.get(_SCORE))
    if overall is not None:
        return overall
    annotations = answer.get("annotations") or {}
    numbers = [_number(about.get("Rating")) for about in annotations.values() if isinstance(about, Mapping)]
    ratings = [rating for rating in numbers if rating is not None]
    return float(np.mean(ratings)) if ratings else None


def _number(value: Any) -> float | None:
    """A finite number, which may be written as text; None for anything else, such as N/A."""
    try:
        number = float(cell_text(value))
    except ValueError:
        return None
    return number if np.isfinite(number) else None
