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
_RECORDINGS = {
    "linked_root": Kind.PATH,
    "classes": Kind.LIST,
    "channel": Kind.WHOLE,
    "pairs": Kind.TEXT,
    "train_share": Kind.NUMBER,
    "skip_missing": Kind.TRUTH,
}
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
    "projection_dim": Kind.WHOLE,
    "cache": Kind.TRUTH,
    "processes": Kind.WHOLE,
    "format": Kind.TEXT,
    "seed": Kind.WHOLE,
}

SETTINGS: Mapping[str, Mapping[str, Kind]] = {
    "": {**_PLACES, "frequencies": Kind.LIST, "output_dir": Kind.PATH, **_CODE, **_RECORDINGS},
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

_OF_KIND = {
    Kind.TEXT: "'plastic'",
    Kind.PATH: "'data'",
    Kind.WHOLE: "30",
    Kind.NUMBER: "1.0",
    Kind.SCORE: "-5",
    Kind.LIST: "['500hz', '1000hz']",
}

_OF_KEY = {
    "architecture": "'small'",
    "at_once": "2",
    "batch_size": "32",
    "checkpoint_dir": "'checkpoints'",
    "checkpoint_interval": "5",
    "checkpoint_prefix": "'model_epoch_'",
    "checkpoint_weights": "'relative'",
    "classes": "['deg000', 'deg036']",
    "channel": "1",
    "command": "'python train.py --exclusions-file {exclusions_file}'",
    "device": "'auto'",
    "dtype": "'float32'",
    "exclusions_file": "'exclusions/plastic_500hz_excluded_pairs.txt'",
    "format": "'auto'",
    "ghm_alpha": "0.75",
    "ghm_bins": "10",
    "hop": "256",
    "layers": "['classifier']",
    "linked_root": "'.dvc/cache'",
    "learning_rate": "0.003",
    "loss_type": "'standard'",
    "max_exclusions": "50",
    "memory": "'2GiB'",
    "metadata_dir": "'metadata'",
    "method": "'tracin'",
    "metrics_file": "'metrics.json'",
    "min_occurrences": "'60%'",
    "model": "'my_project:build_model'",
    "n_fft": "2048",
    "num_test_samples": "5",
    "num_workers": "2",
    "output_dir": "'exclusions'",
    "pair_mode": "'ranking_pair'",
    "pairs": "'drawn'",
    "pairs_file": "'pairs.csv'",
    "plot": "'overview'",
    "processes": "2",
    "repeats": "5",
    "seed": "42",
    "source": "'my_project:load'",
    "train_share": "0.7",
    "threshold": "-5  or  threshold = '1%'",
    "thresholds": "[0, -5, '1%']",
    "top": "10",
    "upper_threshold": "20.0",
    "weight_decay": "1e-5",
}


def example_of(key: str, kind: Kind) -> str:
    """How a setting is written, a sentence."""
    if kind is Kind.TRUTH:
        return f"Write {key} = true or {key} = false, without quotes."
    example = f"For example  {key} = {_OF_KEY.get(key, _OF_KIND[kind])}"
    return example + ("  (relative to the settings file)" if kind is Kind.PATH else "")
