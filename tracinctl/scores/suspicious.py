"""Single items whose item-level influence stands out."""

from __future__ import annotations

import math

import numpy as np

from tracinctl.errors import ScoreFileError, UsageError
from tracinctl.scores.table import FloatArray, ScoreSource

OUTLIER = 3.5
"""How many robust standard deviations above the median an item stands out from (Iglewicz and Hoaglin 1993)."""


def suspicious_items(source: ScoreSource, outlier: float = OUTLIER) -> dict[str, float]:
    """Item-level influence of the items that stand out, highest first, then by id.

    An item stands out where it lies more than ``outlier`` robust standard deviations above the median. The robust
    standard deviation is 1.4826 times the median absolute deviation or, where more than half of the items are alike and
    that is zero, 1.2533 times the mean absolute deviation.

    Raises:
        ScoreFileError: the scores say nothing of single items.
        UsageError: ``outlier`` is not a number above zero.
    """
    if not (math.isfinite(outlier) and outlier > 0):
        raise UsageError(f"outlier {outlier} is not a number of deviations above zero", hint=f"{OUTLIER} by default")
    influence = source.sample_influence
    if influence is None or not len(source.sample_ids):
        raise ScoreFileError(
            "these scores say nothing of single items, which --pair-mode sample needs",
            hint="compute them again: tracinctl compute",
        )
    size: FloatArray = np.asarray(influence, dtype=np.float64)
    # in units of the largest, so that no sum overflows
    size = size / (float(np.abs(size).max()) or 1.0)
    distance = size - np.median(size)
    spread = 1.4826 * float(np.median(np.abs(distance))) or 1.2533 * float(np.abs(distance).mean())
    # where all items are alike but for rounding, none stands out
    level = max(outlier * spread, 1e-9)
    order = sorted(
        np.flatnonzero(distance > level).tolist(), key=lambda k: (-float(influence[k]), source.sample_ids[k])
    )
    return {source.sample_ids[k]: float(influence[k]) for k in order}
