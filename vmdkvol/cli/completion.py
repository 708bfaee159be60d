"""`vmdkvol completion SHELL`: the script that has a shell complete commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

SHELLS = ("bash", "zsh", "fish")
# Readline breaks words at '@' and '=', also inside of a volume's name (db@ds1) and of --vmgroup=prod. Here they are put
# together again, and of what is offered that is left away which stands before the break already.
_BASH = r"""
%(complete_func)s() {
    local type value line part before= glued= i
    local -a words=()
    COMPREPLY=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        part=${COMP_WORDS[i]}
        if [[ $part == = && ${words[-1]} == --* ]]; then
            ((i < COMP_CWORD)) || words+=("")
        elif [[ $i -gt 0 && ($part == [@=] || $glued) ]]; then
            [[ $part != [@=] && ${COMP_WORDS[i - 1]} == @ ]] || before=${words[-1]}
            # What readline puts the answer in the place of begins behind a '=', and with a '@'.
            [[ $part != = ]] || before+=$part
            [[ $part == [@=] ]] && glued=1 || glued=
            words[-1]+=$part
        else
            before= glued=
            words+=("$part")
        fi
    done
    while IFS= read -r line; do
        type=${line%%%%,*} value=${line#*,}
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$before"}") ;;
        esac
    done < <(IFS=$'\n'; COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) %(complete_var)s=bash_complete "$1")
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""
# As click's, which cuts a description at its first comma.
_FISH = r"""
function %(complete_func)s
    set -l response (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) %(prog_name)s)
    for completion in $response
        set -l metadata (string split --max 1 "," $completion)
        if test $metadata[1] = dir
            __fish_complete_directories $metadata[2]
        else if test $metadata[1] = file
            __fish_complete_path $metadata[2]
        else if test $metadata[1] = plain
            echo $metadata[2]
        end
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""
_OWN = {"bash": _BASH, "fish": _FISH}


@click.command("completion", short_help="Print a completion script for a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script with which SHELL completes commands, options, keys, codes and the names of what there is.

    \b
    vmdkvol completion bash > /etc/bash_completion.d/vmdkvol
    vmdkvol completion zsh > "${fpath[1]}/_vmdkvol"
    vmdkvol completion fish > ~/.config/fish/completions/vmdkvol.fish

    Names are asked of the API and remembered for five seconds. Those that a shell would read differently are not offered.
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    root = click.get_current_context().find_root().command
    made = kind(root, {}, "vmdkvol", "_VMDKVOL_COMPLETE")
    # Not the class's own method: for bash it starts one, to look at its version.
    click.echo(_OWN[shell] % made.source_vars() if shell in _OWN else ShellComplete.source(made))
