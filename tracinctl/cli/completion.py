"""``tracinctl completion``: the completion script of a shell."""

import sys
from typing import Annotated, Literal

import typer

EXAMPLES = """eval "$(tracinctl completion bash)"
tracinctl completion zsh > ~/.zfunc/_tracinctl"""


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish", "powershell"],
        typer.Argument(metavar="SHELL", help="bash, zsh, fish, powershell"),
    ],
) -> None:
    """Print the completion script of a shell."""
    from tracinctl.cli.completion_scripts import script

    sys.stdout.write(script(shell))
