# Completion of umoci for bash. Load it with: source <(umoci completions bash)
_umoci() {
    # Bash cuts words at colons and equals signs, where umoci has one word.
    local rest=${COMP_LINE:0:COMP_POINT} words=() i piece
    for ((i = 0; i <= COMP_CWORD; i++)); do
        piece=${COMP_WORDS[i]}
        if ((i == 0)) || [[ $rest == [[:space:]]* ]]; then
            rest=${rest#"${rest%%[![:space:]]*}"}
            words+=("")
        fi
        ((i < COMP_CWORD)) || piece=$rest
        words[${#words[@]}-1]+=$piece
        rest=${rest#"$piece"}
    done
    words=("${words[@]//[\"\'\\]/}")

    local typed=${words[${#words[@]}-1]} cut= sign line
    for sign in : = @; do
        if [[ $COMP_WORDBREAKS == *$sign* && $typed == *$sign* ]]; then
            piece=${typed%"${typed##*$sign}"}
            ((${#piece} <= ${#cut})) || cut=$piece
        fi
    done
    COMPREPLY=()
    while IFS= read -r line; do
        line=${line%%$'\t'*}
        printf -v piece %q "${line#"$cut"}"
        COMPREPLY+=("$piece")
    done < <("$1" __complete "${words[@]:1}" 2>/dev/null)
    if ((${#COMPREPLY[@]} == 1)) && [[ ${COMPREPLY[0]} == *[/:=] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _umoci umoci
