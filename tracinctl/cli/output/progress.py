"""Two ways to show progress: a live display on a terminal, and lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tracinctl.progress import Progress, ProgressCallback
from tracinctl.text import clean, duration

if TYPE_CHECKING:
    from rich.console import Console


LARGE_UNITS = frozenset({"checkpoints", "frequencies", "runs", "trainings"})
"""In a log, each of these has a line of its own when it is finished."""

LINE_EVERY = 10.0
"""Seconds between the lines that tell of smaller parts."""

LEAST_BAR = 10
"""Columns that a bar should have at least."""

RATE_AFTER = 0.2
"""Seconds that a rate is made from at least: parts that are soon done would tell of wild ones."""


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

    def rate(self, done: float) -> float | None:
        """Units a second since the start; None before there is enough to tell it by."""
        seconds = self._clock() - self._start
        return done / seconds if done and seconds >= RATE_AFTER else None


def finished(report: Progress) -> float:
    """The share of the work that is done, from 0 to 1."""
    inner = report.hands * report.inner_done / report.inner_total if report.inner_total else 0.0
    return min(1.0, (report.done + inner) / report.total) if report.total else 0.0


@contextmanager
def line_progress(console: Console, what: str) -> Iterator[ProgressCallback]:
    """A line for every checkpoint that is finished, with the time left; smaller parts have one every ten seconds."""
    pace: dict[str, Pace] = {}
    seen: dict[str, int] = {}
    last_line: dict[str, float] = {}
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
            if not spoken and now - last_line.setdefault(state.task, now) < LINE_EVERY:
                return
            lines.add(state.task)
        last_line[state.task] = now
        left = clock.left(state)
        parts = [f"{prefix}{state.task} {state.done}/{state.total} {state.unit}"]
        parts += [clean(part) for part in (state.name, state.note) if part]
        if state.done < state.total and left is not None:
            parts.append(_left(left))
        console.file.write(", ".join(parts) + "\n")
        console.file.flush()

    yield report


@contextmanager
def live_progress(console: Console, what: str) -> Iterator[ProgressCallback]:
    """Bars that are wiped away at the end: one for the parts, one for the items within the current part."""
    from rich.cells import cell_len
    from rich.progress import BarColumn, Task, TaskID, TextColumn
    from rich.progress import Progress as RichProgress
    from rich.table import Table

    fields = ("label", "", "count", "speed")
    widest = [0] * len(fields)
    shown: tuple[TaskID, ...] = ()  # put in place as a whole: what is drawn at any moment is neither half nor empty

    class Display(RichProgress):
        def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
            drawn = [task for task in tasks if task.id in shown]
            table = super().make_tasks_table(drawn)
            # Room for the ^C that a terminal writes: on a full line it would begin another, which stays behind.
            table.width = max(20, console.width - len("^C") - 1)
            for k, name in enumerate(fields):
                widest[k] = max([widest[k], *(cell_len(task.fields.get(name, "")) for task in drawn)])
            # A column that grew keeps its width: bars that move with every number are hard to look at.
            if sum(widest) + len(fields) + LEAST_BAR <= table.width:
                for column, width in zip(table.columns, widest, strict=False):
                    column.min_width = width or None
            return table

    columns = (
        TextColumn("{task.fields[label]}", markup=False),
        BarColumn(
            bar_width=None, style="bright_black", complete_style="cyan", finished_style="cyan", pulse_style="cyan"
        ),
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
        return display.add_task("", total=1, label="", count="", speed="")

    def report(state: Progress) -> None:
        nonlocal shown
        if state.task not in bars:
            bars[state.task] = (new_bar(), new_bar())
        outer, inner = bars[state.task]
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
            speed=_left(left) if left is not None and share < 1 else "",
        )
        if state.inner_total:
            key = (state.task, f"{state.done} {state.name}")
            inner_clock = pace.setdefault(key, Pace())
            display.update(
                inner,
                total=state.inner_total,
                completed=state.inner_done,
                label="  " + clean(state.name),
                count=f"{state.inner_done}/{state.inner_total} {state.inner_unit}",
                speed=_rate(inner_clock.rate(state.inner_done), state.inner_unit),
            )
        if outer not in shown:
            widest[:] = [0] * len(fields)
        shown = (outer, inner) if state.inner_total or inner in shown else (outer,)

    # libraries take a while to load, in which nothing else tells that the command was understood
    begun = display.add_task("", total=None, label=f"{clean(what)} starting".strip(), count="", speed="")
    shown = (begun,)
    with display:
        yield report


def _left(seconds: float) -> str:
    return f"{duration(max(1.0, seconds))} left"


def _rate(rate: float | None, unit: str) -> str:
    if rate is None:
        return ""
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s"  # noqa: PLR2004 - two figures are enough
