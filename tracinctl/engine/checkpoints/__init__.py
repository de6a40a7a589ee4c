"""Checkpoints: find them, read them safely, and load them into the model."""
