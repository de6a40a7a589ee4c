"""Gradients of item scores, one item at a time."""
