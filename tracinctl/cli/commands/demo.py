"""``tracinctl demo``: a project folder to try everything on."""

from __future__ import annotations

import shlex
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
        Path, typer.Argument(metavar="DIRECTORY", help="The folder to make; it must not be there, or be empty.")
    ],
    settings: DemoCommand,
    json: options.Json = False,
) -> None:
    """Make a folder with recordings, planted errors, settings and trained checkpoints, ready for `workflow`.

    The recordings are synthesised: a tone with harmonics behind a material, at six angles. Some comparisons are
    flipped and some recordings filed under a wrong angle; planted.csv names them, and workflow counts how many it
    finds.
    """
    from tracinctl.demo.make import make_demo

    terminal.kept = "Nothing was kept; run the same command again."
    with terminal.progress(what="demo") as report:
        result = make_demo(directory, split_list(settings.frequencies, "frequencies"), settings.seed, progress=report)
    if json:
        terminal.json(
            {
                "directory": str(result.directory),
                "material": result.material,
                "frequencies": list(result.frequencies),
                "recordings": result.recordings,
                "planted_pairs": result.planted_pairs,
                "planted_items": result.planted_items,
                "held_out_accuracy": result.held_out_accuracy,
            }
        )
        return
    terminal.text(
        f"{shown_path(result.directory)}: {count(result.recordings, 'recording')}, "
        f"{count(result.planted_pairs, 'flipped comparison')}, "
        f"{count(result.planted_items, 'recording')} filed under a wrong angle"
    )
    for frequency, accuracy in result.held_out_accuracy.items():
        if accuracy is not None:
            terminal.text(f"  {result.material} {frequency}: trained, held-out accuracy {accuracy:.1%}", style="dim")
    here = result.directory == Path.cwd()
    step = "" if here else f"cd {shlex.quote(shown_path(result.directory))} && "
    terminal.line(f"Next: {step}tracinctl workflow --frequencies {','.join(result.frequencies)}")
    terminal.path(result.directory)
