"""Every documented form of items, pairs, checkpoints and settings, and changes that make similar forms.

test_forms.py fails if a documented form is missing here, so each form is compared with the oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from torch.utils.data import Dataset, TensorDataset

from tracinctl import Pairs

WIDTH = 4


class Give(Dataset):
    """A dataset of these values."""

    def __init__(self, values):
        self.values = list(values)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return self.values[index]


@dataclass(frozen=True)
class Form:
    """A form of items.

    Attributes:
        bullet: the beginning of the line of ``Samples`` that documents it.
        build: the form of vectors and of their masks, one an item, each a list of arrays.
        masked: whether the masks are in it, as the model's second argument.
        width: of the vectors.
    """

    bullet: str
    build: Callable[[list[np.ndarray], list[np.ndarray]], Any]
    masked: bool = False
    width: int = WIDTH


def tensors(vectors):
    """One tensor per vector."""
    return [torch.tensor(np.ascontiguousarray(v)) for v in vectors]


ARRAY, LIST, TUPLES = "a tensor or a numeric array", "a list of items", "a list of tuples of tensors"
MAPPING, FRAME, DATASET = "a mapping of these", "a pandas frame", "a torch ``Dataset``"

FORMS = {
    "a tensor": Form(ARRAY, lambda x, _: torch.tensor(np.stack(x))),
    "an array": Form(ARRAY, lambda x, _: np.stack(x)),
    "a read-only array": Form(ARRAY, lambda x, _: np.broadcast_to(np.stack(x), (len(x), len(x[0])))),
    "an array turned round": Form(ARRAY, lambda x, _: np.stack(x)[::-1].copy()[::-1]),
    "an array by columns": Form(ARRAY, lambda x, _: np.asfortranarray(np.stack(x))),
    "a sparse tensor": Form(ARRAY, lambda x, _: torch.tensor(np.stack(x)).to_sparse()),
    "a sparse matrix": Form(ARRAY, lambda x, _: scipy.sparse.coo_matrix(np.stack(x))),
    "a list of tensors": Form(LIST, lambda x, _: tensors(x)),
    "a list of arrays": Form(LIST, lambda x, _: list(x)),
    "a list of lists": Form(LIST, lambda x, _: [v.tolist() for v in x]),
    "a list of tuples of numbers": Form(LIST, lambda x, _: [tuple(v.tolist()) for v in x]),
    "a list of numbers": Form(LIST, lambda x, _: [v.tolist()[0] for v in x], width=1),
    "an array of arrays": Form(LIST, lambda x, _: as_objects(x)),
    "tuples of tensors": Form(TUPLES, lambda x, m: list(zip(tensors(x), tensors(m), strict=True)), masked=True),
    "tuples of arrays": Form(TUPLES, lambda x, m: list(zip(x, m, strict=True)), masked=True),
    "a mapping of tensors": Form(
        MAPPING, lambda x, m: {"x": torch.tensor(np.stack(x)), "mask": torch.tensor(np.stack(m))}, masked=True
    ),
    "a mapping of lists": Form(
        MAPPING, lambda x, m: {"mask": [v.tolist() for v in m], "x": [v.tolist() for v in x]}, masked=True
    ),
    "a list of mappings": Form(
        LIST, lambda x, m: [{"x": a.tolist(), "mask": b} for a, b in zip(x, m, strict=True)], masked=True
    ),
    "a frame": Form(FRAME, lambda x, _: pd.DataFrame(np.stack(x), index=range(len(x), 0, -1))),
    "a frame whose columns allow missing values": Form(FRAME, lambda x, _: pd.DataFrame(np.stack(x)).astype("Float64")),
    "a dataset of tensors": Form(DATASET, lambda x, _: Give(tensors(x))),
    "a dataset of lists": Form(DATASET, lambda x, _: Give(v.tolist() for v in x)),
    "a dataset of one tensor": Form(DATASET, lambda x, _: TensorDataset(torch.tensor(np.stack(x)))),
    "a dataset with labels": Form(DATASET, lambda x, _: Give((v, k) for k, v in enumerate(x))),
    "a dataset with labels in tensors": Form(
        DATASET, lambda x, _: TensorDataset(torch.tensor(np.stack(x)), torch.arange(len(x)))
    ),
    "a dataset of arguments": Form(
        DATASET, lambda x, m: TensorDataset(torch.tensor(np.stack(x)), torch.tensor(np.stack(m))), masked=True
    ),
    "a dataset of arguments with labels": Form(
        DATASET, lambda x, m: Give(((a, b), 1.0) for a, b in zip(x, m, strict=True)), masked=True
    ),
    "a dataset of mappings": Form(
        DATASET, lambda x, m: Give({"mask": b, "x": a.tolist()} for a, b in zip(x, m, strict=True)), masked=True
    ),
}


def as_objects(values):
    """An array of these values as objects."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


NUMBERS = {
    f"as {name}": lambda x, name=name: [v.astype(name) for v in x]
    for name in ("float32", "float16", ">f8", "<i4", ">i2", "uint8", "bool", "complex64", "longdouble", "U8", "object")
}


def _with(value, index=2):
    def change(x):
        return [np.array([*v[:-1].tolist(), value]) if k == index else v for k, v in enumerate(x)]

    return change


VECTORS = NUMBERS | {
    "every second number of a longer array": lambda x: [np.repeat(v, 2)[::2] for v in x],
    "the numbers turned round": lambda x: [v[::-1] for v in x],
    "the items turned round": lambda x: x[::-1],
    "one item twice": lambda x: [x[0], x[0], *x[2:]],
    "one number missing": lambda x: [v[:-1] if k == 1 else v for k, v in enumerate(x)],
    "one item missing": lambda x: x[:-1],
    "one item too many": lambda x: [*x, x[0]],
    "one item without numbers": lambda x: [v[:0] if k == 1 else v for k, v in enumerate(x)],
    "a NaN": _with(np.nan),
    "an infinite number": _with(np.inf),
    "no number at one place": _with(None),
    "a text at one place": _with("1.0"),
    "one item of whole numbers": lambda x: [np.ones(len(v), dtype=np.int64) if k == 1 else v for k, v in enumerate(x)],
    "one dimension more": lambda x: [v[None] for v in x],
}
"""Changes of the vectors: what the changed vectors mean is plain."""


def _rows(inputs):
    return list(inputs) if isinstance(inputs, (list, tuple, torch.Tensor, np.ndarray)) else None


CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "in a tuple": lambda inputs: tuple(rows) if (rows := _rows(inputs)) is not None else (inputs,),
    "in a list of one": lambda inputs: [inputs],
    "each in a list": lambda inputs: [[row] for row in rows] if (rows := _rows(inputs)) is not None else inputs,
    "each in a tuple": lambda inputs: [(row,) for row in rows] if (rows := _rows(inputs)) is not None else inputs,
    "each with a label": lambda inputs: [(r, 1) for r in rows] if (rows := _rows(inputs)) is not None else inputs,
    "each with a text": lambda inputs: [(r, "a") for r in rows] if (rows := _rows(inputs)) is not None else inputs,
    "each with nothing": lambda inputs: [(r, None) for r in rows] if (rows := _rows(inputs)) is not None else inputs,
    "a generator": lambda inputs: (row for row in inputs),
    "a set of one": lambda _: {1},
    "a text": lambda _: "abcd",
    "nothing": lambda _: None,
    "a loader": lambda inputs: torch.utils.data.DataLoader(inputs) if isinstance(inputs, Dataset) else inputs,
    "columns for rows": lambda inputs: inputs.T if hasattr(inputs, "T") and not isinstance(inputs, dict) else inputs,
    "one more name": lambda inputs: inputs | {"more": inputs["x"]} if isinstance(inputs, dict) else inputs,
    "another name": lambda inputs: {"y": inputs["x"], "mask": inputs["mask"]} if isinstance(inputs, dict) else inputs,
    "a name less in one item": lambda inputs: (
        [*inputs[:-1], {"x": inputs[-1]["x"]}] if isinstance(inputs, list) and isinstance(inputs[0], dict) else inputs
    ),
    "an argument less in one item": lambda inputs: (
        [*inputs[:-1], inputs[-1][:1]] if isinstance(inputs, list) and isinstance(inputs[0], tuple) else inputs
    ),
}
"""Changes of the container of the items. An additional dimension changes no score of these models."""


ITEMS = ["t0", "t1", "t2", "t3"]
PAIRS = {
    "arrays": lambda i, j, y: Pairs(np.array(i), np.array(j), np.array(y)),
    "lists": Pairs,
    "tensors": lambda i, j, y: Pairs(torch.tensor(i), torch.tensor(j), torch.tensor(y)),
    "floats": lambda i, j, y: Pairs(np.array(i), np.array(j), np.array(y, dtype=float)),
    "of another byte order": lambda i, j, y: Pairs(np.array(i, dtype=">i4"), np.array(j, dtype=">u2"), np.array(y)),
    "series": lambda i, j, y: Pairs(*(pd.Series(column, index=range(len(i), 0, -1)) for column in (i, j, y))),
    "a frame": lambda i, j, y: Pairs.from_frame(
        pd.DataFrame({"id1": [ITEMS[k] for k in i], "id2": [ITEMS[k] for k in j], "target": y}), items=ITEMS, ties=True
    ),
    "ids": lambda i, j, y: Pairs(i, j, y, ids=[f"row {k}" for k in range(len(i))]),
    "weight": lambda i, j, y: Pairs(i, j, y, weight=np.linspace(0, 2, len(i))),
    "margin": lambda i, j, y: Pairs(i, j, y, margin=np.linspace(0, 2, len(i)).tolist()),
    "groups": lambda i, j, y: Pairs(i, j, y, groups={"annotator": ["ann"] * len(i)}),
    "ties": lambda i, j, y: Pairs(i, j, [0, *y[1:]], ties=True),
}

SETTINGS = {
    "loss": [{"loss": "logistic"}, {"loss": lambda s_i, s_j, y: (s_i - 2 * s_j - y) ** 2}],
    "margin": [{"margin": 0.3}, {"margin": 0}],
    "ghm_bins": [{"loss": "ghm", "ghm_bins": 3}],
    "ghm_alpha": [{"loss": "ghm", "ghm_alpha": 0.2}],
    "batch_size": [{"loss": "ghm", "batch_size": 2}],
    "label_smoothing": [{"loss": "logistic", "label_smoothing": 0.2}],
    "centring": [{"loss": "logistic", "centring": 0.1}],
    "checkpoint_weights": [{"checkpoint_weights": name} for name in ("relative", "absolute", "uniform", (1.0,))],
    "dtype": [{"dtype": "float32"}, {"dtype": "float64"}],
    "device": [{"device": "cpu"}],
    "layers": [{"layers": ["a.*"]}],
    "memory": [{"memory": 1 << 30}],
    "method": [{"method": name} for name in ("tracin", "margin", "fisher")],
    "num_workers": [{"num_workers": 0}],
    "projection_dim": [{"projection_dim": 10**6}],
    "score": [{"score": lambda output: output.squeeze(1)}],
    "ignore_keys": [{"ignore_keys": ["ema.*"]}],
}
"""Values of each setting under which scores are the oracle's."""

TO_ORACLE = {"ghm_bins": "bins", "ghm_alpha": "alpha", "label_smoothing": "smoothing"}
FOR_ORACLE = {"loss", "margin", "batch_size", "centring", "method", *TO_ORACLE}

WRONG_SETTINGS = {
    "loss": [{"loss": "logistik"}, {"loss": 3}, {"loss": None}, {"loss": lambda s_i, s_j: s_i}],
    "margin": [{"margin": "1"}, {"margin": np.nan}, {"margin": [1.0]}, {"margin": None}],
    "ghm_bins": [{"ghm_bins": 0}, {"ghm_bins": 2.5}, {"ghm_bins": None}],
    "ghm_alpha": [{"ghm_alpha": -1}, {"ghm_alpha": "x"}],
    "batch_size": [{"batch_size": 0}, {"batch_size": None}],
    "label_smoothing": [{"label_smoothing": 0.1}, {"loss": "logistic", "label_smoothing": 2}],
    "centring": [{"centring": -1}, {"centring": np.inf}],
    "checkpoint_weights": [{"checkpoint_weights": value} for value in ("relativ", [1.0, 2.0], [np.nan], None)],
    "dtype": [{"dtype": "float16"}, {"dtype": torch.float32}, {"dtype": None}],
    "device": [{"device": "gpu"}, {"device": "cuda:99"}],
    "layers": [{"layers": ["b.*"]}],
    "memory": [{"memory": 10}],
    "method": [{"method": "Fisher"}, {"method": None}],
    "num_workers": [{"num_workers": -1}, {"num_workers": 1.5}],
    "projection_dim": [{"projection_dim": 0}, {"projection_dim": "4"}],
    "score": [{"score": "nowhere:score"}, {"score": lambda output: (output, output)}, {"score": lambda output: None}],
    "ignore_keys": [{"ignore_keys": ["a.*"]}],
}
