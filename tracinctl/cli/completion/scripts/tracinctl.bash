# bash completion for tracinctl
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
