"""What each command can be asked for, and which commands share a setting; see ``settings``.

``--help`` and completion load this module: only the standard library is imported, and these classes do without the
methods that take a dataclass longest to make.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tracinctl.plots.views import VIEW_LINES
from tracinctl.project.places import DataPlaces, GivenScores, ListPlace, ScorePlace, Selection
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
    Decided,
    Marking,
    Processes,
    Replacing,
    Retraining,
    ReviewSettings,
    SourceSettings,
    TrainProgram,
    WorkflowSettings,
)
from tracinctl.scores.options import Grouping, RequiredVotes, Rule, Thresholds, Votes
from tracinctl.training.options import TrainSettings


@dataclass(init=False, eq=False, repr=False)
class ComputeCommand:
    """What ``tracinctl compute`` can be asked for."""

    selection: Selection = field(metadata={"panel": WHICH})
    places: DataPlaces = field(metadata={"panel": DATA})
    compute: ComputeSettings
    processes: Processes = field(metadata={"panel": INFLUENCE})
    scores: ScorePlace = field(metadata={"panel": OUTPUT})


@dataclass(init=False, eq=False, repr=False)
class SweepCommand:
    """What ``tracinctl sweep`` can be asked for."""

    selection: Selection = field(metadata={"panel": WHICH})
    scores: ScorePlace = field(metadata={"panel": WHICH})
    tried: Thresholds = field(metadata={"panel": RULE})
    votes: Votes = field(metadata={"panel": RULE})
    grouping: Grouping = field(metadata={"panel": RULE})
    retraining: Retraining = field(metadata={"panel": EVALUATION})
    given: GivenScores = field(metadata={"panel": WHICH})
    top: int = field(
        default=0,
        metadata={
            "help": "List this many of the pairs with most votes as well, at the first threshold; with --by, show this "
            "many groups (20 unless given).",
            "least": 0,
            "example": "10",
            "panel": OUTPUT,
        },
    )


@dataclass(init=False, eq=False, repr=False)
class ExcludeCommand:
    """What ``tracinctl exclude`` can be asked for."""

    selection: Selection = field(metadata={"panel": WHICH})
    scores: ScorePlace = field(metadata={"panel": WHICH})
    rule: Rule = field(metadata={"panel": RULE})
    grouping: Grouping = field(metadata={"panel": RULE})
    lists: ListPlace = field(metadata={"panel": OUTPUT})
    marking: Marking = field(metadata={"panel": OUTPUT})
    decided: Decided = field(metadata={"panel": RULE})
    replacing: Replacing = field(metadata={"panel": OUTPUT})
    given: GivenScores = field(metadata={"panel": WHICH})
    output_file: Path | None = field(
        default=None,
        metadata={
            "help": "Where to write the list of a single score file; without it, "
            "<material>_<frequency>_excluded_pairs.txt in the folder of lists.",
            "metavar": "FILE",
            "one_call": True,
            "panel": OUTPUT,
        },
    )
    dry_run: bool = field(
        default=False,
        metadata={"help": "Show what would be listed, and write nothing.", "one_call": True, "panel": OUTPUT},
    )


@dataclass(init=False, eq=False, repr=False)
class TrainCommand:
    """What ``tracinctl train`` can be asked for."""

    selection: Selection = field(metadata={"panel": WHICH})
    places: DataPlaces = field(metadata={"panel": DATA})
    origin: SourceSettings = field(metadata={"panel": DATA, "without": ("source", "model", "seed")})
    training: TrainSettings = field(metadata={"panel": TRAINING})
    program: TrainProgram
    decided: Decided = field(metadata={"panel": DATA})
    exclusions_file: Path | None = field(
        default=None,
        metadata={
            "help": "Leave out the pairs and items that this list names.",
            "metavar": "FILE",
            "example": "'exclusions/plastic_500hz_excluded_pairs.txt'",
            "panel": DATA,
        },
    )
    force: bool = field(
        default=False,
        metadata={
            "help": "Replace checkpoints that scores were made from, and the pairs file beside them.",
            "one_call": True,
            "panel": OUTPUT,
        },
    )


@dataclass(init=False, eq=False, repr=False)
class PlotCommand:
    """What ``tracinctl plot`` can be asked for."""

    selection: Selection = field(metadata={"panel": WHICH})
    scores: ScorePlace = field(metadata={"panel": WHICH})
    tried: Thresholds = field(metadata={"panel": PICTURE})
    votes: RequiredVotes = field(metadata={"panel": RULE})
    grouping: Grouping = field(metadata={"panel": PICTURE})
    given: GivenScores = field(metadata={"panel": WHICH})
    test_pair: str | None = field(
        default=None,
        metadata={
            "help": "Scores on this test pair only: its proponents and opponents (view top).",
            "metavar": "ID",
            "one_call": True,
            "panel": PICTURE,
        },
    )
    train_pair: str | None = field(
        default=None,
        metadata={
            "help": "Scores of this training pair only: the held-out pairs that it hurts and helps (view top).",
            "metavar": "ID",
            "one_call": True,
            "panel": PICTURE,
        },
    )
    output: Path | None = field(
        default=None,
        metadata={
            "help": "Write the picture to a .txt, .svg or .html file.",
            "metavar": "FILE",
            "one_call": True,
            "panel": OUTPUT,
        },
    )
    top: int = field(
        default=10,
        metadata={"help": "Number of pairs or items to name.", "least": 1, "panel": PICTURE},
    )


@dataclass(init=False, eq=False, repr=False)
class WorkflowCommand:
    """What ``tracinctl workflow`` can be asked for."""

    selection: Selection = field(metadata={"panel": WHICH})
    places: DataPlaces = field(metadata={"panel": DATA})
    workflow: WorkflowSettings
    processes: Processes = field(metadata={"panel": INFLUENCE})
    scores: ScorePlace = field(metadata={"panel": OUTPUT})
    lists: ListPlace = field(metadata={"panel": OUTPUT})
    retraining: Retraining = field(metadata={"panel": EVALUATION})
    rounds: int = field(
        default=1,
        metadata={
            "help": "Train, score and list N times, each time without what the rounds before listed.",
            "least": 1,
            "one_call": True,
            "panel": EVALUATION,
        },
    )
    plot: str | None = field(
        default=None,
        metadata={
            "help": "Draw this view of each frequency as well: overview, distribution, top, ...",
            "metavar": "VIEW",
            "choices": VIEW_LINES,
            "example": "'overview'",
            "panel": OUTPUT,
        },
    )
    report: Path | None = field(
        default=None,
        metadata={
            "help": "Write a report with pictures, lists and what to do next: .html or .md.",
            "metavar": "FILE",
            "one_call": True,
            "panel": OUTPUT,
        },
    )


@dataclass(init=False, eq=False, repr=False)
class StatusCommand:
    """What ``tracinctl status`` can be asked for."""

    selection: Selection = field(metadata={"panel": WHICH})
    places: DataPlaces = field(metadata={"panel": DATA})
    scores: ScorePlace = field(metadata={"panel": WHICH})
    lists: ListPlace = field(metadata={"panel": WHICH})


@dataclass(init=False, eq=False, repr=False)
class ReviewCommand:
    """What ``tracinctl review`` can be asked for."""

    selection: Selection = field(metadata={"panel": WHICH})
    places: DataPlaces = field(metadata={"panel": DATA})
    scores: ScorePlace = field(metadata={"panel": WHICH})
    review: ReviewSettings = field(metadata={"panel": REVIEW})
    browser: bool = field(
        default=True,
        metadata={"help": "Open the page in a browser; without it, the address is printed.", "panel": REVIEW},
    )
    merge: Path | None = field(
        default=None,
        metadata={
            "help": "Add the decisions of another file, say where people disagree, and open no page.",
            "metavar": "FILE",
            "one_call": True,
            "panel": REVIEW,
        },
    )


@dataclass(init=False, eq=False, repr=False)
class ExplainCommand:
    """What ``tracinctl explain`` can be asked for."""

    selection: Selection = field(metadata={"panel": WHICH})
    places: DataPlaces = field(metadata={"panel": DATA})
    scores: ScorePlace = field(metadata={"panel": WHICH})


@dataclass(init=False, eq=False, repr=False)
class DemoCommand:
    """What ``tracinctl demo`` can be asked for."""

    frequencies: str = field(
        default="500hz,1000hz",
        metadata={
            "help": "Frequencies, with commas.",
            "metavar": "NAMES",
            "kind": "list",
            "panel": DEMO,
        },
    )
    seed: int = field(default=0, metadata={"help": "Seed of the recordings and the planted errors.", "panel": DEMO})


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
"""The settings of each command that has any."""

SAME_SETTING: Mapping[str, tuple[str, ...]] = {
    "compute": ("workflow",),
    "exclude": ("workflow",),
    "workflow": ("compute", "exclude"),
}
"""Commands that do the same step: a setting of one holds for the other, and two values for it are an error."""

TAKEN_OVER: Mapping[str, tuple[str, ...]] = {
    "sweep": ("exclude", "workflow"),
    "plot": ("exclude", "workflow"),
}
"""Commands whose settings hold where a command's own table does not name them."""
