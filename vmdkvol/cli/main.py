"""`vmdkvol`: the group of commands, each loaded only when it is asked for."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from vmdkvol import __version__
from vmdkvol.command import run

# Each is loaded only when it is used, and its line of `vmdkvol --help` stands here: that loads none of them (200 ms).
_COMMANDS = {
    "sandbox": "Run the whole product on this machine.",
    "status": "How the service is.",
    "volume": "Volumes of all vmgroups: who uses what, and changes.",
    "vmgroup": "Tenants: who may use which datastores, and how much.",
    "vm": "Enrol Docker hosts, see who is enrolled, end an enrolment.",
    "datastore": "Datastores: how full they are, which take no new volumes.",
    "policy": "Storage policies: who uses them, how disks stand to them.",
    "task": "Long work: see it, wait for it, stop it.",
    "orphans": "Disks and records that have lost each other.",
    "advise": "What to do before maintenance.",
    "audit": "Who did what, and what came of it.",
    "doctor": "Check this machine and say how to put it right.",
    "support-bundle": "Put what a helper must see into one file, without secrets.",
    "explain": "Explain an error code.",
    "completion": "Print a completion script for a shell.",
}
# What other tools call it. Not what is only spelled like it: who wants to delete must not be sent to release.
_ELSEWHERE = {"list": "ls", "delete": "rm", "remove": "rm", "show": "inspect", "describe": "inspect", "add": "create"}
_OF_VDVS = {
    "shortls": "it is `vmdkvol volume ls -c name,size,diskformat,attached_to` here",
    "config": "nothing is to be initialised here, and `vmdkvol status` says how the service is",
}
_WELCOME = """vmdkvol gives containers disks that belong to vSphere. Without vSphere, try it on this machine:

  vmdkvol sandbox up                               start a service and an agent, with a directory as datastore
  docker volume create -d vsphere db -o size=1gb   then use it: docker run -v db:/data ...
  vmdkvol volume ls                                see the disks, and who has them

`vmdkvol --help` lists all commands."""


class _LazyGroup(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.exceptions.NoSuchCommand as error:
            raise click.UsageError(f"{error.message.rstrip('.')}{_meant(error)}", error.ctx) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"vmdkvol.cli.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _meant(error: click.exceptions.NoSuchCommand) -> str:
    """Return what may be meant by a command that there is not, of this one or in the group that was asked."""
    name, group = error.command_name, error.ctx and error.ctx.command
    if name in _OF_VDVS:
        return f"; {_OF_VDVS[name]}"
    known = group.list_commands(error.ctx) if isinstance(group, click.Group) and error.ctx else []
    here = _ELSEWHERE.get(name)
    near = [here] if here in known else difflib.get_close_matches(name, known)
    return f"; did you mean {' or '.join(near)}" if near else ""


@click.group(cls=_LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vmdkvol", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Disks of vSphere for containers: what an administrator sees and changes. At the service, or from anywhere by its API."""
    if ctx.invoked_subcommand is None:
        click.echo(_WELCOME)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit."""
    sys.exit(run(cli, "vmdkvol", argv))


if __name__ == "__main__":
    main()
