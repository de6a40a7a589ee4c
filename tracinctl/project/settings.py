"""The settings of every command: each is declared once, as a field with its type, default and help.

Settings of the engine, the rule and the trainings are declared beside them, settings of a project here. Each command's
class lists the groups that it uses. Flags, keys of ``tracinctl.toml``, environment variables, completion and help are
made from the fields; ``declared`` explains how.

``--help`` and completion import this module, so it imports only the standard library, and its dataclasses skip the
methods that are slow to generate; ``declared.build`` fills them.
"""

from dataclasses import dataclass, field
from pathlib import Path

from tracinctl.engine.options import EngineOptions
from tracinctl.retraining.options import RetrainSettings
from tracinctl.scores.options import Rule

DATA = "Data and checkpoints"
INFLUENCE = "Influence"
WHICH = "Which scores"
RULE = "Rule"
OUTPUT = "Output"
EVALUATION = "Evaluation"
TRAINING = "Training"
PICTURE = "Picture"
DEMO = "Demo"
REVIEW = "Review"

FORMATS = ("auto", "json", "parquet")


@dataclass(eq=False, repr=False)
class SourceSettings:
    """The source of items, pairs and the model.

    Attributes:
        source: ``package.module:function`` of (frequency, material) that returns ``RankingData``; None = recordings.
        model: ``package.module:function`` that builds the model; None = the built-in ranker.
        pairs_file: the pairs that training used; None = ``pairs.csv`` beside the checkpoints, if it exists.
        pairs: how to make pairs without a file: ``every`` or ``drawn``; None = ``every``, and ``compute`` warns that
            this is an assumption.
        seed: seed of the train/held-out split, and of drawn pairs.
        train_share: share of the items used for training.
        skip_missing: leave out pairs of the file whose recordings are missing.
        classes: class names, lowest rank first; None = by the numbers in their names.
        channel: channel of recordings with several, from 1; None = their average.
        n_fft, hop: window and step of the spectrograms.
        architecture, normalise: settings of the built-in ranker; None = the checkpoint's architecture.
    """

    source: str | None = field(
        default=None,
        metadata={
            "help": "Your own function of (frequency, material) that returns a RankingData; tracinctl runs it.",
            "metavar": "MODULE:FUNCTION",
            "usual": "the recordings",
            "example": "'my_project:load'",
            "top": True,
        },
    )
    model: str | None = field(
        default=None,
        metadata={
            "help": "Your own function that builds the model; tracinctl runs it.",
            "metavar": "MODULE:FUNCTION",
            "usual": "the built-in ranker",
            "example": "'my_project:build_model'",
            "top": True,
        },
    )
    pairs_file: Path | None = field(
        default=None,
        metadata={
            "help": "The pairs that training used: split,id1,id2,target.",
            "metavar": "FILE",
            "usual": "the checkpoints' pairs.csv, else all",
            "example": "'pairs.csv'",
        },
    )
    pairs: str | None = field(
        default=None,
        metadata={
            "help": "How to make pairs without a pairs file.\n\nevery: all items of different class.\n\n"
            "drawn: at random with the seed.",
            "metavar": "HOW",
            "choices": {"every": "all items of different class", "drawn": "at random with the seed"},
            "usual": "every, with a warning",
            "example": "'drawn'",
            "top": True,
        },
    )
    seed: int = field(default=42, metadata={"help": "Seed of the train/held-out split, and of drawn pairs."})
    train_share: float = field(default=0.7, metadata={"help": "Share of the items used for training.", "top": True})
    skip_missing: bool = field(
        default=False, metadata={"help": "Leave out pairs of the file whose recordings are missing.", "top": True}
    )
    classes: tuple[str, ...] | None = field(
        default=None,
        metadata={
            "help": "Comma-separated classes of the recordings, lowest rank first.",
            "metavar": "NAMES",
            "usual": "by the numbers in their names",
            "example": "['deg000', 'deg036']",
            "top": True,
        },
    )
    channel: int | None = field(
        default=None,
        metadata={
            "help": "Channel of recordings with several channels, from 1.",
            "usual": "their average",
            "least": 1,
            "example": "1",
            "top": True,
        },
    )
    n_fft: int = field(default=2048, metadata={"help": "Window of the spectrograms.", "table": "features"})
    hop: int = field(default=256, metadata={"help": "Step of the spectrograms.", "table": "features"})
    architecture: str | None = field(
        default=None,
        metadata={"help": "Architecture of the built-in ranker.", "table": "ranker", "example": "'small'"},
    )
    normalise: bool = field(
        default=True, metadata={"help": "Whether the built-in ranker normalises its input.", "table": "ranker"}
    )


@dataclass(eq=False, repr=False)
class ComputeSettings:
    """How to compute influence, and what to write.

    Attributes:
        origin: the source of items, pairs and the model.
        checkpoint_prefix: how the names of checkpoint files begin.
        num_test_samples: number of held-out pairs, drawn with the seed; None = all.
        test_pairs: ids of the held-out pairs to use; empty = all.
        engine: options of the engine.
        cache: whether to keep and reuse kernels.
        influence, self_influence, save_per_checkpoint: what to write.
        file_format: ``json``, ``parquet``, or ``auto``: Parquet for more than a million scores.
        prune_cache: whether to delete this target's unused kernels.
    """

    origin: SourceSettings = field(default_factory=SourceSettings, metadata={"panel": DATA})
    checkpoint_prefix: str = field(
        default="model_epoch_",
        metadata={"help": "How checkpoint file names begin.", "metavar": "TEXT", "panel": DATA},
    )
    num_test_samples: int | None = field(
        default=None,
        metadata={
            "help": "Use N random held-out pairs instead of all. All cost no more and find more.",
            "usual": "all",
            "least": 1,
            "example": "5",
            "panel": DATA,
        },
    )
    test_pairs: tuple[str, ...] = field(
        default=(),
        metadata={
            "name": "test_pair",
            "help": "Use this held-out pair instead of all; may be repeated.",
            "metavar": "ID",
            "kind": "texts",
            "one_call": True,
            "panel": DATA,
        },
    )
    engine: EngineOptions = field(default_factory=EngineOptions, metadata={"panel": INFLUENCE})
    cache: bool = field(
        default=True,
        metadata={"help": "Keep kernels in .tracinctl/cache and reuse them.", "panel": INFLUENCE},
    )
    prune_cache: bool = field(
        default=False,
        metadata={
            "help": "Delete kernels of other checkpoints or settings than these.",
            "one_call": True,
            "panel": INFLUENCE,
        },
    )
    influence: bool = field(
        default=True,
        metadata={
            "name": "compute_influence",
            "help": "Write <material>_<frequency>_influence_metadata.json.",
            "panel": OUTPUT,
        },
    )
    self_influence: bool = field(
        default=True,
        metadata={
            "name": "compute_self_influence",
            "help": "Add self-influence and item-level influence to <material>_<frequency>_metadata.json.",
            "panel": OUTPUT,
        },
    )
    save_per_checkpoint: bool = field(
        default=False, metadata={"help": "Also write the scores of each checkpoint.", "panel": OUTPUT}
    )
    file_format: str = field(
        default="auto",
        metadata={
            "name": "format",
            "help": "json, parquet, or auto: Parquet for more than 1,000,000 scores.",
            "metavar": "FORMAT",
            "choices": dict.fromkeys(FORMATS, ""),
            "panel": OUTPUT,
        },
    )


@dataclass(init=False, eq=False, repr=False)
class Processes:
    """The number of processes that share the work."""

    processes: int = field(
        default=1,
        metadata={
            "help": "Number of processes on this machine that share the work; for several machines, use torchrun.",
            "least": 1,
            "example": "2",
        },
    )


@dataclass(init=False, eq=False, repr=False)
class Marking:
    """Whether to mark a list in the user's records."""

    update_metadata: bool = field(
        default=False,
        metadata={"help": "Also mark the excluded ids in <material>_<frequency>_metadata.json."},
    )


@dataclass(init=False, eq=False, repr=False)
class Replacing:
    """Whether to replace a list that a person made."""

    force: bool = field(
        default=False,
        metadata={"help": "Replace a list that was edited by hand or written by another program.", "one_call": True},
    )


@dataclass(init=False, eq=False, repr=False)
class Retraining:
    """Whether and how to judge lists by training."""

    retrain: bool = field(
        default=False,
        metadata={
            "help": "Retrain with and without the list, and test the difference on held-out items that did not choose "
            "it.",
        },
    )
    how: RetrainSettings = field(default_factory=RetrainSettings)


@dataclass(init=False, eq=False, repr=False)
class TrainProgram:
    """The user's own training program, which tracinctl runs in place of the built-in ranker to judge lists."""

    command: str | None = field(
        default=None,
        metadata={
            "help": "Your own training program.",
            "table": "train",
            "example": "'python train.py --exclusions-file {exclusions_file}'",
        },
    )
    metrics_file: str = field(
        default="metrics.json", metadata={"help": "The file where your program writes its metrics.", "table": "train"}
    )


@dataclass(eq=False, repr=False)
class ReviewSettings:
    """The settings of a review.

    Attributes:
        by: what to decide on: ``pair``, ``item``, or a column of the pairs, such as ``annotator``.
        order: ``harm``: most harmful suspects first, or ``error``: those that other comparisons contradict most.
        who: the name of the person who decides.
    """

    by: str = field(
        default="pair",
        metadata={
            "help": "What to decide on: pair, item, or a column of the pairs file such as annotator.",
            "metavar": "WHAT",
            "one_call": True,
        },
    )

    order: str = field(
        default="harm",
        metadata={
            "help": "Which suspects come first: the most harmful, or those most likely wrong.",
            "metavar": "ORDER",
            "choices": {
                "harm": "lowest total influence on the held-out pairs first",
                "error": "those that the other comparisons contradict most first",
            },
        },
    )
    who: str = field(
        default="",
        metadata={
            "help": "Your name in the decisions.",
            "metavar": "NAME",
            "usual": "git's user.name",
            "one_call": True,
        },
    )


@dataclass(eq=False, repr=False)
class Decided:
    """Whether to use people's decisions."""

    review: bool = field(
        default=False,
        metadata={"help": "Use the decisions in reviews/; see tracinctl review.", "one_call": True},
    )


@dataclass(eq=False, repr=False)
class WorkflowSettings:
    """The settings of a workflow.

    Attributes:
        compute: how to compute influence.
        rule: the rule that chooses the list.
        evaluate_only: compute and count, but write no list.
        fail_fast: stop at the first target that fails.
        marking: whether to mark the list in the user's records.
        replacing: whether to replace a list that a person made.
        list_later: whether the list is chosen and written later.
        asked: names of the settings that the user gave.
    """

    rule: Rule = field(default_factory=Rule, metadata={"panel": RULE})
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    evaluate_only: bool = field(
        default=False,
        metadata={"help": "Compute and show what each threshold would exclude; write no list.", "panel": OUTPUT},
    )
    fail_fast: bool = field(
        default=False, metadata={"help": "Stop at the first frequency that fails.", "panel": OUTPUT}
    )
    marking: Marking = field(default_factory=Marking, metadata={"panel": OUTPUT})
    decided: Decided = field(default_factory=Decided, metadata={"panel": RULE})
    replacing: Replacing = field(default_factory=Replacing, metadata={"panel": OUTPUT})
    list_later: bool = False
    asked: frozenset[str] = frozenset()
