"""The names of the views, for whoever only wants to know them: nothing heavy is imported here."""

from __future__ import annotations

VIEW_LINES = {
    "overview": "one screen of distribution, sweep, votes and the most harmful pairs",
    "distribution": "histogram of the scores, with zero and the thresholds marked",
    "sweep": "harmful pairs against threshold, a line for each number of votes",
    "heatmap": "mean influence by the classes of the two items",
    "top": "most harmful and most helpful training pairs",
    "checkpoints": "how scores move over training",
    "self": "self-influence of pairs and items: the hard and the suspicious",
}
"""What each view shows, in a line."""

VIEWS = tuple(VIEW_LINES)
"""The names of the views, in the order in which a person meets them."""

NARROWEST = 40
WIDEST = 200
"""Columns that a picture has room in, and columns beyond which it does not grow."""
