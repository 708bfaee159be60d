"""The one place where a command's errors become a line on standard error and an exit code; for all three programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from vmdkvol.errors import Internal, VolumeError, one_line

USAGE = 2
INTERRUPTED = 130


def run(command: click.Command, name: str, argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: an error's is its class's, its line is ``name: cause; remedy [code]``."""
    try:
        code = command.main(args=None if argv is None else list(argv), prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except VolumeError as error:
        return _tell(name, str(error), error.exit_code)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        return _tell(name, _usage(name, error), USAGE)
    except BrokenPipeError:
        # `vmdkvol volume ls | head`: the reader has what it wanted. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _tell(name, f"{what} [os-error]", 1)
    except Exception as error:  # noqa: BLE001 - the top of the command: a traceback helps no admin
        if os.environ.get("VMDKVOL_DEBUG"):
            raise
        bug = Internal(f"{type(error).__name__}: {error}", remedy="this is a bug; VMDKVOL_DEBUG=1 shows where")
        return _tell(name, str(bug), bug.exit_code)
    return code if isinstance(code, int) else 0


def _usage(name: str, error: click.ClickException) -> str:
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else name
    return f"{error.format_message().rstrip('.')}; see `{path} --help` [usage]"


def _tell(name: str, text: str, code: int) -> int:
    click.echo(f"{name}: {one_line(text, 1000)}", err=True)
    return code
