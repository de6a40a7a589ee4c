"""``tracinctl pairs``: make a pairs file from a table of comparisons."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tracinctl.cli import options
from tracinctl.cli.output.terminal import shown_path, terminal
from tracinctl.errors import UsageError
from tracinctl.text import count

if TYPE_CHECKING:
    from tracinctl.data.pairs_import import ImportedPairs

EXAMPLES = """tracinctl pairs import votes.csv
tracinctl pairs import votes.csv --outcome label --first-wins 1
tracinctl pairs import preferences.parquet --output-file pairs.csv"""

COLUMNS = "Columns"
SPLIT = "Split"

_SHOWN = 3


def _column(meaning: str, metavar: str = "COLUMN", usual: str = "found by its name") -> Any:
    return typer.Option(metavar=metavar, help=meaning, show_default=usual, rich_help_panel=COLUMNS)


def _value(meaning: str) -> Any:
    return _column(meaning, "VALUE", "a known word")


def pairs(
    *,
    action: Annotated[Literal["import"], typer.Argument(metavar="import", help="The only action.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, TSV, Parquet, JSON or JSON lines.")],
    output_file: Annotated[
        Path, typer.Option(metavar="FILE", help="The pairs file to write.", rich_help_panel=options.OUTPUT)
    ] = Path("pairs.csv"),
    winner: Annotated[str | None, _column("The better item.")] = None,
    loser: Annotated[str | None, _column("The worse item.")] = None,
    first: Annotated[str | None, _column("One item, if a third column says which is better.")] = None,
    second: Annotated[str | None, _column("The other item.")] = None,
    outcome: Annotated[str | None, _column("The column that says which item is better.")] = None,
    first_wins: Annotated[str | None, _value("The value if the first item wins; separate several with commas.")] = None,
    second_wins: Annotated[
        str | None, _value("The value if the second item wins; separate several with commas.")
    ] = None,
    tie: Annotated[str | None, _value("The value of a tie.")] = None,
    prompt: Annotated[str | None, _column("The text that both items answer.")] = None,
    split: Annotated[str | None, _column("Whether a row trains or is held out.")] = None,
    id: Annotated[str | None, _column("The id of the comparison.")] = None,  # noqa: A002 - the flag's name
    train_share: Annotated[
        float, typer.Option(help="Share of the items used for training.", rich_help_panel=SPLIT)
    ] = 0.7,
    seed: Annotated[int, typer.Option(help="Seed of the train/held-out split.", rich_help_panel=SPLIT)] = 42,
    json: options.Json = False,
) -> None:
    """Make a pairs file from a table of comparisons, and print how the table was read.

    Columns are found by common names (winner and loser; chosen and rejected; item1, item2 and label; left, right and
    choice) or named by flags. Other columns, such as annotator, are kept and can group the pairs. Texts get ids and
    are written beside the file.
    """
    from tracinctl.data.comparisons import Columns
    from tracinctl.data.pairs_import import import_pairs, write_imported

    del action  # there is only one
    if not 0 < train_share < 1:
        raise UsageError(f"`train_share` is {train_share}; it must be between 0 and 1", hint="For example 0.7.")
    columns = Columns(winner, loser, first, second, outcome, first_wins, second_wins, tie, prompt, split, id)
    imported = import_pairs(file, columns, seed=seed, train_share=train_share)
    written = write_imported(imported, output_file)
    for note in imported.notes:
        terminal.warn(f"{shown_path(file)}: {note}")
    if json:
        terminal.json([to_json(file, imported, written)])
    else:
        show(file, imported, written)


def to_json(file: Path, imported: "ImportedPairs", written: list[Path]) -> dict[str, object]:
    """The result for JSON; the pairs may be used with any material and frequency."""
    sizes = imported.frame["split"].value_counts()
    return {
        "material": None,
        "frequency": None,
        "file": str(file),
        "written": [str(path) for path in written],
        "understood": list(imported.understood),
        "train_pairs": int(sizes.get("train", 0)),
        "held_out_pairs": int(sizes.get("held-out", 0)),
        "columns": list(imported.frame.columns),
        "first_rows": imported.frame.head(_SHOWN).to_dict("records"),
        "warnings": list(imported.notes),
    }


def show(file: Path, imported: "ImportedPairs", written: list[Path]) -> None:
    """Print how the table was read, the first rows, and the written files."""
    from tracinctl.data.pairs_import import sentence

    terminal.text(shown_path(file))
    for line in imported.understood:
        terminal.text(f"  {line}", style="dim")
    terminal.text("First rows:")
    for row in imported.frame.head(_SHOWN).to_dict("records"):
        terminal.text(f"  {sentence(row)}")
    sizes = imported.frame["split"].value_counts()
    held_out = count(int(sizes.get("held-out", 0)), "held-out pair")
    terminal.text(f"{count(int(sizes.get('train', 0)), 'training pair')} and {held_out}")
    for path in written:
        terminal.text(f"  {shown_path(path)}", style="dim")
        terminal.path(path)
    if imported.items:
        terminal.line("Next: write a source that reads both files, then run tracinctl compute --source my_project:load")
    else:
        terminal.line(f"Next: tracinctl compute --pairs-file {shlex.quote(shown_path(written[0]))}")
