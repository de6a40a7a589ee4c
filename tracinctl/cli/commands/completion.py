"""``tracinctl completion``: the completion script of a shell."""

import sys
from typing import Annotated, Literal

import typer

EXAMPLES = """tracinctl completion zsh > ~/.zfunc/_tracinctl
eval "$(tracinctl completion bash)\""""


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish", "powershell"],
        typer.Argument(metavar="SHELL", help="bash, zsh, fish, powershell"),
    ],
) -> None:
    """Print the completion script of a shell.

    A system-wide installation puts the scripts where bash, zsh and fish look for them. In a virtual environment, set
    completion up yourself. bash: eval the script in ~/.bashrc. zsh: write it to _tracinctl in a folder of $fpath.
    fish: write it to ~/.config/fish/completions/tracinctl.fish. PowerShell: pipe it to Out-String and
    Invoke-Expression in $PROFILE.
    """
    from tracinctl.cli.completion.complete import script

    sys.stdout.write(script(shell))
