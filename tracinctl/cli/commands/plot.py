"""``tracinctl plot``: the scores, drawn in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tracinctl.cli import options
from tracinctl.cli.options import project_of, selected_files
from tracinctl.cli.output.diagnoses import Diagnoses, label_of, tell_changes
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.errors import UsageError
from tracinctl.plots.views import VIEW_LINES, VIEWS
from tracinctl.project.commands import PlotCommand
from tracinctl.text import nearest

if TYPE_CHECKING:
    from tracinctl.progress import ProgressCallback
    from tracinctl.project.selection import ScoreFile
    from tracinctl.scores.source import ScoreSource

EXAMPLES = """tracinctl plot overview --frequency 500hz
tracinctl plot top --frequency 500hz --top 15 --output top.svg
tracinctl plot groups --frequency 500hz --by item"""

FILE_WIDTH = 100


def plot(
    *,
    ctx: typer.Context,
    view: Annotated[
        Literal[VIEWS],  # type: ignore[valid-type]  # typer reads it when the program runs
        typer.Argument(
            metavar="[VIEW]",
            help="\n\n".join(f"{name}: {line}" for name, line in VIEW_LINES.items()),
        ),
    ] = "overview",
    settings: PlotCommand,
    json: options.Json = False,
) -> None:
    """Draw the scores in the terminal. Positive scores are helpful, negative ones harmful."""
    from tracinctl.plots.picture import draw, numbers_of
    from tracinctl.plots.request import Request
    from tracinctl.plots.save import check_picture_path, save
    from tracinctl.project.unseeing import doubts_of_scores
    from tracinctl.scores.files.open import open_scores
    from tracinctl.scores.sweep import sweep_of, sweep_thresholds
    from tracinctl.scores.votes import parse_thresholds, required_votes

    min_occurrences, test_pair, output = settings.votes.min_occurrences, settings.test_pair, settings.output
    required_votes(min_occurrences, 0)
    if output is not None:
        check_picture_path(output)
    if settings.grouping.by is not None and view != "groups":
        raise UsageError(f"`by` is of the view groups, not of {view}", hint="Draw the view groups, or leave it out.")
    if settings.train_pair is not None and (view != "top" or test_pair is not None):
        other = "test_pair" if test_pair is not None else view
        raise UsageError(
            f"`train_pair` is of the view top, all test pairs beside each other, and not of {other}",
            hint="For example: tracinctl plot top --train-pair ID",
        )
    project = project_of(ctx, settings.scores)
    marked = parse_thresholds(settings.tried.thresholds)
    files = selected_files(ctx, project, settings.given, settings.selection)
    if test_pair is not None:
        files = with_test_pair(files, test_pair)
    if output is not None and len(files) > 1:
        raise UsageError(
            f"--output names one picture, but there are {len(files)} score files",
            hint=f"For example --frequency {files[0].frequency}",
        )
    results, pictures = [], []
    warnings: dict[ScoreFile, list[str]] = {}
    diagnoses = Diagnoses()
    for file in files:
        with terminal.progress(what=file.label) as report:
            source = open_scores(file.path, report)
            if view == "checkpoints":
                source = with_checkpoint_scores(file, source, report)
            request = Request(
                source,
                terminal.width if output is None else FILE_WIDTH,
                terminal.colour if output is None else output.suffix != ".txt",
                marked,
                test_pair=test_pair,
                train_pair=settings.train_pair,
                top=settings.top,
                min_occurrences=min_occurrences,
                height=terminal.height if output is None else None,
                by=settings.grouping.by,
                contradicted=doubts_of_scores(file.target if file.in_project else None, source.train_ids)
                if view == "groups"
                else None,
            )
            if view == "overview":
                swept = (
                    sweep_of(source, request.survey.votes, min_occurrences)
                    if test_pair is None
                    else sweep_thresholds(source, marked, min_occurrences)
                )
                diagnoses.add(file.label, source, sweep=swept)
            if json:
                numbers = numbers_of(view, request)
                about = {"file": str(file.path), "material": file.material, "frequency": file.frequency, "view": view}
                results.append(about | numbers)
            if not json or output is not None:
                pictures.append(draw(view, request, f"{label_of(file, source)}: {view}"))
        warnings[file] = [*tell_changes(file, source), *diagnoses.texts(file.label)]
    diagnoses.tell()
    for number, picture in enumerate(pictures):
        if output is not None:
            save(picture, output)
            if not json:
                terminal.text(f"Written: {shown_path(output)}")
                terminal.path(output)
        else:
            if number:
                terminal.text("")
            terminal.show(picture, width=terminal.width)
    if json:
        terminal.json([{**result, "warnings": warnings[file]} for file, result in zip(files, results, strict=True)])


def with_test_pair(files: list[ScoreFile], test_pair: str) -> list[ScoreFile]:
    """The score files that know a test pair: with it alone on the command line, its frequency need not be there."""
    from tracinctl.scores.files.open import test_pairs_of

    if len(files) == 1:
        return files  # whether it does shows when it is read
    known = {file: test_pairs_of(file.path) for file in files}
    files_with_pair = [file for file in files if test_pair in known[file]]
    if files_with_pair:
        return files_with_pair
    near = nearest(test_pair, [name for names in known.values() for name in names])
    # the error, when it is read, says what the id is or which is the nearest
    return [file for file in files if near and near in known[file]][:1] or files[:1]


def with_checkpoint_scores(file: ScoreFile, source: ScoreSource, report: ProgressCallback) -> ScoreSource:
    """The scores with those of each checkpoint, which lie beside their file."""
    from tracinctl.scores.files.per_checkpoint import with_checkpoints

    beside = file.beside
    if beside is None:
        raise UsageError(
            f"the name of {file.path} does not say which material and frequency it is of",
            hint="Score files are named <material>_<frequency>_influence_metadata.json.",
        )
    return with_checkpoints(source, beside.per_checkpoint_file, report)
