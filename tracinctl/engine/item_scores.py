"""The items' scores at each checkpoint, without gradients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tracinctl.data.pairs import FloatArray, Samples
from tracinctl.engine.asking import way_of_asking
from tracinctl.engine.checkpoints.load import apply_checkpoint, load_checkpoint
from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.items import Items
from tracinctl.engine.model_errors import asking_model
from tracinctl.engine.own_model import own_model, plain_passes
from tracinctl.progress import Progress, ProgressCallback, no_progress


def item_scores(
    samples: Samples,
    model: torch.nn.Module,
    checkpoints: Sequence[Path],
    *,
    score: Any = None,
    progress: ProgressCallback = no_progress,
) -> FloatArray:
    """Score the items at each checkpoint, one at a time, on the CPU.

    Args:
        samples: the items.
        model: scores items; its weights do not matter.
        checkpoints: files or folders, in order.
        score: the score function, if calling the model does not return scores; see ``RankingData``.
        progress: called with a ``Progress`` after each checkpoint.

    Returns:
        Shape (checkpoints, items).

    Raises:
        TracinctlError: a checkpoint does not fit the model, or the model does not return one score per item.
    """
    cpu = torch.device("cpu")
    items = Items([samples])
    ask = way_of_asking(score, None, positional=items.positional)
    model, _ = own_model(model, cpu, torch.float32, items, ask)
    scorer = ItemGradients(model, score=ask)
    result = np.zeros((len(checkpoints), len(samples)))
    for k, path in enumerate(checkpoints):
        apply_checkpoint(model, load_checkpoint(path))
        for rows in items.groups():
            inputs = items.stack(rows.tolist(), cpu, torch.float32)
            with plain_passes(cpu), asking_model([items.ids[row] for row in rows.tolist()], inputs):
                result[k, rows] = scorer.scores(inputs).double().cpu().numpy()
        progress(Progress("scoring items", k + 1, len(checkpoints), "checkpoints", name=path.name))
    return result
