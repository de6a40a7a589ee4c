"""Items, pairs of items, and where they come from."""
