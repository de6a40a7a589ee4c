"""``tracinctl plot``: the scores, drawn in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tracinctl.cli import options
from tracinctl.cli.options import named_target, project_of, selected_files
from tracinctl.cli.output.diagnoses import Diagnoses, label_of, warn_if_changed
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.errors import UsageError
from tracinctl.plots.views import VIEW_LINES, VIEWS
from tracinctl.project.commands import PlotCommand
from tracinctl.text import as_written, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tracinctl.plots.picture import Picture
    from tracinctl.plots.request import Request
    from tracinctl.project.selection import ScoreFile
    from tracinctl.scores.source import ScoreSource
    from tracinctl.scores.sweep import SweepResult
    from tracinctl.scores.votes import Threshold

EXAMPLES = """tracinctl plot overview --frequency 500hz
tracinctl plot top --frequency 500hz --top 15 --output top.svg
tracinctl plot groups --frequency 500hz --by item"""

FILE_WIDTH = 100


def plot(
    *,
    ctx: typer.Context,
    view: Annotated[
        Literal[VIEWS],  # type: ignore[valid-type]  # typer reads it when the program runs
        typer.Argument(metavar="[VIEW]", help="\n\n".join(f"{name}: {line}" for name, line in VIEW_LINES.items())),
    ] = "overview",
    settings: PlotCommand,
    json: options.Json = False,
) -> None:
    """Draw the scores in the terminal. Positive scores are helpful, negative ones harmful."""
    from tracinctl.plots.picture import draw, numbers_of
    from tracinctl.plots.save import check_picture_path
    from tracinctl.scores.files.open import open_scores
    from tracinctl.scores.files.per_checkpoint import with_checkpoints
    from tracinctl.scores.votes import parse_thresholds, required_votes

    required_votes(settings.votes.min_occurrences, 0)
    if settings.output is not None:
        check_picture_path(settings.output)
    check_view(view, settings)
    project = project_of(ctx, settings.scores)
    marked = parse_thresholds(settings.tried.thresholds)
    files = selected_files(ctx, project, settings.score_files, settings.selection)
    if settings.test_pair is not None:
        files = with_test_pair(files, settings.test_pair)
    if settings.output is not None and len(files) > 1:
        raise UsageError(
            f"--output names one picture, but {len(files)} score files give one each",
            hint=f"For example --frequency {files[0].frequency}",
        )
    diagnoses = Diagnoses()
    pictures, answers = [], []
    for file in files:
        with terminal.progress(title=file.label) as report:
            source = open_scores(file.path, report)
            if view == "checkpoints":
                source = with_checkpoints(source, named_target(file, beside=True).per_checkpoint_file, report)
            request = request_for(view, file, source, settings, marked)
            if view == "overview":
                diagnoses.add(file.label, source, swept(request))
            if json:
                names = {"file": str(file.path), "material": file.material, "frequency": file.frequency, "view": view}
                answers.append(names | numbers_of(view, request))
            if not json or settings.output is not None:
                pictures.append(draw(view, request, f"{label_of(file.label, source)}: {view}"))
        changes = warn_if_changed(file, source)
        if json:
            answers[-1]["warnings"] = [*changes, *diagnoses.texts(file.label)]
    diagnoses.show()
    show(pictures, settings.output, json=json)
    if json:
        terminal.json(answers)


def check_view(view: str, settings: PlotCommand) -> None:
    """Refuse settings that the view does not use."""
    if settings.grouping.by is not None and view != "groups":
        raise UsageError(
            f"`by` works with the view groups only, not with {view}", hint="Draw the view groups, or leave out `by`."
        )
    if settings.train_pair is not None and settings.test_pair is not None:
        raise UsageError("`train_pair` and `test_pair` exclude each other", hint="Give one of them.")
    if settings.train_pair is not None and view != "top":
        raise UsageError(
            f"`train_pair` works with the view top only, not with {view}",
            hint="For example: tracinctl plot top --train-pair ID",
        )


def swept(request: Request) -> SweepResult:
    """The votes that the overview shows, for the diagnoses."""
    from tracinctl.scores.sweep import sweep_of, sweep_thresholds

    if request.test_pair is None:
        return sweep_of(request.source, request.survey.votes, request.min_occurrences)
    return sweep_thresholds(request.source, request.thresholds, request.min_occurrences)


def request_for(
    view: str, file: ScoreFile, source: ScoreSource, settings: PlotCommand, marked: Sequence[Threshold]
) -> Request:
    """The request, for the terminal or for a picture file."""
    from tracinctl.plots.request import Request
    from tracinctl.project.doubts import doubts_of_scores

    output = settings.output
    doubts = doubts_of_scores(file.target if file.in_project else None, source.train_ids) if view == "groups" else None
    return Request(
        source,
        terminal.width if output is None else FILE_WIDTH,
        terminal.colour if output is None else output.suffix != ".txt",
        marked,
        test_pair=settings.test_pair,
        train_pair=settings.train_pair,
        top=settings.top,
        min_occurrences=settings.votes.min_occurrences,
        height=terminal.height if output is None else None,
        by=settings.grouping.by,
        contradicted=doubts,
    )


def show(pictures: list[Picture], output: Path | None, *, json: bool) -> None:
    """Print the pictures, or write the single one to a file."""
    from tracinctl.plots.save import save

    for number, picture in enumerate(pictures):
        if output is None:
            if number:
                terminal.text("")
            terminal.show(picture, width=terminal.width)
            continue
        save(picture, output)
        if not json:
            terminal.text(f"Written: {shown_path(output)}")
            terminal.path(output)


def with_test_pair(files: list[ScoreFile], test_pair: str) -> list[ScoreFile]:
    """The score files that contain a test pair, so that the user need not give its frequency."""
    from tracinctl.scores.files.open import test_pairs_of

    if len(files) == 1:
        return files  # a missing test pair is an error when the file is read
    test_pairs = {file: test_pairs_of(file.path) for file in files}
    files_with_pair = [file for file in files if as_written(test_pair, test_pairs[file]) in test_pairs[file]]
    if files_with_pair:
        return files_with_pair
    near = nearest(test_pair, [name for names in test_pairs.values() for name in names])
    # reading the files raises an error that suggests the nearest id
    return [file for file in files if near and near in test_pairs[file]][:1] or files[:1]
