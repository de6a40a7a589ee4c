"""``tracinctl demo``: a project folder to try everything on."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tracinctl.cli import options
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.project.commands import DemoCommand
from tracinctl.project.declared import split_list
from tracinctl.text import count

EXAMPLES = """tracinctl demo my-project
tracinctl demo my-project --frequencies 500hz,1000hz,3000hz --seed 7"""


def demo(
    *,
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="The folder to make; it must be new or empty.")
    ],
    settings: DemoCommand,
    json: options.Json = False,
) -> None:
    """Make a folder with recordings, planted errors, settings and trained checkpoints, ready for `workflow`.

    The recordings are synthesised: a tone with harmonics behind a material, from six angles. Some comparisons are
    flipped and some recordings have the wrong angle. planted.csv lists these errors, and workflow counts how many it
    finds.
    """
    from tracinctl.demo.make import make_demo

    terminal.interrupt_note = "Nothing was kept; run the same command again."
    with terminal.progress(title="demo") as report:
        result = make_demo(directory, split_list(settings.frequencies, "frequencies"), settings.seed, progress=report)
    if json:
        terminal.json([asdict(part) | {"directory": str(result.directory), "warnings": []} for part in result.sets])
        return
    terminal.text(
        f"{shown_path(result.directory)}: {count(sum(part.recordings for part in result.sets), 'recording')}, "
        f"{count(sum(part.planted_pairs for part in result.sets), 'flipped comparison')}, "
        f"{count(sum(part.planted_items for part in result.sets), 'recording')} with a wrong angle"
    )
    for part in result.trained:
        if part.held_out_accuracy is not None:
            accuracy = f"trained, held-out accuracy {part.held_out_accuracy:.1%}"
            terminal.text(f"  {part.material} {part.frequency}: {accuracy}", style="dim")
    here = result.directory == Path.cwd()
    step = "" if here else f"cd {shlex.quote(shown_path(result.directory))} && "
    terminal.line(f"Next: {step}tracinctl workflow --frequencies {','.join(part.frequency for part in result.trained)}")
    terminal.path(result.directory)
