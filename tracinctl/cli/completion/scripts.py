"""The completion scripts of the shells; ``python -m tracinctl.cli.completion.scripts`` writes ``completions/``."""

from __future__ import annotations

import sys
from pathlib import Path

BASH = r"""# bash completion for tracinctl
_tracinctl() {
    local line how="" value word
    local -a words=("${COMP_WORDS[@]:1:COMP_CWORD}")
    COMPREPLY=()
    # Quotes and backslashes are the shell's, not part of the words.
    for word in "${!words[@]}"; do
        words[word]=${words[word]//[\\\"\']/}
    done
    while IFS= read -r line; do
        if [[ -z $how ]]; then
            how=$line
            continue
        fi
        value=${line%%$'\t'*}
        [[ $value == *[!A-Za-z0-9_.,/:=%@+-]* ]] && printf -v value '%q' "$value"
        COMPREPLY+=("$value")
    done < <(_TRACINCTL_COMPLETE=complete_bash "${COMP_WORDS[0]}" "${words[@]}" 2>/dev/null)
    case $how in
        list) compopt -o nospace 2>/dev/null ;;
        files) compopt -o default 2>/dev/null ;;
        dirs) compopt -o dirnames 2>/dev/null ;;
    esac
}
complete -F _tracinctl tracinctl
"""

ZSH = r"""#compdef tracinctl
# zsh completion for tracinctl
_tracinctl() {
    local how line value text
    local -a lines items suffix
    local -a typed=("${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}")
    lines=("${(@f)$(_TRACINCTL_COMPLETE=complete_zsh ${(Q)words[1]} "${(@)typed}" 2>/dev/null)}")
    how=${lines[1]}
    for line in "${(@)lines[2,-1]}"; do
        value=${line%%$'\t'*}
        text=${line#*$'\t'}
        value=${value//\\/\\\\}
        items+=("${value//:/\\:}${text:+:$text}")
    done
    case $how in
        files) _files ;;
        dirs) _files -/ ;;
        list) (( $#items )) && _describe -V -t values 'value' items -S ' ' -r ', ' ;;
        *) (( $#items )) && _describe -V -t values 'tracinctl' items ;;
    esac
}
# As a file of $fpath this is the function's body; sourced, it registers the function.
if [[ ${funcstack[1]} == _tracinctl ]]; then
    _tracinctl "$@"
else
    compdef _tracinctl tracinctl
fi
"""

FISH = r"""# fish completion for tracinctl
function __tracinctl_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    set -l lines (_TRACINCTL_COMPLETE=complete_fish $words[1] $words[2..-1] "$word" 2>/dev/null)
    switch "$lines[1]"
        case files
            __fish_complete_path "$word"
        case dirs
            __fish_complete_directories "$word"
        case '*'
            set -q lines[2]; and printf '%s\n' $lines[2..-1]
    end
end
complete -c tracinctl -f -k -a '(__tracinctl_complete)'
"""

POWERSHELL = r"""# PowerShell completion for tracinctl
Register-ArgumentCompleter -Native -CommandName tracinctl -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $program = $commandAst.CommandElements[0].ToString()
    $words = @($commandAst.CommandElements | Where-Object { $_.Extent.EndOffset -lt $cursorPosition } |
        Select-Object -Skip 1 | ForEach-Object { $_.ToString().Trim('"', "'") })
    # PowerShell reads a comma-separated list as an array and may pass only the part at the cursor. The program gets
    # the whole list, and the part at the cursor is cut from its answer.
    $at = $commandAst.CommandElements |
        Where-Object { $_.Extent.StartOffset -lt $cursorPosition -and $_.Extent.EndOffset -ge $cursorPosition } |
        Select-Object -Last 1
    $typed = if ($at) { $at.ToString().Substring(0, $cursorPosition - $at.Extent.StartOffset) } else { "" }
    $word = "$wordToComplete"
    $head = ""
    if ($typed.Contains(",") -and $typed.EndsWith($word)) {
        $head = $typed.Substring(0, $typed.Length - $word.Length)
        $word = $typed
    }
    # PowerShell drops empty arguments, so the word at the cursor is passed in a variable.
    $Env:_TRACINCTL_COMPLETE = "complete_powershell"
    $Env:_TRACINCTL_WORD = $word
    try {
        $lines = @(& $program @words 2> $null)
    } finally {
        Remove-Item -Path "Env:_TRACINCTL_COMPLETE", "Env:_TRACINCTL_WORD" -ErrorAction SilentlyContinue
    }
    if ($lines.Count -eq 0 -or $lines[0] -in @("files", "dirs")) { return }
    $lines | Select-Object -Skip 1 | ForEach-Object {
        $value, $text = $_ -split "`t", 2
        if (-not $text) { $text = $value }
        if ($head -and $value.StartsWith($head)) { $value = $value.Substring($head.Length) }
        [System.Management.Automation.CompletionResult]::new($value, $value, "ParameterValue", $text)
    }
}
"""

_SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH, "powershell": POWERSHELL, "pwsh": POWERSHELL}

SHELLS = tuple(_SCRIPTS)

FILES = {"bash": "tracinctl.bash", "zsh": "_tracinctl", "fish": "tracinctl.fish", "powershell": "tracinctl.ps1"}


def script(shell: str) -> str:
    """The script of a shell."""
    return _SCRIPTS[shell]


def write_scripts(folder: Path) -> list[Path]:
    """Write the scripts of all shells into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for shell, name in FILES.items():
        path = folder / name
        path.write_text(script(shell), encoding="utf-8", newline="\n")
        written.append(path)
    return written


if __name__ == "__main__":
    for made in write_scripts(Path(sys.argv[1] if len(sys.argv) > 1 else "completions")):
        sys.stdout.write(f"{made}\n")
