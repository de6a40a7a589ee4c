"""The built-in ranker and its training."""
