"""The views of influence scores, one a module; only their names are imported here, for completion and help."""

VIEW_LINES = {
    "overview": "one screen of distribution, sweep, votes and the most harmful pairs",
    "distribution": "histogram of the scores, with zero and the thresholds marked",
    "sweep": "harmful pairs against threshold, a line for each number of votes",
    "heatmap": "mean influence by the classes of the two items",
    "top": "most harmful and most helpful training pairs",
    "groups": "mean influence of groups: annotators, items, classes or another column (--by)",
    "checkpoints": "how scores move over training",
    "self": "self-influence of pairs and items: hard pairs, suspicious items",
}
"""What each view shows, in a line."""

VIEWS = tuple(VIEW_LINES)
"""The names of the views, in the order in which a person meets them."""
