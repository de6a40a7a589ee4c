"""Help pages: examples first, options in groups, 80 columns, no heavy imports."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from tracinctl.cli.output.streams import in_colour
from tracinctl.cli.output.terminal import terminal
from tracinctl.text import hanging

MAX_WIDTH = 100
_NAME_WIDTH = 27
_SHORT_METAVARS = {"INTEGER": "N", "FLOAT": "X", "<int>": "N", "<float>": "X"}

_BOLD, _DIM, _CYAN, _GREEN = "1", "2", "36", "32"


def command_help(command: Any, ctx: Any, *, everything: bool = False) -> str:
    """The help page of one command: with its daily options, or with all of them."""
    panels = _panels(command, ctx)
    if command.daily and not everything:
        panels = {title: [param for param in params if param.name in command.daily] for title, params in panels.items()}
    lines = _head(command, ctx)
    for title, params in panels.items():
        if params:
            lines += ["", _paint(title, _BOLD)]
        for param in params:
            lines += _option(param, ctx)
    if command.daily and not everything:
        more = len(command.get_params(ctx)) - sum(map(len, panels.values()))
        lines += ["", *_wrap(f"{ctx.command_path} --help-all shows {more} more options.")]
    if command.settings:
        lines += ["", *_wrap(_precedence(command))]
    return "\n".join(lines) + "\n"


def group_help(group: Any, ctx: Any, entries: Mapping[str, Any]) -> str:
    """The help page of the program."""
    lines = _head(group, ctx)
    panels: dict[str, list[str]] = {}
    for name, entry in entries.items():
        panels.setdefault(entry.panel, []).append(name)
    for title, names in panels.items():
        lines += ["", _paint(title, _BOLD)]
        for name in names:
            lines += _entry(name, entries[name].summary, [], max(map(len, entries)) + 1)
    for title, params in _panels(group, ctx).items():
        lines += ["", _paint(title, _BOLD)]
        for param in params:
            lines += _option(param, ctx)
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


def _paint(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if in_colour(sys.stdout) else text


def _width() -> int:
    return min(MAX_WIDTH, terminal.width)


def _wrap(text: str, indent: str = "", first: str | None = None) -> list[str]:
    return hanging(text, max(30, _width()), indent, first)


def _head(command: Any, ctx: Any) -> list[str]:
    """The examples, the usage line and the description."""
    examples = [_paint(f"  {example.strip()}", _GREEN) for example in command.epilog.splitlines()]
    pieces = [piece for piece in command.collect_usage_pieces(ctx) if piece]
    lines = [_paint("Examples" if len(examples) > 1 else "Example", _BOLD), *examples, ""]
    lines += [f"{_paint('Usage', _BOLD)}  {' '.join([ctx.command_path, *pieces])}"]
    for paragraph in (command.help or "").split("\n\n"):
        lines += ["", *_wrap(" ".join(paragraph.split()))]
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


def _option(param: Any, ctx: Any) -> list[str]:
    default = _default(param)
    notes = [f"[default: {default}]"] if default else []
    notes += ["[required]"] if param.required else []
    if param.param_type_name == "argument":
        names = param.make_metavar(ctx=ctx)
    else:
        names = ", ".join(sorted(param.opts, key=len))
        if param.secondary_opts:
            names += "/" + "/".join(param.secondary_opts)
        if not param.is_flag and not param.count:
            metavar = param.metavar or str(param.make_metavar(ctx=ctx))
            names += " " + _SHORT_METAVARS.get(metavar, metavar)
    return _entry(names, param.help or "", notes, _NAME_WIDTH)


def _default(param: Any) -> str:
    if param.show_default is False or param.name == "help":
        return ""
    if isinstance(param.show_default, str):
        return param.show_default
    value = param.default
    if value is None or value is False or callable(value):
        return ""
    if value is True:
        return "on"
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _entry(name: str, text: str, notes: list[str], width: int) -> list[str]:
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
    for note in notes:
        body = [line.replace(note, _paint(note, _DIM)) for line in body]
    if len(head) <= width + 1 and body:
        body[0] = f"{_paint(head, _CYAN)}{' ' * (width + 3 - len(head))}{body[0][len(indent) :]}"
        return body
    return [_paint(head, _CYAN), *body]
