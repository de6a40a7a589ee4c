"""The commands: their names, panels and lines of help. A command lives in the module of its name."""

from __future__ import annotations

from dataclasses import dataclass

WORKFLOW = "Workflow"
STEPS = "Steps"
INSPECT = "Inspect"
SHELL = "Shell"


@dataclass(eq=False, repr=False)
class Entry:
    """A command: its panel and line on the program's help page, and whether it reads the settings."""

    panel: str
    summary: str
    needs_settings: bool = True


ENTRIES = {
    "workflow": Entry(WORKFLOW, "Scores, exclusion lists and the next command, for several frequencies."),
    "demo": Entry(WORKFLOW, "A folder with recordings and checkpoints to try it on."),
    "compute": Entry(STEPS, "Step 1: influence of each training pair on the held-out pairs."),
    "sweep": Entry(STEPS, "Step 2: what each threshold would exclude."),
    "exclude": Entry(STEPS, "Step 3: the exclusion list."),
    "train": Entry(STEPS, "Step 4: the built-in ranker, with or without a list."),
    "pairs": Entry(STEPS, "A file of pairs from a table of comparisons.", needs_settings=False),
    "status": Entry(INSPECT, "What there is, what it is of, and what is out of date."),
    "plot": Entry(INSPECT, "The scores, drawn in the terminal."),
    "explain": Entry(INSPECT, "Why a training pair is listed, and what contradicts it."),
    "review": Entry(INSPECT, "Listen to suspects, look at them and decide, in a page on this machine."),
    "completion": Entry(SHELL, "The completion script of bash, zsh, fish or PowerShell.", needs_settings=False),
}
