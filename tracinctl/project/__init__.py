"""A project folder: its settings, its files, and the steps that run on it. Prints nothing."""
