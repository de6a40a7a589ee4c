"""The settings class of each command, and the commands that share settings; see ``settings``.

``--help`` and completion import this module, so it imports only the standard library, and its dataclasses skip the
methods that are slow to generate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tracinctl.plots.views import VIEW_LINES
from tracinctl.project.settings import (
    DATA,
    DEMO,
    EVALUATION,
    INFLUENCE,
    OUTPUT,
    PICTURE,
    REVIEW,
    RULE,
    TRAINING,
    WHICH,
    ComputeSettings,
    DataPlaces,
    Decided,
    GivenScores,
    ListPlace,
    ListWriting,
    Processes,
    Retraining,
    ReviewSettings,
    ScorePlace,
    Selection,
    SourceSettings,
    WorkflowSettings,
)
from tracinctl.scores.options import Grouping, RequiredVotes, Rule, Thresholds, Votes, setting
from tracinctl.training.options import TrainSettings


@dataclass(init=False, eq=False, repr=False)
class TargetCommand:
    """The settings of every command on materials and frequencies."""

    selection: Selection = field(metadata={"panel": WHICH})


@dataclass(init=False, eq=False, repr=False)
class ComputeCommand(TargetCommand):
    """The settings of ``tracinctl compute``."""

    places: DataPlaces = field(metadata={"panel": DATA})
    compute: ComputeSettings
    processes: Processes = field(metadata={"panel": INFLUENCE})
    scores: ScorePlace = field(metadata={"panel": OUTPUT})


@dataclass(init=False, eq=False, repr=False)
class SweepCommand(TargetCommand):
    """The settings of ``tracinctl sweep``."""

    scores: ScorePlace = field(metadata={"panel": WHICH})
    tried: Thresholds = field(metadata={"panel": RULE})
    votes: Votes = field(metadata={"panel": RULE})
    grouping: Grouping = field(metadata={"panel": RULE})
    retraining: Retraining = field(metadata={"panel": EVALUATION})
    score_files: GivenScores = field(metadata={"panel": WHICH})
    top: int = setting(
        0,
        "Also list the N pairs with the most votes at the first threshold; with --by, show N groups instead of 20.",
        least=0,
        panel=OUTPUT,
    )


@dataclass(init=False, eq=False, repr=False)
class ExcludeCommand(TargetCommand):
    """The settings of ``tracinctl exclude``."""

    scores: ScorePlace = field(metadata={"panel": WHICH})
    rule: Rule = field(metadata={"panel": RULE})
    grouping: Grouping = field(metadata={"panel": RULE})
    lists: ListPlace = field(metadata={"panel": OUTPUT})
    writing: ListWriting = field(metadata={"panel": OUTPUT})
    decided: Decided = field(metadata={"panel": RULE})
    score_files: GivenScores = field(metadata={"panel": WHICH})
    output_file: Path | None = setting(
        None,
        "The list to write, for a single score file. Default: "
        "<material>_<frequency>_excluded_pairs.txt in the folder of lists.",
        one_call=True,
        panel=OUTPUT,
    )
    dry_run: bool = setting(False, "Show what would be listed; write nothing.", one_call=True, panel=OUTPUT)


@dataclass(init=False, eq=False, repr=False)
class TrainCommand(TargetCommand):
    """The settings of ``tracinctl train``."""

    places: DataPlaces = field(metadata={"panel": DATA})
    origin: SourceSettings = field(metadata={"panel": DATA, "without": ("source", "model", "seed")})
    training: TrainSettings = field(metadata={"panel": TRAINING})
    decided: Decided = field(metadata={"panel": DATA})
    exclusions_file: Path | None = setting(None, "Leave out the pairs and items on this list.", panel=DATA)
    # runs in place of the built-in ranker to judge lists
    command: str | None = setting(None, "Your own training program.", table="train")
    metrics_file: str = setting("metrics.json", "The file where your program writes its metrics.", table="train")
    force: bool = setting(
        False,
        "Replace checkpoints even if scores were made from them, and the pairs file beside them.",
        one_call=True,
        panel=OUTPUT,
    )


@dataclass(init=False, eq=False, repr=False)
class PlotCommand(TargetCommand):
    """The settings of ``tracinctl plot``."""

    scores: ScorePlace = field(metadata={"panel": WHICH})
    tried: Thresholds = field(metadata={"panel": PICTURE})
    votes: RequiredVotes = field(metadata={"panel": RULE})
    grouping: Grouping = field(metadata={"panel": PICTURE})
    score_files: GivenScores = field(metadata={"panel": WHICH})
    test_pair: str | None = setting(
        None,
        "Show the scores on this test pair only: its proponents and opponents (view top).",
        metavar="ID",
        one_call=True,
        panel=PICTURE,
    )
    train_pair: str | None = setting(
        None,
        "Show the scores of this training pair only: the held-out pairs it hurts and helps (view top).",
        metavar="ID",
        one_call=True,
        panel=PICTURE,
    )
    output: Path | None = setting(None, "Write the picture to a .txt, .svg or .html file.", one_call=True, panel=OUTPUT)
    top: int = setting(10, "Number of pairs or items to show.", least=1, panel=PICTURE)


@dataclass(init=False, eq=False, repr=False)
class WorkflowCommand(TargetCommand):
    """The settings of ``tracinctl workflow``."""

    places: DataPlaces = field(metadata={"panel": DATA})
    workflow: WorkflowSettings
    processes: Processes = field(metadata={"panel": INFLUENCE})
    scores: ScorePlace = field(metadata={"panel": OUTPUT})
    lists: ListPlace = field(metadata={"panel": OUTPUT})
    retraining: Retraining = field(metadata={"panel": EVALUATION})
    rounds: int = setting(
        1,
        "Train, score and list N times, each time without what earlier rounds listed.",
        least=1,
        one_call=True,
        panel=EVALUATION,
    )
    plot: str | None = setting(
        None,
        "Also draw this view of each frequency: overview, distribution, top, ...",
        metavar="VIEW",
        choices=VIEW_LINES,
        panel=OUTPUT,
    )
    report: Path | None = setting(
        None,
        "Write a report with pictures, lists and what to do next: .html or .md.",
        one_call=True,
        panel=OUTPUT,
    )


@dataclass(init=False, eq=False, repr=False)
class StatusCommand(TargetCommand):
    """The settings of ``tracinctl status``."""

    places: DataPlaces = field(metadata={"panel": DATA})
    scores: ScorePlace = field(metadata={"panel": WHICH})
    lists: ListPlace = field(metadata={"panel": WHICH})


@dataclass(init=False, eq=False, repr=False)
class ReviewCommand(TargetCommand):
    """The settings of ``tracinctl review``."""

    places: DataPlaces = field(metadata={"panel": DATA})
    scores: ScorePlace = field(metadata={"panel": WHICH})
    review: ReviewSettings = field(metadata={"panel": REVIEW})
    browser: bool = setting(True, "Open the page in a browser, or only print its address.", panel=REVIEW)
    merge: Path | None = setting(
        None,
        "Add the decisions of another file and show where people disagree; opens no page.",
        one_call=True,
        panel=REVIEW,
    )


@dataclass(init=False, eq=False, repr=False)
class ExplainCommand(TargetCommand):
    """The settings of ``tracinctl explain``."""

    places: DataPlaces = field(metadata={"panel": DATA})
    scores: ScorePlace = field(metadata={"panel": WHICH})


@dataclass(init=False, eq=False, repr=False)
class DemoCommand:
    """The settings of ``tracinctl demo``."""

    frequencies: str = setting("500hz,1000hz", "Comma-separated frequencies.", metavar="NAMES", kind="list", panel=DEMO)
    seed: int = setting(0, "Seed of the recordings and the planted errors.", panel=DEMO)


COMMANDS: Mapping[str, type] = {
    "compute": ComputeCommand,
    "sweep": SweepCommand,
    "exclude": ExcludeCommand,
    "train": TrainCommand,
    "plot": PlotCommand,
    "workflow": WorkflowCommand,
    "review": ReviewCommand,
    "status": StatusCommand,
    "explain": ExplainCommand,
    "demo": DemoCommand,
}
"""The settings class of each command with settings."""

SAME_SETTING: Mapping[str, tuple[str, ...]] = {
    "compute": ("workflow",),
    "exclude": ("workflow",),
    "workflow": ("compute", "exclude"),
}
"""Commands that do the same step: they share their settings, and two values for one setting are an error."""

TAKEN_OVER: Mapping[str, tuple[str, ...]] = {
    "sweep": ("exclude", "workflow"),
    "plot": ("exclude", "workflow"),
}
"""Commands whose tables are searched for settings that a command's own table lacks."""
