"""The settings of every command: each is declared once, as a field with its type, default and help.

Settings of the engine, the rule and the trainings are declared beside them, settings of a project here. Each command's
class lists the groups that it uses. Flags, keys of ``tracinctl.toml``, environment variables, completion and help are
made from the fields; ``declared`` explains how.

``--help`` and completion import this module, so it imports only the standard library, and its dataclasses skip the
methods that are slow to generate; ``declared.build`` fills them.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracinctl.engine.options import EngineOptions
from tracinctl.retraining.options import RetrainSettings
from tracinctl.scores.options import Rule, setting

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


def folder(usual: str, text: str) -> Any:
    """The setting of a project's folder."""
    return setting(None, text, metavar="DIR", usual=usual, top=True)


@dataclass(init=False, eq=False, repr=False)
class Selection:
    """The chosen material and frequencies."""

    material: str | None = setting(
        None, "Material in the names of the recordings.", metavar="NAME", usual="the only one", top=True
    )
    frequency: str | None = setting(
        None,
        "Comma-separated frequencies, or `all` for every one found.",
        metavar="NAMES",
        usual="the settings', else all",
        kind="list",
        alias="frequencies",
        top=True,
    )


@dataclass(init=False, eq=False, repr=False)
class ScorePlace:
    """The folder of scores."""

    metadata_dir: Path | None = folder("metadata", "Folder of score files.")


@dataclass(init=False, eq=False, repr=False)
class GivenScores:
    """Score files given by name."""

    metadata_file: tuple[Path, ...] = setting(
        (),
        "Score file (.json or .parquet) instead of the project's; may be repeated.",
        metavar="FILE",
        kind="paths",
        one_call=True,
    )


@dataclass(init=False, eq=False, repr=False)
class ListPlace:
    """The folder of exclusion lists."""

    output_dir: Path | None = folder("exclusions", "Folder of exclusion lists.")


@dataclass(init=False, eq=False, repr=False)
class DataPlaces:
    """The folders of recordings and checkpoints."""

    data_root: Path | None = folder("data", "Folder of recordings.")
    checkpoint_dir: Path | None = folder(
        "checkpoints", "Folder of checkpoints, or of their folders <material>_<frequency>."
    )
    linked_root: Path | None = setting(
        None, "Second folder that recordings may link into.", metavar="DIR", usual="none", top=True
    )


@dataclass(eq=False, repr=False)
class SourceSettings:
    """The source of items, pairs and the model."""

    source: str | None = setting(
        None,
        "Your own function of (frequency, material) that returns a RankingData; tracinctl runs it.",
        metavar="MODULE:FUNCTION",
        usual="the recordings",
        top=True,
    )
    model: str | None = setting(
        None,
        "Your own function that builds the model; tracinctl runs it.",
        metavar="MODULE:FUNCTION",
        usual="the built-in ranker",
        top=True,
    )
    pairs_file: Path | None = setting(
        None, "The pairs that training used: split,id1,id2,target.", usual="the checkpoints' pairs.csv, else all"
    )
    pairs: str | None = setting(
        None,
        "How to make pairs without a pairs file.\n\nevery: each pair of items of different classes.\n\n"
        "drawn: random pairs, drawn with the seed.",
        metavar="HOW",
        choices={"every": "each pair of items of different classes", "drawn": "random pairs, drawn with the seed"},
        usual="every, with a warning",
        top=True,
    )
    seed: int = setting(42, "Seed of the train/held-out split, and of drawn pairs.")
    train_share: float = setting(0.7, "Share of the items used for training.", top=True)
    skip_missing: bool = setting(False, "Leave out pairs in the pairs file whose recordings are missing.", top=True)
    classes: tuple[str, ...] | None = setting(
        None,
        "Comma-separated classes of the recordings, lowest rank first.",
        metavar="NAMES",
        usual="by the numbers in their names",
        top=True,
    )
    channel: int | None = setting(
        None, "Channel of recordings with several channels, from 1.", usual="their average", least=1, top=True
    )
    n_fft: int = setting(2048, "Window of the spectrograms.", table="features")
    hop: int = setting(256, "Step of the spectrograms.", table="features")
    architecture: str | None = setting(None, "Architecture of the built-in ranker.", table="ranker")
    normalise: bool = setting(True, "Whether the built-in ranker normalises its input.", table="ranker")


@dataclass(eq=False, repr=False)
class ComputeSettings:
    """How to compute influence, and what to write."""

    origin: SourceSettings = field(default_factory=SourceSettings, metadata={"panel": DATA})
    checkpoint_prefix: str = setting("model_epoch_", "How checkpoint file names begin.", metavar="TEXT", panel=DATA)
    num_test_samples: int | None = setting(
        None,
        "Use N random held-out pairs instead of all. All cost no more and find more.",
        usual="all",
        least=1,
        panel=DATA,
    )
    test_pairs: tuple[str, ...] = setting(
        (),
        "Use this held-out pair instead of all; may be repeated.",
        name="test_pair",
        metavar="ID",
        kind="texts",
        one_call=True,
        panel=DATA,
    )
    engine: EngineOptions = field(default_factory=EngineOptions, metadata={"panel": INFLUENCE})
    cache: bool = setting(True, "Keep kernels in .tracinctl/cache and reuse them.", panel=INFLUENCE)
    prune_cache: bool = setting(
        False, "Delete kernels of other checkpoints or settings than these.", one_call=True, panel=INFLUENCE
    )
    influence: bool = setting(
        True, "Write <material>_<frequency>_influence_metadata.json.", name="compute_influence", panel=OUTPUT
    )
    self_influence: bool = setting(
        True,
        "Add self-influence and item-level influence to <material>_<frequency>_metadata.json.",
        name="compute_self_influence",
        panel=OUTPUT,
    )
    save_per_checkpoint: bool = setting(False, "Also write the scores of each checkpoint.", panel=OUTPUT)
    file_format: str = setting(
        "auto",
        "json, parquet, or auto: Parquet for more than 1,000,000 scores.",
        name="format",
        metavar="FORMAT",
        choices={"auto": "", "json": "", "parquet": ""},
        panel=OUTPUT,
    )


@dataclass(init=False, eq=False, repr=False)
class Processes:
    """The number of processes that share the work."""

    processes: int = setting(
        1, "Number of processes on this machine that share the work; for several machines, use torchrun.", least=1
    )


@dataclass(init=False, eq=False, repr=False)
class ListWriting:
    """What else to write with a list, and what to replace."""

    update_metadata: bool = setting(False, "Also mark the excluded ids in <material>_<frequency>_metadata.json.")
    force: bool = setting(False, "Replace a list that was edited by hand or written by another program.", one_call=True)


@dataclass(init=False, eq=False, repr=False)
class Retraining:
    """Whether and how to judge lists by training."""

    retrain: bool = setting(
        False, "Retrain with and without the list, and test the difference on held-out items that did not choose it."
    )
    how: RetrainSettings = field(default_factory=RetrainSettings)


@dataclass(eq=False, repr=False)
class ReviewSettings:
    """The settings of a review."""

    by: str = setting(
        "pair",
        "What to decide on: pair, item, or a column of the pairs file such as annotator.",
        metavar="WHAT",
        one_call=True,
    )

    order: str = setting(
        "harm",
        "Which suspects come first: the most harmful, or those most likely wrong.",
        metavar="ORDER",
        choices={
            "harm": "lowest total influence on the held-out pairs first",
            "error": "those that the other comparisons contradict most first",
        },
    )
    who: str = setting("", "Your name in the decisions.", metavar="NAME", usual="git's user.name", one_call=True)


@dataclass(eq=False, repr=False)
class Decided:
    """Whether to use people's decisions."""

    review: bool = setting(False, "Use the decisions in reviews/; see tracinctl review.", one_call=True)


@dataclass(eq=False, repr=False)
class WorkflowSettings:
    """The settings of a workflow.

    Attributes:
        list_later: whether the list is chosen and written later.
        given_names: names of the settings that the user gave.
    """

    rule: Rule = field(default_factory=Rule, metadata={"panel": RULE})
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    evaluate_only: bool = setting(
        False, "Compute and show what each threshold would exclude; write no list.", panel=OUTPUT
    )
    fail_fast: bool = setting(False, "Stop at the first frequency that fails.", panel=OUTPUT)
    writing: ListWriting = field(default_factory=ListWriting, metadata={"panel": OUTPUT})
    decided: Decided = field(default_factory=Decided, metadata={"panel": RULE})
    list_later: bool = False
    given_names: frozenset[str] = frozenset()
