# fish completion for tracinctl
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
