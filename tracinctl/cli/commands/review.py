"""``tracinctl review``: a page on this machine to listen to suspects, look at them and decide."""

from __future__ import annotations

import contextlib
import getpass
import os
import subprocess
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from tracinctl.cli.options import only_target, project_of, selected_files, settings_without_flags
from tracinctl.cli.output.diagnoses import warn_of_changes
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.errors import UsageError
from tracinctl.project.commands import ComputeCommand, ReviewCommand

if TYPE_CHECKING:
    from tracinctl.project.target import Target

EXAMPLES = """tracinctl review --frequency 500hz
tracinctl review --frequency 500hz --by item
tracinctl review --frequency 500hz --order error --no-browser"""


def review(*, ctx: typer.Context, settings: ReviewCommand) -> None:
    """Open a page on this machine to listen to suspects, look at them and decide by keys.

    The page shows both items of each suspect pair with sound, spectrogram and the reasons why it is suspect. Each
    decision is written at once to reviews/<material>_<frequency>_review.csv. exclude, train and workflow use the
    decisions with --review. Ctrl-C ends the review.
    """
    project = project_of(ctx, settings.places, settings.scores)
    files = selected_files(ctx, project, None, settings.selection)
    target = only_target(files, "a review shows", "review")
    if settings.merge is not None:
        merge_file(target, settings.merge)
        return
    from tracinctl.project.review import open_review
    from tracinctl.review.serving import serve_review

    with terminal.progress(title=target.label) as report:
        chosen = replace(settings.review, who=settings.review.who or person())
        compute = settings_without_flags(ctx, "compute", ComputeCommand).compute
        opened = open_review(target, compute, chosen, report)
    warn_of_changes(target, opened.changes)
    terminal.interrupt_note = f"Decisions are in {shown_path(opened.decisions)}."

    def ready(address: str) -> None:
        terminal.line(address)
        terminal.say(f"{len(opened.suspects):,} suspects. Ctrl-C ends the review.")
        if "SSH_CONNECTION" in os.environ:
            port = urlsplit(address).port
            terminal.say(f"From your own machine: ssh -L {port}:127.0.0.1:{port} HOST, then open the address there.")
        elif settings.browser:
            webbrowser.open(address)

    # people end a review with Ctrl-C
    with contextlib.suppress(KeyboardInterrupt):
        serve_review(opened, ready)
    terminal.say(f"\nDecisions are in {shown_path(opened.decisions)}.")
    terminal.say(f"Next: tracinctl exclude {target.command_flags} --review")


def merge_file(target: Target, path: Path) -> None:
    """Add another file's decisions to a target's, and show where people disagree."""
    from tracinctl.project.reviewed import note_of
    from tracinctl.review.decisions import merge, read_decisions, spoken

    if not path.is_file():
        raise UsageError(f"`merge`: there is no file {path}", hint="Give the file of another person's decisions.")
    verdicts = merge(target.review_file, read_decisions(path))
    terminal.text(f"{shown_path(target.review_file)}: {note_of(verdicts)}")
    for name, disputed in sorted(verdicts.disputed.items()):
        decisions = ", ".join(f"{decision.who or 'somebody'}: {spoken(decision.decision)}" for decision in disputed)
        terminal.text(f"  {name}  {decisions}")
    if verdicts.disputed:
        terminal.say(f"To settle these, run tracinctl review {target.command_flags} and show the disputed ones.")


def person() -> str:
    """The person's name in git, or else the account's."""
    with contextlib.suppress(OSError):
        done = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, check=False)  # noqa: S607 - whichever git the person uses
        if done.stdout.strip():
            return done.stdout.strip()
    with contextlib.suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return ""
