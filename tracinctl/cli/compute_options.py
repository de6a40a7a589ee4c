"""Flags of computing influence, which ``compute`` and ``workflow`` share, and the settings that they make."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tracinctl.cli.score_files import settings_of
from tracinctl.project.selection import split_list

if TYPE_CHECKING:
    from tracinctl.project.settings import ComputeSettings, SourceSettings

DATA = "Items, pairs and checkpoints"
INFLUENCE = "How influence is computed"
WRITTEN = "What is written"
JUDGING = "Whether it helps"

DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", metavar="DIR", help="Folder of recordings.", rich_help_panel=DATA, show_default="data"),
]
CheckpointDir = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint-dir",
        metavar="DIR",
        help="Folder of checkpoints, or of one folder <material>_<frequency> each.",
        rich_help_panel=DATA,
        show_default="checkpoints",
    ),
]
CheckpointPrefix = Annotated[
    str,
    typer.Option("--checkpoint-prefix", metavar="TEXT", help="How checkpoint file names begin.", rich_help_panel=DATA),
]
PairsFile = Annotated[
    Path | None,
    typer.Option(
        "--pairs-file",
        metavar="FILE",
        help="The pairs that training used: split,id1,id2,target.",
        rich_help_panel=DATA,
        show_default="the checkpoints' pairs.csv, else all",
    ),
]
Source = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="MODULE:FUNCTION",
        help="Your own function of (frequency, material) that gives a tracinctl.RankingData. It is run.",
        rich_help_panel=DATA,
        show_default="the recordings",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODULE:FUNCTION",
        help="Your own function that builds the model. It is run.",
        rich_help_panel=DATA,
        show_default="the built-in ranker",
    ),
]
NumTestSamples = Annotated[
    int | None,
    typer.Option(
        "--num-test-samples",
        metavar="N",
        min=1,
        help="Draw so many held-out pairs; more cost no gradient and find more.",
        rich_help_panel=DATA,
        show_default="all",
    ),
]
TestPair = Annotated[
    list[str] | None,
    typer.Option(
        "--test-pair",
        metavar="ID",
        help="Score this held-out pair alone, instead of all; may be given again.",
        rich_help_panel=DATA,
    ),
]
Seed = Annotated[
    int,
    typer.Option("--seed", metavar="N", help="Of the division into training and held-out items.", rich_help_panel=DATA),
]
Method = Annotated[
    Literal["tracin", "margin", "fisher"],
    typer.Option(
        "--method",
        metavar="METHOD",
        help="tracin: effect on the held-out pair's loss; margin: on its margin; fisher: the same, less what other"
        " training pairs teach too.",
        rich_help_panel=INFLUENCE,
    ),
]
LossType = Annotated[
    str,
    typer.Option(
        "--loss-type",
        metavar="LOSS",
        help="The loss of training: standard, logistic, ghm, or your own as MODULE:FUNCTION of (s_i, s_j, y).",
        rich_help_panel=INFLUENCE,
    ),
]
Margin = Annotated[
    float,
    typer.Option("--margin", metavar="X", help="Of the losses standard and ghm.", rich_help_panel=INFLUENCE),
]
GhmBins = Annotated[
    int, typer.Option("--ghm-bins", metavar="N", min=1, help="Of the loss ghm.", rich_help_panel=INFLUENCE)
]
GhmAlpha = Annotated[
    float, typer.Option("--ghm-alpha", metavar="X", help="Of the loss ghm.", rich_help_panel=INFLUENCE)
]
BatchSize = Annotated[
    int,
    typer.Option(
        "--batch-size", metavar="N", min=1, help="Of training; the loss ghm needs it.", rich_help_panel=INFLUENCE
    ),
]
CheckpointWeights = Annotated[
    Literal["relative", "absolute", "uniform"],
    typer.Option(
        "--checkpoint-weights",
        metavar="HOW",
        help="relative: learning rate over the mean one; absolute: the learning rate; uniform: 1.",
        rich_help_panel=INFLUENCE,
    ),
]
Device = Annotated[
    str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=INFLUENCE)
]
Dtype = Annotated[
    Literal["float32", "float64"],
    typer.Option(
        "--dtype",
        metavar="TYPE",
        help="Of the gradients: float32 or float64. Sums are float64.",
        rich_help_panel=INFLUENCE,
    ),
]
Layers = Annotated[
    str | None,
    typer.Option(
        "--layers",
        metavar="PATTERNS",
        help="Gradients of these parameters alone, with commas: 'classifier.*'.",
        rich_help_panel=INFLUENCE,
        show_default="all",
    ),
]
NumWorkers = Annotated[
    int,
    typer.Option(
        "--num-workers",
        metavar="N",
        min=0,
        help="Processes that read items, where --source gives a torch Dataset.",
        rich_help_panel=INFLUENCE,
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="What the work may take beside model, checkpoint, data and what is written: 4GiB.",
        rich_help_panel=INFLUENCE,
        show_default="a quarter of what is free",
    ),
]
ProjectionDim = Annotated[
    int | None,
    typer.Option(
        "--projection-dim",
        metavar="N",
        min=1,
        help="For large models: keep N numbers of a layer's gradient, by random projection. Its error is told.",
        rich_help_panel=INFLUENCE,
        show_default="exact",
    ),
]
Cache = Annotated[
    bool,
    typer.Option(
        "--cache/--no-cache",
        help="Keep kernels in .tracinctl/cache and use those that are there.",
        rich_help_panel=INFLUENCE,
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        "--processes",
        metavar="N",
        min=1,
        help="Share the work among so many processes of this machine; torchrun does it over several.",
        rich_help_panel=INFLUENCE,
    ),
]
Retrain = Annotated[
    bool,
    typer.Option(
        "--retrain",
        help="Train again without the list, and judge by held-out items that did not choose it whether that helps.",
        rich_help_panel=JUDGING,
    ),
]
Repeats = Annotated[
    int,
    typer.Option(
        "--repeats", metavar="N", min=1, help="Trainings of each kind, each with another seed.", rich_help_panel=JUDGING
    ),
]
AtOnce = Annotated[
    int,
    typer.Option(
        "--at-once",
        metavar="N",
        min=0,
        help="Trainings at once.",
        rich_help_panel=JUDGING,
        show_default="one a processor",
    ),
]
Format = Annotated[
    Literal["auto", "json", "parquet"],
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="json, parquet, or auto: Parquet for more than 1,000,000 scores.",
        rich_help_panel=WRITTEN,
    ),
]


def source_settings(
    ctx: Any, *, source: str | None, model: str | None, pairs_file: Path | None, seed: int
) -> "SourceSettings":
    """Where items, pairs and the model come from: the flags, and the tables [features] and [ranker] of the settings."""
    settings = settings_of(ctx)
    from tracinctl.project.settings import SourceSettings

    usual = SourceSettings()
    return SourceSettings(
        source=source,
        model=model,
        pairs_file=pairs_file,
        pairs=settings.get("", "pairs"),
        seed=seed,
        train_share=settings.get("", "train_share", usual.train_share),
        skip_missing=settings.get("", "skip_missing", usual.skip_missing),
        classes=settings.get("", "classes"),
        channel=settings.get("", "channel"),
        n_fft=settings.get("features", "n_fft", usual.n_fft),
        hop=settings.get("features", "hop", usual.hop),
        architecture=settings.get("ranker", "architecture"),
        normalise=settings.get("ranker", "normalise", usual.normalise),
    )


def compute_settings(
    origin: "SourceSettings", *, layers: str | None, memory: str | None, test_pair: list[str] | None, **others: Any
) -> "ComputeSettings":
    """Settings of computing, from the flags as they were typed."""
    from tracinctl.project.settings import ComputeSettings, parse_size

    return ComputeSettings(
        origin=origin,
        layers=tuple(split_list(layers, "--layers")) if layers is not None else None,
        memory=parse_size(memory) if memory is not None else None,
        test_pairs=tuple(test_pair or ()),
        **others,
    )


def kept(*, cache: bool) -> str:
    """What an interruption leaves, in words."""
    if not cache:
        return "Nothing was kept, for --no-cache was given."
    return "Checkpoints that were finished are kept in .tracinctl/cache; the same command goes on from there."
