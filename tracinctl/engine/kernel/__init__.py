"""Kernels: inner products of item gradients at one checkpoint, made, kept and read."""
