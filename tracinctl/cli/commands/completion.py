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

    The installation puts the scripts where bash, zsh and fish look for them; a virtual environment's folders they do
    not look into. There, bash: eval it in ~/.bashrc. zsh: write it as _tracinctl into a folder of $fpath. fish: write
    it to ~/.config/fish/completions/tracinctl.fish. PowerShell: pipe it to Out-String and Invoke-Expression in
    $PROFILE.
    """
    from tracinctl.cli.completion.scripts import script

    sys.stdout.write(script(shell))
