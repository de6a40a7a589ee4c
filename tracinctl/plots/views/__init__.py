"""The views of influence scores, one a module."""
