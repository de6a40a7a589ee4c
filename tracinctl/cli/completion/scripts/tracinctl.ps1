# PowerShell completion for tracinctl
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
