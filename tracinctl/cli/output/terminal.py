r"""All output goes through this module.

Results go to stdout, everything else to stderr. Text from files (ids, paths, messages) is never sent as control
characters, which are shown as ``\x1b``, and never read as Rich markup.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from tracinctl.cli.output.streams import PIPE_WIDTH, in_colour, is_terminal, pipe_width, terminal_width
from tracinctl.text import clean, csv_text, hanging

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from tracinctl.cli.output.tables import Cell, Column
    from tracinctl.errors import TracinctlError
    from tracinctl.progress import ProgressCallback

_UNLIMITED = 100_000


class Terminal:
    """Two streams to write to, by default stdout and stderr. ``quiet`` and ``verbosity`` are -q and -v."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._streams = {"out": out, "err": err}
        self.quiet = False
        self.verbosity = 0
        self.interrupt_note = ""
        self.command = "tracinctl"
        self.arguments: list[str] = []
        self.ended_by = 0
        self.flags: dict[str, str] = {}
        self.origins: dict[str, str] = {}
        self._consoles: dict[str, Console] = {}
        self._result_follows = False

    def stream(self, name: Literal["out", "err"]) -> TextIO:
        """The stream of results (out) or messages (err)."""
        return self._streams[name] or (sys.stdout if name == "out" else sys.stderr)

    def mute(self) -> None:
        """Write nothing more to either stream, because another process writes for this one."""
        silent = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - stays open while the program runs
        sys.stdout = sys.stderr = silent
        self.__init__(silent, silent)  # type: ignore[misc]

    # Results

    def table(self, title: str, columns: Sequence[Column], rows: Iterable[Sequence[str | Cell]]) -> None:
        """Write a table to stdout, in colour on a terminal, plain elsewhere.

        Names fold to fit the width, numbers never do. If the numbers do not fit, each cell has its own line.
        """
        from tracinctl.cli.output.tables import Cell, as_columns, as_lines, column_widths, table_width

        body = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
        if title:
            self.text(clean(title), style="bold")
        if table_width([least for least, _ in column_widths(columns, body)]) <= self._room:
            self.show(as_columns(columns, body, self._room), width=_UNLIMITED)
        else:
            self.show(as_lines(columns, body))

    def has_room(self, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> bool:
        """Whether a table of these rows fits without folding."""
        from tracinctl.cli.output.tables import Cell, column_widths, table_width

        body = [[Cell(cell) for cell in row] for row in rows]
        return table_width([full for _, full in column_widths(columns, body)]) <= self._room

    @property
    def _room(self) -> int:
        return terminal_width() if is_terminal(self.stream("out")) else _UNLIMITED

    def show(self, renderable: RenderableType, *, width: int | None = None) -> None:
        """Write a Rich renderable to stdout unless -q is given."""
        if not self.quiet:
            self._write("out", renderable, width)

    def text(self, text: str, style: str = "") -> None:
        """Write lines of a result to stdout."""
        self.show(_text(text, style))

    def line(self, text: str) -> None:
        """Write a command to stdout on one line of any length, so that it can be copied."""
        self.show(_text(text), width=_UNLIMITED)

    def json(self, result: Any) -> None:
        """Write a result as JSON, and nothing else, to stdout."""
        import json

        self.stream("out").write(json.dumps(result, indent=2, allow_nan=False) + "\n")

    def csv(self, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Write a table as CSV to stdout, so that a spreadsheet reads no text as a formula."""
        self._raw(csv_text(header, ([_no_formula(cell) for cell in row] for row in rows)))

    def path(self, path: Path) -> None:
        """Write the path of a result file to stdout if -q is given."""
        if self.quiet:
            self._raw(f"{path}\n")

    # Messages

    def say(self, text: str) -> None:
        """Write a message to stderr unless -q is given."""
        if not self.quiet:
            self._write("err", _text(text), None)

    def detail(self, text: str) -> None:
        """Write a message to stderr if -v is given."""
        if self.verbosity:
            self._write("err", _text(text, "dim"), None)

    def warn(self, text: str, hint: str = "") -> None:
        """Warn on stderr, even with -q."""
        self._message("warning:", "bold yellow", self.with_flags(text), self.with_flags(hint))

    def failure(self, error: TracinctlError, label: str = "") -> None:
        """Show the error that ended the work, with flags in place of the library's parameter names.

        For a wrong value that came from a variable or the settings file, the hint says where.
        """
        from tracinctl.errors import SettingsError, UsageError

        message, hint = error.message, error.hint
        if not isinstance(error, SettingsError):
            message, hint = self.with_flags(message), self.with_flags(hint)
        if isinstance(error, UsageError):
            named = [origin for name, origin in self.origins.items() if origin and f"`{name}`" in error.message]
            hint = "\n".join([*([hint] if hint else []), *(f"The value comes from {origin}." for origin in named)])
        self._message("error:", "bold red", f"{label}: {message}" if label else message, hint)

    def with_flags(self, text: str) -> str:
        """Replace parameter names in a text by this command's flags, such as ``--memory`` and ``--no-cache``."""
        text = re.sub(r"turn `(\w+)` off", r"give `no_\1`", text)
        return re.sub(r"`(\w+)`", lambda match: self.flags.get(match[1], match[0]), text)

    def error(self, text: str, hint: str = "") -> None:
        """Write an error and what to do next to stderr."""
        self._message("error:", "bold red", text, hint)

    def _message(self, label: str, style: str, text: str, hint: str) -> None:
        """Write a message and its hint: wrapped on a terminal, one line each elsewhere."""
        from rich.text import Text

        on_terminal = is_terminal(self.stream("err"))
        width = terminal_width() if on_terminal else _UNLIMITED
        # shorten paths; the current folder may have been removed
        with suppress(OSError):
            text = text.replace(f"{Path.cwd()}{os.sep}", "")
            hint = hint.replace(f"{Path.cwd()}{os.sep}", "")
        body = [part for line in text.splitlines() for part in hanging(line, width, " " * (len(label) + 1))]
        message = Text.assemble((label, style), " ", "\n".join(body).lstrip())
        arrow = "→ " if on_terminal and "utf" in (self.stream("err").encoding or "").lower() else ""
        for line in map(sentence, hint.splitlines()):
            part = "\n".join(hanging(line, width, " " * 4, first=f"  {arrow}"))
            message.append(f"\n{part}", "cyan" if arrow else "")
        self._write("err", message, _UNLIMITED)
        self._result_follows = on_terminal and is_terminal(self.stream("out"))

    # Progress

    @contextmanager
    def progress(self, *, title: str = "") -> Iterator[ProgressCallback]:
        """Show the library's progress on stderr while the block runs; a terminal is clean afterwards."""
        from tracinctl.progress import no_progress

        if self.quiet:
            yield no_progress
            return
        if is_terminal(self.stream("err")):
            from tracinctl.cli.output.live import live_progress as display
        else:
            from tracinctl.cli.output.progress import line_progress as display
        with display(self.console("err"), title) as report:
            yield report

    # Width and colour

    def console(self, name: Literal["out", "err"]) -> Console:
        """The Rich console of stdout or stderr; in a pipe, without colour and line breaks."""
        if name not in self._consoles:
            from rich.console import Console

            stream = self.stream(name)
            terminal = is_terminal(stream)
            self._consoles[name] = Console(
                file=stream,
                force_terminal=terminal or in_colour(stream),
                width=None if terminal else _UNLIMITED,
                highlight=False,
                markup=False,
                emoji=False,
                no_color=not in_colour(stream),
            )
        return self._consoles[name]

    @property
    def width(self) -> int:
        """The width of a picture on stdout."""
        return terminal_width() if is_terminal(self.stream("out")) else pipe_width()

    @property
    def height(self) -> int | None:
        """The height of a picture on stdout, less the prompt's line; None in a pipe."""
        return shutil.get_terminal_size((PIPE_WIDTH, 24)).lines - 1 if is_terminal(self.stream("out")) else None

    @property
    def colour(self) -> bool:
        """Whether a picture on stdout may use colour."""
        return in_colour(self.stream("out"))

    def _write(self, name: Literal["out", "err"], renderable: RenderableType, width: int | None) -> None:
        from rich.segment import Segment, Segments

        if name == "out" and self._result_follows:
            # if both streams share a screen, a blank line separates a result from the messages before it
            self.stream("err").write("\n")
            self.stream("err").flush()
            self._result_follows = False
        console = self.console(name)
        options = console.options if width is None else console.options.update_width(width)
        segments = [
            segment if segment.control else Segment(_clean_lines(segment.text), segment.style)
            for segment in console.render(renderable, options)
        ]
        if not console.is_terminal:
            lines = "".join(segment.text for segment in segments if not segment.control).splitlines()
            self.stream(name).write("".join(f"{line.rstrip()}\n" for line in lines))
            return
        console.print(Segments(segments), end="", crop=False)

    def _raw(self, text: str) -> None:
        stream = self.stream("out")
        stream.write(_clean_lines(text) if is_terminal(stream) else text)


def shown_path(path: Path) -> str:
    """A path, relative to the current folder if it is inside."""
    try:
        return str(path.absolute().relative_to(Path.cwd())) or "."
    except (ValueError, OSError):
        return str(path)


def sentence(text: str) -> str:
    """Capitalise the first word, unless it is a command, a name or a line of a settings file."""
    word, _, remainder = text.partition(" ")
    is_word = word.rstrip(",:").isalpha() and word != "tracinctl" and not remainder.startswith("= ")
    return text[:1].upper() + text[1:] if is_word else text


def _no_formula(cell: object) -> object:
    """Put an apostrophe before text that a spreadsheet would read as a formula, such as the id ``=1+1``."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _clean_lines(text: str) -> str:
    return "\n".join(clean(line) for line in text.split("\n"))


def _text(text: str, style: str = "") -> RenderableType:
    from rich.text import Text

    return Text(_clean_lines(text), style=style)


terminal = Terminal()
"""The terminal of all commands."""
