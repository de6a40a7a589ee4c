"""Help pages: examples first, options in groups, 80 columns, no heavy imports."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

from tracinctl.cli.output.streams import in_colour, is_terminal, pipe_width

MAX_WIDTH = 100
_NAME_WIDTH = 27

BOLD, DIM, CYAN, GREEN = "1", "2", "36", "32"


def command_help(command: Any, ctx: Any, *, everything: bool = False) -> str:
    """The help page of one command: with its daily options, or with all of them."""
    paint = _Paint()
    panels = _panels(command, ctx)
    if command.daily and not everything:
        panels = {title: [param for param in params if param.name in command.daily] for title, params in panels.items()}
    lines = _examples(command, paint)
    lines += [f"{paint('Usage', BOLD)}  {_usage(command, ctx)}", ""]
    lines += _prose(command.help or "")
    for title, params in panels.items():
        if params:
            lines += ["", paint(title, BOLD)]
        for param in params:
            lines += _option(param, ctx, paint)
    if command.daily and not everything:
        more = len(command.get_params(ctx)) - sum(map(len, panels.values()))
        lines += ["", *_wrap(f"{ctx.command_path} --help-all shows {more} more options.")]
    if command.needs_settings and command.settings:
        lines += ["", *_wrap(_precedence(command))]
    return "\n".join(lines) + "\n"


def group_help(group: Any, ctx: Any, entries: Mapping[str, Any]) -> str:
    """The help page of the program."""
    paint = _Paint()
    lines = _examples(group, paint)
    lines += [f"{paint('Usage', BOLD)}  {_usage(group, ctx)}", ""]
    lines += _prose(group.help or "")
    panels: dict[str, list[str]] = {}
    for name, entry in entries.items():
        panels.setdefault(entry.panel, []).append(name)
    for title, names in panels.items():
        lines += ["", paint(title, BOLD)]
        for name in names:
            lines += _entry(name, entries[name].summary, [], paint, max(map(len, entries)) + 1)
    for title, params in _panels(group, ctx).items():
        lines += ["", paint(title, BOLD)]
        for param in params:
            lines += _option(param, ctx, paint)
    lines += ["", *_wrap("tracinctl COMMAND --help explains a command. Defaults can be set in tracinctl.toml.")]
    return "\n".join(lines) + "\n"


def _precedence(command: Any) -> str:
    """The precedence of settings, with an option of this command as the example."""
    name = next(iter(command.settings))
    variable = f"TRACINCTL_{command.name}_{name}".upper()
    return (
        f"Precedence: flag, environment variable ({variable} for --{name.replace('_', '-')}), tracinctl.toml "
        f"[{command.name}], default. tracinctl -v {command.name} shows where each setting came from."
    )


class _Paint:
    """Colour, if stdout is a terminal that shows it."""

    def __init__(self) -> None:
        self.on = in_colour(sys.stdout)

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on and text else text


def _width() -> int:
    return min(MAX_WIDTH, shutil.get_terminal_size((80, 24)).columns if is_terminal(sys.stdout) else pipe_width())


def _wrap(text: str, indent: str = "", first: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        max(30, _width()),
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _usage(command: Any, ctx: Any) -> str:
    pieces = [piece for piece in command.collect_usage_pieces(ctx) if piece]
    return " ".join([ctx.command_path, *pieces])


def _examples(command: Any, paint: _Paint) -> list[str]:
    examples = (command.epilog or "").strip().splitlines()
    lines = [paint(f"  {example.strip()}", GREEN) for example in examples]
    return [paint("Examples" if len(lines) > 1 else "Example", BOLD), *lines, ""] if lines else []


def _prose(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        lines += [*([""] if lines else []), *_wrap(" ".join(paragraph.split()))]
    return lines


def _panels(command: Any, ctx: Any) -> dict[str, list[Any]]:
    panels: dict[str, list[Any]] = {}
    for param in command.get_params(ctx):
        if getattr(param, "hidden", False):
            continue
        usual = "Arguments" if param.param_type_name == "argument" else "Output" if ctx.parent else "Options"
        panels.setdefault(getattr(param, "rich_help_panel", None) or usual, []).append(param)
    output = panels.pop("Output", None)
    return panels if output is None else {**panels, "Output": output}


def _option(param: Any, ctx: Any, paint: _Paint) -> list[str]:
    notes = []
    default = _default(param, ctx)
    if default:
        notes.append(f"[default: {default}]")
    if param.required:
        notes.append("[required]")
    if param.param_type_name == "argument":
        names = param.make_metavar(ctx=ctx)
    else:
        names = ", ".join(sorted(param.opts, key=len))
        if param.secondary_opts:
            names += "/" + "/".join(param.secondary_opts)
        if not param.is_flag and not param.count:
            names += " " + (param.metavar or _metavar(param, ctx))
    return _entry(names, param.help or "", notes, paint, _NAME_WIDTH)


def _metavar(param: Any, ctx: Any) -> str:
    metavar = str(param.make_metavar(ctx=ctx))
    return {"INTEGER": "N", "FLOAT": "X", "<int>": "N", "<float>": "X"}.get(metavar, metavar)


def _default(param: Any, ctx: Any) -> str:
    if param.show_default is False or param.name == "help":
        return ""
    if isinstance(param.show_default, str):
        return param.show_default
    value = param.default
    if value is None or value is False or callable(value):
        return ""
    if value is True:
        return "on"
    del ctx
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _entry(name: str, text: str, notes: list[str], paint: _Paint, width: int) -> list[str]:
    """A name on the left and its explanation on the right; a long name has its own line."""
    indent = " " * (width + 3)
    head = f"  {name}"
    parts = [" ".join(part.split()) for part in text.split("\n\n") if part]
    # several paragraphs are a list with hanging indents
    below = indent if len(parts) < 2 else f"{indent}  "  # noqa: PLR2004
    body = [line for part in parts for line in _wrap(part, below, first=indent)]
    # A note stays in one piece; it follows the text if it fits on the last line.
    for note in notes:
        if body and len(body[-1]) + 1 + len(note) <= _width():
            body[-1] += f" {note}"
        else:
            body.append(indent + note)
    body = [_dim_notes(line, notes, paint) for line in body]
    if len(head) <= width + 1 and body:
        body[0] = f"{paint(head, CYAN)}{' ' * (width + 3 - len(head))}{body[0][len(indent) :]}"
        return body
    return [paint(head, CYAN), *body]


def _dim_notes(line: str, notes: list[str], paint: _Paint) -> str:
    for note in notes:
        line = line.replace(note, paint(note, DIM))
    return line
