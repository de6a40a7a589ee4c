"""Every setting there is, and what it holds. Flags, environment variables and ``tracinctl.toml`` share these names."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Kind(Enum):
    """What a setting holds. The value is the word used in messages."""

    TEXT = "a text"
    PATH = "a path"
    WHOLE = "a whole number"
    NUMBER = "a number"
    TRUTH = "true or false"
    SCORE = "a number or a text such as '1%'"
    LIST = "a list, or a text with commas"


_PLACES = {"material": Kind.TEXT, "data_root": Kind.PATH, "checkpoint_dir": Kind.PATH, "metadata_dir": Kind.PATH}
_RULE = {"min_occurrences": Kind.SCORE, "upper_threshold": Kind.NUMBER}
_CODE = {"source": Kind.TEXT, "model": Kind.TEXT}
_ENGINE = {
    "checkpoint_prefix": Kind.TEXT,
    "pairs_file": Kind.PATH,
    "method": Kind.TEXT,
    "loss_type": Kind.TEXT,
    "margin": Kind.NUMBER,
    "ghm_bins": Kind.WHOLE,
    "ghm_alpha": Kind.NUMBER,
    "checkpoint_weights": Kind.TEXT,
    "batch_size": Kind.WHOLE,
    "num_test_samples": Kind.WHOLE,
    "device": Kind.TEXT,
    "dtype": Kind.TEXT,
    "layers": Kind.LIST,
    "memory": Kind.TEXT,
    "num_workers": Kind.WHOLE,
    "cache": Kind.TRUTH,
    "processes": Kind.WHOLE,
    "format": Kind.TEXT,
    "seed": Kind.WHOLE,
}

SETTINGS: Mapping[str, Mapping[str, Kind]] = {
    "": {**_PLACES, "frequencies": Kind.LIST, "output_dir": Kind.PATH, **_CODE},
    "features": {"n_fft": Kind.WHOLE, "hop": Kind.WHOLE},
    "ranker": {"architecture": Kind.TEXT, "normalise": Kind.TRUTH},
    "compute": {
        **_PLACES,
        "frequency": Kind.LIST,
        **_CODE,
        **_ENGINE,
        "compute_influence": Kind.TRUTH,
        "compute_self_influence": Kind.TRUTH,
        "save_per_checkpoint": Kind.TRUTH,
    },
    "sweep": {
        "material": Kind.TEXT,
        "frequency": Kind.LIST,
        "metadata_dir": Kind.PATH,
        "thresholds": Kind.LIST,
        **_RULE,
        "top": Kind.WHOLE,
        "retrain": Kind.TRUTH,
        "repeats": Kind.WHOLE,
        "at_once": Kind.WHOLE,
    },
    "exclude": {
        "material": Kind.TEXT,
        "frequency": Kind.LIST,
        "metadata_dir": Kind.PATH,
        "output_dir": Kind.PATH,
        "threshold": Kind.SCORE,
        **_RULE,
        "max_exclusions": Kind.WHOLE,
        "pair_mode": Kind.TEXT,
        "update_metadata": Kind.TRUTH,
    },
    "train": {
        "material": Kind.TEXT,
        "frequency": Kind.LIST,
        "data_root": Kind.PATH,
        "checkpoint_dir": Kind.PATH,
        "exclusions_file": Kind.PATH,
        "pairs_file": Kind.PATH,
        "epochs": Kind.WHOLE,
        "checkpoint_interval": Kind.WHOLE,
        "loss_type": Kind.TEXT,
        "margin": Kind.NUMBER,
        "learning_rate": Kind.NUMBER,
        "batch_size": Kind.WHOLE,
        "weight_decay": Kind.NUMBER,
        "seed": Kind.WHOLE,
        "command": Kind.TEXT,
        "metrics_file": Kind.TEXT,
    },
    "plot": {
        "material": Kind.TEXT,
        "frequency": Kind.LIST,
        "metadata_dir": Kind.PATH,
        "thresholds": Kind.LIST,
        "min_occurrences": Kind.SCORE,
        "top": Kind.WHOLE,
    },
    "workflow": {
        **_PLACES,
        "frequencies": Kind.LIST,
        "output_dir": Kind.PATH,
        **_CODE,
        **_ENGINE,
        "threshold": Kind.SCORE,
        **_RULE,
        "max_exclusions": Kind.WHOLE,
        "pair_mode": Kind.TEXT,
        "evaluate_only": Kind.TRUTH,
        "fail_fast": Kind.TRUTH,
        "retrain": Kind.TRUTH,
        "repeats": Kind.WHOLE,
        "at_once": Kind.WHOLE,
        "plot": Kind.TEXT,
    },
    "demo": {"frequencies": Kind.LIST, "seed": Kind.WHOLE},
}
"""Every setting there is: table ("" for the top of the file) -> key -> what it holds."""

FLAGS_WITHOUT_SETTING = frozenset(
    {
        "csv",
        "directory",
        "dry_run",
        "json",
        "metadata_file",
        "output",
        "output_file",
        "prune_cache",
        "report",
        "test_pair",
        "view",
    }
)
"""Flags that belong to one call and are therefore no settings; they can still be environment variables."""

SETTINGS_WITHOUT_FLAG = frozenset({"command", "metrics_file"})
"""Settings of ``[train]`` that only a settings file holds: what they say is run."""

EXAMPLES = {
    Kind.TEXT: "For example  material = 'plastic'",
    Kind.PATH: "For example  data_root = 'data'  (relative to the settings file)",
    Kind.WHOLE: "For example  epochs = 30",
    Kind.NUMBER: "For example  margin = 1.0",
    Kind.TRUTH: "Write true or false, without quotes.",
    Kind.SCORE: "For example  threshold = -5  or  threshold = '1%'",
    Kind.LIST: "For example  frequencies = ['500hz', '1000hz']",
}
"""How a setting of each kind is written."""
