"""Influence of training pairs on test pairs: gradients -> kernel -> influence."""
