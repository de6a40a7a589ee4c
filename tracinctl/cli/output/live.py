"""Progress bars on a terminal, which are removed at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Task, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from tracinctl.cli.output.progress import Pace, finished, left_text, rate_text
from tracinctl.progress import Progress, ProgressCallback
from tracinctl.text import clean

LEAST_BAR = 10
"""Least number of columns of a bar."""

_FIELDS = ("label", "", "count", "speed")


@contextmanager
def live_progress(console: Console, title: str) -> Iterator[ProgressCallback]:
    """Show two bars, one for the parts and one for the items of the current part."""
    with Bars(console, clean(title)) as bars:
        yield bars.report


class Bars(RichProgress):
    """The bars of a run, in columns of constant width, and the speed of each of its tasks."""

    def __init__(self, console: Console, title: str) -> None:
        # replaced as a whole, because the display may be drawn at any moment
        self._shown: tuple[TaskID, ...] = ()
        self._widest = [0] * len(_FIELDS)
        super().__init__(
            _text("label"),
            BarColumn(
                bar_width=None, style="bright_black", complete_style="cyan", finished_style="cyan", pulse_style="cyan"
            ),
            _text("count", justify="right"),
            _text("speed", justify="right", style="dim"),
            console=console,
            transient=True,
            expand=True,
            redirect_stdout=False,
            redirect_stderr=False,
            refresh_per_second=8,
        )
        self._title = title
        self._pace: dict[tuple[str, str], Pace] = {}
        self._bars: dict[str, tuple[TaskID, TaskID]] = {}
        self._reached: dict[str, int] = {}
        # libraries take a while to load; this bar shows at once that the command has started
        self._shown = (self._new_bar(f"{title} starting".strip(), total=None),)

    def report(self, state: Progress) -> None:
        """Update the bars."""
        if state.task not in self._bars:
            self._bars[state.task] = (self._new_bar(), self._new_bar())
        outer, inner = self._bars[state.task]
        if state.done < self._reached.get(state.task, 0):
            self._pace.clear()
        self._reached[state.task] = state.done
        share, seconds_left = finished(state), self._pace_of(state.task).seconds_left(state)
        self.update(
            outer,
            completed=share,
            label=" ".join(part for part in (self._title, state.task) if part),
            count=f"{state.done}/{state.total} {state.unit}",
            speed=left_text(seconds_left) if seconds_left is not None and share < 1 else "",
        )
        if state.inner_total:
            pace = self._pace_of(state.task, f"{state.done} {state.name}")
            self.update(
                inner,
                total=state.inner_total,
                completed=state.inner_done,
                label="  " + clean(state.name),
                count=f"{state.inner_done}/{state.inner_total} {state.inner_unit}",
                speed=rate_text(pace.rate(state.inner_done), state.inner_unit),
            )
        if outer not in self._shown:
            self._widest = [0] * len(_FIELDS)
        # the inner bar stays once it was shown
        self._shown = (outer, inner) if state.inner_total or inner in self._shown else (outer,)

    def _pace_of(self, task: str, part: str = "") -> Pace:
        return self._pace.setdefault((task, part), Pace())

    def _new_bar(self, label: str = "", total: float | None = 1) -> TaskID:
        return self.add_task("", total=total, label=label, count="", speed="")

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        """The table that Rich draws."""
        drawn = [task for task in tasks if task.id in self._shown]
        table = super().make_tasks_table(drawn)
        if not drawn:  # also while Rich's constructor runs, before there is a console
            return table
        # leave room for the ^C that a terminal writes: on a full line it would start a line that stays
        table.width = max(20, self.console.width - len("^C") - 1)
        for k, name in enumerate(_FIELDS):
            self._widest[k] = max([self._widest[k], *(cell_len(task.fields.get(name, "")) for task in drawn)])
        # a column that grew keeps its width, so that the bars do not move with every number
        if sum(self._widest) + len(_FIELDS) + LEAST_BAR <= table.width:
            for column, width in zip(table.columns, self._widest, strict=False):
                column.min_width = width or None
        return table


def _text(field: str, **style: Any) -> TextColumn:
    return TextColumn(f"{{task.fields[{field}]}}", markup=False, **style)
