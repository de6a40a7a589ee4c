# PowerShell completion for tracinctl
Register-ArgumentCompleter -Native -CommandName tracinctl -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $program = $commandAst.CommandElements[0].ToString()
    $words = @($commandAst.CommandElements | Where-Object { $_.Extent.EndOffset -lt $cursorPosition } |
        Select-Object -Skip 1 | ForEach-Object { $_.ToString().Trim('"', "'") })
    # The word at the cursor travels in a variable: an empty argument would be lost on the way to the program.
    $Env:_TRACINCTL_COMPLETE = "complete_powershell"
    $Env:_TRACINCTL_WORD = "$wordToComplete"
    try {
        $lines = @(& $program @words 2> $null)
    } finally {
        Remove-Item -Path "Env:_TRACINCTL_COMPLETE", "Env:_TRACINCTL_WORD" -ErrorAction SilentlyContinue
    }
    if ($lines.Count -eq 0 -or $lines[0] -in @("files", "dirs")) { return }
    $lines | Select-Object -Skip 1 | ForEach-Object {
        $value, $text = $_ -split "`t", 2
        if (-not $text) { $text = $value }
        [System.Management.Automation.CompletionResult]::new($value, $value, "ParameterValue", $text)
    }
}
