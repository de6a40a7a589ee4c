"""Influence scores: the table, its files, and what follows from them. Knows nothing of models."""
