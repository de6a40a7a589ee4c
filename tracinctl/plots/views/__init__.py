"""The views of influence scores, one per module. This module has only their names, for completion and help."""

VIEW_LINES = {
    "overview": "one screen of distribution, sweep, votes and the most harmful pairs",
    "distribution": "histogram of the scores, with zero and the thresholds marked",
    "sweep": "harmful pairs by threshold, one line per number of votes",
    "heatmap": "mean influence by the classes of the two items",
    "top": "most harmful and most helpful training pairs",
    "groups": "mean influence of groups: annotators, items, classes or another column (--by)",
    "checkpoints": "how scores change over training",
    "self": "self-influence of pairs and items: hard pairs, suspicious items",
}
"""A description of each view."""

VIEWS = tuple(VIEW_LINES)
"""The names of the views, in the order of help."""
