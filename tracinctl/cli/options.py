"""Flags that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

ViewName = Literal["overview", "distribution", "sweep", "heatmap", "top", "checkpoints", "self"]

PairMode = Literal["ranking_pair", "full_pair", "sample"]

WHICH = "Which scores"
RULE = "The rule"
OUTPUT = "Output"

Material = Annotated[
    str | None,
    typer.Option("--material", metavar="NAME", help="Material.", rich_help_panel=WHICH, show_default="the only one"),
]
Frequency = Annotated[
    str | None,
    typer.Option(
        "--frequency",
        "--frequencies",
        metavar="NAMES",
        help="Frequencies, with commas; `all` stands for every one found.",
        rich_help_panel=WHICH,
        show_default="the settings', else all",
    ),
]
MetadataFile = Annotated[
    list[Path] | None,
    typer.Option(
        "--metadata-file",
        metavar="FILE",
        help="Score file (.json or .parquet); may be given again. Without it, the project's.",
        rich_help_panel=WHICH,
    ),
]
MetadataDir = Annotated[
    Path | None,
    typer.Option(
        "--metadata-dir",
        metavar="DIR",
        help="Folder of score files.",
        rich_help_panel=WHICH,
        show_default="metadata",
    ),
]
OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        metavar="DIR",
        help="Folder of exclusion lists.",
        rich_help_panel=OUTPUT,
        show_default="exclusions",
    ),
]
Threshold = Annotated[
    str,
    typer.Option(
        "--threshold",
        metavar="SCORE",
        help="A score below it is a vote against the pair: a score (-5) or a share of all scores (1%).",
        rich_help_panel=RULE,
    ),
]
UpperThreshold = Annotated[
    float | None,
    typer.Option(
        "--upper-threshold",
        metavar="SCORE",
        help="A score above it is a vote as well.",
        rich_help_panel=RULE,
        show_default="none",
    ),
]
MinOccurrences = Annotated[
    str,
    typer.Option(
        "--min-occurrences",
        metavar="VOTES",
        help="Votes that make a pair harmful: a number (3) or a share of the active test pairs (60%).",
        rich_help_panel=RULE,
    ),
]
MaxExclusions = Annotated[
    int | None,
    typer.Option(
        "--max-exclusions",
        metavar="N",
        min=1,
        help="List at most this many, the most harmful first.",
        rich_help_panel=RULE,
        show_default="no limit",
    ),
]
Mode = Annotated[
    PairMode,
    typer.Option(
        "--pair-mode",
        metavar="MODE",
        help="What a list names.\n\nranking_pair: leave out the pair, keep both items.\n\nfull_pair: leave out both "
        "items of each harmful pair.\n\nsample: leave out single items.",
        rich_help_panel=RULE,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print the result as JSON and nothing else.", allow_from_autoenv=False, rich_help_panel=OUTPUT
    ),
]
Csv = Annotated[
    bool,
    typer.Option(
        "--csv", help="Print the table as CSV and nothing else.", allow_from_autoenv=False, rich_help_panel=OUTPUT
    ),
]

DEFAULT_THRESHOLD = "0"
DEFAULT_THRESHOLDS = "0,-5,-10,-15"
DEFAULT_MIN_OCCURRENCES = "60%"
