"""``tracinctl status``: what a project contains, and what is out of date."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tracinctl.cli import options
from tracinctl.cli.options import file_settings, has_own_training, project_of
from tracinctl.cli.output.terminal import terminal
from tracinctl.errors import DataError
from tracinctl.project.commands import ComputeCommand, StatusCommand
from tracinctl.project.declared import settings_of
from tracinctl.project.selection import Choices, everything_by_material
from tracinctl.text import as_written

if TYPE_CHECKING:
    from tracinctl.project.status import TargetStatus

EXAMPLES = """tracinctl status
tracinctl status --frequency 500hz --json"""


def status(*, ctx: typer.Context, settings: StatusCommand, json: options.Json = False) -> None:
    """Show the files of each material and frequency, what they were made from, what is out of date, and what is next.

    A file is out of date when the content it was made from changed; dates do not matter. The command changes nothing.
    """
    from tracinctl.project.status import status_of

    project = project_of(ctx, settings.places, settings.scores, settings.lists)
    frequencies = everything_by_material(project)
    if not frequencies:
        raise DataError(
            f"no recordings, checkpoints or scores in {project.root}",
            hint="To try tracinctl without any, run: tracinctl demo my-project",
        )
    chosen = settings.selection.material or project.material
    materials = [as_written(chosen, frequencies)] if chosen else list(frequencies)
    choices = Choices(project, frequencies, str(project.root))
    targets = [target for name in materials for target in choices.targets(name, settings.selection.frequency)]
    file = file_settings(ctx)
    places = {setting.name: file.place_of("compute", setting) for setting in settings_of(ComputeCommand)}
    current_settings = {name: file.get(*place) for name, place in places.items() if place is not None}
    own_training = has_own_training(ctx)
    states = [status_of(target, current_settings, own_training=own_training) for target in targets]
    if json:
        terminal.json([state.to_json() for state in states])
        return
    for state in states:
        show(state)


def show(state: TargetStatus) -> None:
    """Print the state of one material and frequency."""
    terminal.text(state.target.label, style="bold")
    rows = state.rows()
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        # a command stays on one line, so that it can be copied
        say = terminal.line if name == "next" else terminal.text
        say(f"  {name:<{width}}  {text}".rstrip())
