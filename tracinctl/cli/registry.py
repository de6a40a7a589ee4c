"""The commands: their names, help panels and summaries. Each command is in the module of its name."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A command: its help panel and summary."""

    panel: str
    summary: str


ENTRIES = {
    "workflow": Entry("Workflow", "Scores, exclusion lists and the next command, for several frequencies."),
    "demo": Entry("Workflow", "A project with recordings and checkpoints to try everything on."),
    "compute": Entry("Steps", "Step 1: influence of each training pair on the held-out pairs."),
    "sweep": Entry("Steps", "Step 2: what each threshold would exclude."),
    "exclude": Entry("Steps", "Step 3: write the exclusion list."),
    "train": Entry("Steps", "Step 4: train the built-in ranker, with or without a list."),
    "pairs": Entry("Steps", "Make a pairs file from a table of comparisons."),
    "status": Entry("Inspect", "What the project contains, and what is out of date."),
    "plot": Entry("Inspect", "The scores, drawn in the terminal."),
    "explain": Entry("Inspect", "Why a training pair is listed, and what contradicts it."),
    "review": Entry("Inspect", "Listen to suspects, look at them and decide, in a page on this machine."),
    "completion": Entry("Shell", "The completion script of bash, zsh, fish or PowerShell."),
}
