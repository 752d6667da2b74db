# Completion of umoci for fish. Load it with: umoci completions fish | source
function __umoci_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    $words[1] __complete $words[2..-1] "$typed" 2>/dev/null
end
complete -c umoci -f -a '(__umoci_complete)'
