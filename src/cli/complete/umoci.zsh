#compdef umoci
# Completion of umoci for zsh. Load it with: source <(umoci completions zsh)
_umoci() {
    local program=${(Q)words[1]} typed=${(Q)PREFIX} answer line word about
    local -a before closed closed_shown open open_shown
    before=("${(@Q)words[2,CURRENT-1]}")
    answer=$("$program" __complete "$before[@]" "$typed" 2>/dev/null)
    for line in ${(f)answer}; do
        word=${line%%$'\t'*}
        about=${line#"$word"}
        about=$word${about:+  -- ${about#$'\t'}}
        if [[ $word == *[/:=] ]]; then
            open+=("$word")
            open_shown+=("$about")
        else
            closed+=("$word")
            closed_shown+=("$about")
        fi
    done
    (( $#closed )) && compadd -l -d closed_shown -a closed
    (( $#open )) && compadd -S '' -l -d open_shown -a open
}
if [[ ${funcstack[1]} == _umoci ]]; then
    _umoci "$@"
else
    compdef _umoci umoci
fi
