"""Load a project's items, pairs and model, from its recordings and checkpoints or from the user's own code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracinctl.engine.checkpoints.measures import arguments_of
from tracinctl.errors import DataError, ModelError, UsageError
from tracinctl.files import is_there
from tracinctl.progress import ProgressCallback, no_progress
from tracinctl.project.settings import ComputeSettings, SourceSettings
from tracinctl.project.target import Target
from tracinctl.text import as_written, did_you_mean
from tracinctl.user_code import call_function, load_function

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

    from tracinctl.data.pairs import RankingData


def load_data(target: Target, origin: SourceSettings, progress: ProgressCallback = no_progress) -> RankingData:
    """Load the items and pairs of a target, from recordings or the user's own source."""
    from tracinctl.data.loading import load_recordings
    from tracinctl.data.pairs import RankingData

    if origin.source is not None:
        data = call_function(origin.source, "`source`", target.frequency, target.material)
        if not isinstance(data, RankingData):
            raise DataError(
                f"`source` {origin.source} returned a {type(data).__name__}, not a tracinctl.RankingData",
                hint="Return RankingData(train=Samples(...), train_pairs=Pairs(...), test=..., test_pairs=...).",
            )
        return data
    return load_recordings(
        target.project.data_root,
        target.material,
        target.frequency,
        n_fft=origin.n_fft,
        hop=origin.hop,
        channel=origin.channel,
        classes=origin.classes,
        linked_root=target.project.linked_root,
        pairs_file=pairs_file_of(target, origin),
        pairs=origin.pairs,
        seed=origin.seed,
        train_share=origin.train_share,
        skip_missing=origin.skip_missing,
        progress=progress,
    )


def pairs_file_of(target: Target, origin: SourceSettings) -> Path | None:
    """The file of the pairs that training used; None without one, or with the user's own source."""
    if origin.source is not None:
        return None
    beside = target.pairs_file
    if is_there(beside) and is_there(target.left_out_file):
        return beside  # a file given by the user holds the pairs of the first round
    return origin.pairs_file or (beside if is_there(beside) else None)


def assumed_pairs(target: Target, origin: SourceSettings) -> str:
    """A warning that the training pairs are assumed; empty if a file or setting names them."""
    if origin.source is not None or origin.pairs is not None or pairs_file_of(target, origin) is not None:
        return ""
    imported = target.project.root / target.pairs_file.name
    perhaps = f", perhaps {imported}," if imported.is_file() else ""
    return (
        f"the training pairs are assumed: there is no {target.pairs_file.name} beside these checkpoints, so every pair "
        f"of recordings of different class counts. Give the pairs that training used{perhaps} with `pairs_file`, or "
        "set `pairs`: drawn if training drew them with random_split and numpy.random.choice, every if it used them all"
    )


FEATURES: Final = ("n_fft", "hop", "channel")
"""Settings that change the inputs of the model."""


def trained_otherwise(checkpoint: Path, origin: SourceSettings) -> list[str]:
    """A note if a checkpoint was trained on other features of the recordings."""
    trained = arguments_of(checkpoint) if origin.source is None else {}
    notes = []
    for name in (*FEATURES, "normalise"):
        then, now = trained.get(name, ""), getattr(origin, name)
        if (then is None or isinstance(then, int)) and then != now:
            was, is_now = ("not set" if value is None else str(value).lower() for value in (then, now))
            notes.append(f"{checkpoint.name}: trained with {name} {was}, but the scores use {name} {is_now}")
    return notes


def make_model(origin: SourceSettings, first_checkpoint: Path) -> nn.Module:
    """Build the checkpoints' model: the user's own, or the built-in ranker.

    Raises:
        TracinctlError: the model cannot be built, or the checkpoint does not fit any built-in ranker.
    """
    from torch import nn

    if origin.model is not None:
        if isinstance(model := load_function(origin.model, "`model`"), nn.Module):
            raise ModelError(
                f"`model` {origin.model} is a model, not a function",
                hint="Write a function that takes no arguments and returns the model.",
            )
        model = call_function(origin.model, "`model`")
        if not isinstance(model, nn.Module):
            raise ModelError(
                f"`model` {origin.model} returned a {type(model).__name__}, not a torch.nn.Module",
                hint="Write a function that takes no arguments and returns the model.",
            )
        return model
    from tracinctl.engine.checkpoints.load import load_checkpoint
    from tracinctl.engine.checkpoints.state_keys import without_wrappers
    from tracinctl.training.models import architecture_of, build_ranker

    architecture = origin.architecture or architecture_of(without_wrappers(load_checkpoint(first_checkpoint).state))
    return build_ranker(architecture, origin.normalise)


def choose_test_pairs(data: RankingData, settings: ComputeSettings) -> npt.NDArray[np.int64]:
    """Rows of the held-out pairs to use: the named ones, a number drawn with the seed, or all.

    Raises:
        UsageError: a named pair is not there, or both a number and names are given.
    """
    import numpy as np

    pairs, number = data.test_pairs, settings.num_test_samples
    if settings.test_pairs:
        if number is not None:
            raise UsageError("`test_pair` and `num_test_samples` exclude each other", hint="Give one of them.")
        ids = pairs.row_ids(data.test.ids)
        rows = []
        for name in settings.test_pairs:
            written = as_written(name, ids)
            if written not in ids:
                some = f"There are {len(ids)}, for example {ids[0]}." if ids else ""
                raise UsageError(f"there is no held-out pair {name!r}", hint=did_you_mean(name, ids, some))
            rows.append(ids.index(written))
        return np.array(rows, dtype=np.int64)
    if number is None or number >= len(pairs):
        return np.arange(len(pairs))
    return np.sort(np.random.default_rng(settings.origin.seed).choice(len(pairs), number, replace=False))
