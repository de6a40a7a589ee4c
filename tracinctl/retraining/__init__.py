"""Retrain with and without a list, and judge the difference."""
