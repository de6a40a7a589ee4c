"""Two ways to show progress: a live display on a terminal, and lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tracinctl.cli.terminal import clean, duration
from tracinctl.progress import Progress, ProgressCallback

if TYPE_CHECKING:
    from rich.console import Console


LARGE_UNITS = frozenset({"checkpoints", "frequencies", "runs", "trainings"})
"""In a log, each of these has a line of its own when it is finished."""

LINE_EVERY = 10.0
"""Seconds between the lines that tell of smaller parts."""


class Pace:
    """How fast work goes, from the reports of one task."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()

    def left(self, report: Progress) -> float | None:
        """Seconds that remain, from the mean pace so far; None before anything was done."""
        share = finished(report)
        if not share:
            return None
        return (self._clock() - self._start) * (1 - share) / share

    def rate(self, done: float) -> float:
        """Units a second since the start."""
        seconds = self._clock() - self._start
        return done / seconds if seconds > 0 else 0.0


def finished(report: Progress) -> float:
    """The share of the work that is done, from 0 to 1."""
    inner = report.hands * report.inner_done / report.inner_total if report.inner_total else 0.0
    return min(1.0, (report.done + inner) / report.total) if report.total else 0.0


@contextmanager
def line_progress(console: Console, what: str) -> Iterator[ProgressCallback]:
    """A line for every checkpoint that is finished, with the time left; smaller parts have one every ten seconds."""
    pace: dict[str, Pace] = {}
    seen: dict[str, int] = {}
    told: dict[str, float] = {}
    lines: set[str] = set()
    prefix = f"{clean(what)}: " if what else ""

    def report(state: Progress) -> None:
        if state.done < seen.get(state.task, 0):
            # the same task begins again, for the next frequency
            pace.pop(state.task, None)
            seen.pop(state.task)
            lines.discard(state.task)
        clock = pace.setdefault(state.task, Pace())
        if state.done <= seen.get(state.task, 0):
            return
        seen[state.task] = state.done
        now = time.monotonic()
        if state.unit not in LARGE_UNITS:
            # what is soon done needs no line; what had one has one more at its end
            spoken = state.task in lines and state.done == state.total
            if not spoken and now - told.setdefault(state.task, now) < LINE_EVERY:
                return
            lines.add(state.task)
        told[state.task] = now
        left = clock.left(state)
        parts = [f"{prefix}{state.task} {state.done}/{state.total} {state.unit}"]
        parts += [clean(part) for part in (state.name, state.note) if part]
        if state.done < state.total and left is not None:
            parts.append(f"{duration(left)} left")
        console.file.write(", ".join(parts) + "\n")
        console.file.flush()

    yield report


@contextmanager
def live_progress(console: Console, what: str) -> Iterator[ProgressCallback]:
    """Bars that are wiped away at the end: one for the parts, one for the items within the part in hand."""
    from rich.progress import BarColumn, Task, TaskID, TextColumn
    from rich.progress import Progress as RichProgress
    from rich.table import Table

    class Display(RichProgress):
        def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
            table = super().make_tasks_table(tasks)
            # Room for the ^C that a terminal writes: on a full line it would begin another, which stays behind.
            table.width = max(20, console.width - len("^C") - 1)
            return table

    columns = (
        TextColumn("{task.fields[label]}", markup=False),
        BarColumn(bar_width=None, complete_style="cyan", finished_style="cyan"),
        TextColumn("{task.fields[count]}", justify="right", markup=False),
        TextColumn("{task.fields[speed]}", style="dim", justify="right", markup=False),
    )
    display = Display(
        *columns,
        console=console,
        transient=True,
        expand=True,
        redirect_stdout=False,
        redirect_stderr=False,
        refresh_per_second=8,
    )
    pace: dict[tuple[str, str], Pace] = {}
    bars: dict[str, tuple[TaskID, TaskID]] = {}
    reached: dict[str, int] = {}

    def new_bar() -> TaskID:
        return display.add_task("", total=1, visible=False, label="", count="", speed="")

    def bars_of(task: str) -> tuple[TaskID, TaskID]:
        for other, (outer, inner) in bars.items():
            display.update(outer, visible=other == task)
            display.update(inner, visible=False)
        if task not in bars:
            bars[task] = (new_bar(), new_bar())
        return bars[task]

    def report(state: Progress) -> None:
        display.update(begun, visible=False)
        outer, inner = bars_of(state.task)
        display.update(outer, visible=True)
        if state.done < reached.get(state.task, 0):
            pace.clear()
        reached[state.task] = state.done
        clock = pace.setdefault((state.task, ""), Pace())
        share = finished(state)
        left = clock.left(state)
        display.update(
            outer,
            total=1,
            completed=share,
            label=" ".join(part for part in (clean(what), state.task) if part),
            count=f"{state.done}/{state.total} {state.unit}",
            speed=f"{duration(left)} left" if left is not None and share < 1 else "",
        )
        if state.inner_total:
            key = (state.task, f"{state.done} {state.name}")
            inner_clock = pace.setdefault(key, Pace())
            display.update(
                inner,
                total=state.inner_total,
                completed=state.inner_done,
                visible=True,
                label="  " + clean(state.name),
                count=f"{state.inner_done}/{state.inner_total} {state.inner_unit}",
                speed=_rate(inner_clock.rate(state.inner_done), state.inner_unit),
            )

    # libraries take a while to load, in which nothing else tells that the command was understood
    begun = display.add_task("", total=None, label=f"{clean(what)} starting".strip(), count="", speed="")
    with display:
        yield report


def _rate(rate: float, unit: str) -> str:
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s"  # noqa: PLR2004 - two figures are enough
