"""Influence scores: the table, its files, votes and lists. This room does not use models."""
