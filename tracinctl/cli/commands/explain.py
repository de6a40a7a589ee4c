"""``tracinctl explain``: why a training pair is listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tracinctl.cli import options
from tracinctl.cli.options import only_target, project_of, selected_files, settings_without_flags
from tracinctl.cli.output.diagnoses import warn_of_changes
from tracinctl.cli.output.tables import Column
from tracinctl.cli.output.terminal import terminal
from tracinctl.project.commands import ComputeCommand, ExplainCommand
from tracinctl.text import SIGNS, aligned, number

if TYPE_CHECKING:
    from tracinctl.project.explain import Explanation

EXAMPLES = """tracinctl explain a1_a2
tracinctl explain a1_a2 --frequency 500hz --json"""


def explain(
    *,
    ctx: typer.Context,
    pair_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a training pair, as in lists and plots.")],
    settings: ExplainCommand,
    json: options.Json = False,
) -> None:
    """Explain a training pair: its loss over training, the pairs that it hurts, and what contradicts it.

    Positive scores are helpful, negative ones harmful.
    """
    from tracinctl.project.explain import explain_pair, files_with

    project = project_of(ctx, settings.places, settings.scores)
    files = files_with(pair_id, selected_files(ctx, project, None, settings.selection))
    target = only_target(files, "a pair belongs to", f"explain {pair_id}")
    compute = settings_without_flags(ctx, "compute", ComputeCommand).compute
    with terminal.progress(title=target.label) as report:
        explanation = explain_pair(target, compute, pair_id, report)
    changes = warn_of_changes(target, explanation.changes)
    if json:
        names = {"material": target.material, "frequency": target.frequency, "round": target.round}
        terminal.json([names | explanation.to_json() | {"warnings": changes}])
    else:
        show(target.label, explanation)


def show(label: str, explanation: Explanation) -> None:
    """Print the explanation."""
    card = explanation.card
    terminal.text(f"{label}: {explanation.id}", style="bold")
    terminal.text(f"{card.claim}\n")
    reasons = [[name, number(value) if isinstance(value, float) else value] for name, value in card.reasons]
    terminal.table("", [Column("reason"), Column("value", "right")], reasons)
    for title, column, value, rows in (
        ("Its loss at each checkpoint", "checkpoint", "loss", card.losses),
        ("Held-out pairs that it hurts most", "held-out pair", "score", card.hurts),
        ("Held-out pairs that it helps most", "held-out pair", "score", explanation.helps),
        ("Training pairs that contradict it most", "training pair", "cosine", explanation.opposed),
    ):
        if rows:
            terminal.text("")
            numbers = aligned([float(cell) for _, cell in rows])
            cells = [(name, cell) for (name, _), cell in zip(rows, numbers, strict=True)]
            terminal.table(title, [Column(column), Column(value, "right")], cells)
    for item, comparisons in card.comparisons.items():
        if comparisons:
            terminal.text("")
            terminal.table(f"Other comparisons of {item}", [Column("training pair"), Column("says")], comparisons)
    terminal.text("\n".join(["", *explanation.missing, f"{SIGNS.capitalize()}."]), style="dim")
