"""Checkpoints: found, read safely, and fitted to the model."""
