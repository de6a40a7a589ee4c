"""The speed of work, and its progress as lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tracinctl.progress import Progress, ProgressCallback
from tracinctl.text import clean, duration

if TYPE_CHECKING:
    from rich.console import Console


LARGE_UNITS = frozenset({"checkpoints", "frequencies", "runs", "trainings"})
"""In a log, each of these units has its own line when it is finished."""

LINE_EVERY = 10.0
"""Seconds between the lines about smaller parts."""

RATE_AFTER = 0.2
"""Least number of seconds behind a rate, because rates of short times vary widely."""


class Pace:
    """The speed of one task, from its reports."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()

    def seconds_left(self, report: Progress) -> float | None:
        """Seconds left at the mean speed so far; None before anything is done."""
        share = finished(report)
        if not share:
            return None
        return (self._clock() - self._start) * (1 - share) / share

    def rate(self, done: float) -> float | None:
        """Units per second since the start; None in the first seconds."""
        seconds = self._clock() - self._start
        return done / seconds if done and seconds >= RATE_AFTER else None


def finished(report: Progress) -> float:
    """The finished share of the work, from 0 to 1."""
    inner = report.hands * report.inner_done / report.inner_total if report.inner_total else 0.0
    return min(1.0, (report.done + inner) / report.total) if report.total else 0.0


@contextmanager
def line_progress(console: Console, title: str) -> Iterator[ProgressCallback]:
    """Print a line per finished checkpoint with the time left, and one every ten seconds for smaller parts."""
    pace: dict[str, Pace] = {}
    done: dict[str, int] = {}
    last_line: dict[str, float] = {}
    lines: set[str] = set()
    prefix = f"{clean(title)}: " if title else ""

    def report(state: Progress) -> None:
        if state.done < done.get(state.task, 0):
            # the same task begins again, for the next frequency
            pace.pop(state.task, None)
            done.pop(state.task)
            lines.discard(state.task)
        clock = pace.setdefault(state.task, Pace())
        if state.done <= done.get(state.task, 0):
            return
        done[state.task] = state.done
        now = time.monotonic()
        if state.unit not in LARGE_UNITS:
            # a short part needs no line; a part that had one gets another at its end
            spoken = state.task in lines and state.done == state.total
            if not spoken and now - last_line.setdefault(state.task, now) < LINE_EVERY:
                return
            lines.add(state.task)
        last_line[state.task] = now
        seconds_left = clock.seconds_left(state)
        parts = [f"{prefix}{state.task} {state.done}/{state.total} {state.unit}"]
        parts += [clean(part) for part in (state.name, state.note) if part]
        if state.done < state.total and seconds_left is not None:
            parts.append(left_text(seconds_left))
        console.file.write(", ".join(parts) + "\n")
        console.file.flush()

    yield report


def left_text(seconds: float) -> str:
    """The remaining time in words."""
    return f"{duration(max(1.0, seconds))} left"


def rate_text(rate: float | None, unit: str) -> str:
    """Units per second in words; empty if unknown."""
    if rate is None:
        return ""
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s"  # noqa: PLR2004 - two figures are enough
