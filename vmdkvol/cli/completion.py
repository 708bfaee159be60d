"""`vmdkvol completion SHELL`: the script that has a shell complete commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command("completion", short_help="Print a completion script for a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script with which SHELL completes commands, options, and the names of volumes, vmgroups and machines.

    \b
    vmdkvol completion bash > /etc/bash_completion.d/vmdkvol
    vmdkvol completion zsh > "${fpath[1]}/_vmdkvol"
    vmdkvol completion fish > ~/.config/fish/completions/vmdkvol.fish

    Names are asked of the API and remembered for five seconds. Those that a shell would read differently are not offered.
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    root = click.get_current_context().find_root().command
    # Not the class's own method: for bash it starts one, to look at its version.
    click.echo(ShellComplete.source(kind(root, {}, "vmdkvol", "_VMDKVOL_COMPLETE")))
