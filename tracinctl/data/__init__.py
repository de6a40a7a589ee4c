"""Items, pairs of items, and their sources."""
