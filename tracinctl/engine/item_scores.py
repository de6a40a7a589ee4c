"""The items' scores at each checkpoint, without gradients."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tracinctl.data.pairs import Samples
from tracinctl.engine.asking import ask_first_item, way_of_asking
from tracinctl.engine.checkpoints.load import apply_checkpoint, load_checkpoint
from tracinctl.engine.gradients.items import ItemGradients
from tracinctl.engine.items import Items
from tracinctl.engine.model_errors import asking_model
from tracinctl.engine.own_model import own_model, plain_passes
from tracinctl.progress import Progress, ProgressCallback, no_progress

if TYPE_CHECKING:
    import numpy.typing as npt


def item_scores(
    samples: Samples,
    model: torch.nn.Module,
    checkpoints: Sequence[Path],
    *,
    score: Any = None,
    device: str = "cpu",
    progress: ProgressCallback = no_progress,
) -> npt.NDArray[np.float64]:
    """Score the items at each checkpoint, one at a time.

    Args:
        samples: the items.
        model: scores items; its weights do not matter.
        checkpoints: files or folders, in order.
        score: the score function, if calling the model does not return scores; see ``RankingData``.
        device: the device to use.
        progress: called with a ``Progress`` after each checkpoint.

    Returns:
        Shape (checkpoints, items).

    Raises:
        TracinctlError: a checkpoint does not fit the model, or the model does not return one score per item.
    """
    place = torch.device(device)
    items = Items([samples])
    ask = way_of_asking(score, None, positional=items.positional)
    run_once = functools.partial(ask_first_item, items=items, ask=ask)
    model, _ = own_model(model, place, torch.float32, ours=False, run_once=run_once)
    scorer = ItemGradients(model, score=ask)
    result = np.zeros((len(checkpoints), len(samples)))
    for k, path in enumerate(checkpoints):
        apply_checkpoint(model, load_checkpoint(path))
        for rows in items.groups():
            inputs = items.stack(rows.tolist(), place, torch.float32)
            with plain_passes(place), asking_model([items.ids[row] for row in rows.tolist()], inputs):
                result[k, rows] = scorer.scores(inputs).double().cpu().numpy()
        progress(Progress("scoring items", k + 1, len(checkpoints), "checkpoints", name=path.name))
    return result
