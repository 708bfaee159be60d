"""`vmdkvol`: the group of commands, loaded when asked for, and the one place where errors become exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from vmdkvol import __version__
from vmdkvol.errors import Internal, VolumeError, one_line

# Loaded by name only when used: `vmdkvol --version` stays under 150 ms.
_COMMANDS = {
    "sandbox": "vmdkvol.cli.sandbox",
    "volume": "vmdkvol.cli.volume",
    "doctor": "vmdkvol.cli.doctor",
    "explain": "vmdkvol.cli.explain",
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
    """Run the command and exit: 0, or the exit code of the error's class; errors are one line on stderr."""
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    try:
        code = cli.main(args=list(argv) if argv is not None else None, prog_name="vmdkvol", standalone_mode=False)
        sys.stdout.flush()
    except VolumeError as error:
        return _tell(str(error), error.exit_code)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        return _tell(_usage(error), 2)
    except BrokenPipeError:
        # `vmdkvol volume ls | head`: the reader has what it wanted. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the top of the command: a traceback helps no admin
        if os.environ.get("VMDKVOL_DEBUG"):
            raise
        bug = Internal(f"{type(error).__name__}: {error}", remedy="this is a bug; VMDKVOL_DEBUG=1 shows where")
        return _tell(str(bug), bug.exit_code)
    return code if isinstance(code, int) else 0


def _usage(error: click.ClickException) -> str:
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else "vmdkvol"
    return f"{error.format_message().rstrip('.')}; see `{path} --help` [usage]"


def _tell(text: str, code: int) -> int:
    click.echo(f"vmdkvol: {one_line(text, 1000)}", err=True)
    return code


if __name__ == "__main__":
    main()
