"""`vmdkvol`: the group of commands, each loaded only when it is asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from vmdkvol import __version__
from vmdkvol.command import run

# Loaded by name only when used: `vmdkvol --version` stays under 150 ms.
_COMMANDS = {
    "sandbox": "vmdkvol.cli.sandbox",
    "volume": "vmdkvol.cli.volume",
    "vm": "vmdkvol.cli.vm",
    "vmgroup": "vmdkvol.cli.vmgroup",
    "datastore": "vmdkvol.cli.datastore",
    "doctor": "vmdkvol.cli.doctor",
    "explain": "vmdkvol.cli.explain",
    "completion": "vmdkvol.cli.completion",
}
_WELCOME = """vmdkvol gives containers disks that belong to vSphere. Without vSphere, try it on this machine:

  vmdkvol sandbox up                               start a service and an agent, with a directory as datastore
  docker volume create -d vsphere db -o size=1gb   then use it: docker run -v db:/data ...
  vmdkvol volume ls                                see the disks, and who has them

`vmdkvol --help` lists all commands."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(module).command
        return command


@click.group(cls=_LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vmdkvol", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Disks of vSphere for containers: the sandbox, the volumes, and what is wrong."""
    if ctx.invoked_subcommand is None:
        click.echo(_WELCOME)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit."""
    sys.exit(run(cli, "vmdkvol", argv))


if __name__ == "__main__":
    main()
