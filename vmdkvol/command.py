"""The one place where a command's errors become a line on standard error and an exit code; for all three programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from vmdkvol.errors import Internal, VolumeError, one_line

USAGE = 2
PARTIAL = 3
INTERRUPTED = 130
# Codes that a command gives itself; all others are the taxonomy's (errors).
OWN_CODES = {
    "usage": (USAGE, "The command line cannot be read as it stands; the message says what is wrong, `--help` what is right."),
    "partial": (PARTIAL, "Of several names of one command some were done and some were not; each one's error stands above."),
    "os-error": (1, "The operating system refused what the command needs. The message names the file and the reason."),
}


def run(command: click.Command, name: str, argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: an error's is its class's, its line is ``name: cause; remedy [code]``."""
    output = sys.stdout
    try:
        code = command.main(args=None if argv is None else list(argv), prog_name=name, standalone_mode=False)
        if sys.stdout is not None:  # started with its output closed
            sys.stdout.flush()
    except VolumeError as error:
        return _tell(name, str(error), error.exit_code)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        return _tell(name, _usage(name, error), USAGE)
    except BrokenPipeError:
        return _nobody_reads()
    except SystemExit:
        # click's own way to end on a broken pipe, after it wrapped the outputs; any other exit is meant.
        if sys.stdout is output:
            raise
        return 0
    except OSError as error:
        return _tell(name, _refused_by_the_system(error), 1)
    except Exception as error:  # noqa: BLE001 - the top of the command: a traceback helps no admin
        if os.environ.get("VMDKVOL_DEBUG"):
            raise
        bug = Internal(f"{type(error).__name__}: {error}", remedy="this is a bug; VMDKVOL_DEBUG=1 shows where")
        return _tell(name, str(bug), bug.exit_code)
    return code if isinstance(code, int) else 0


def _nobody_reads() -> int:
    """`vmdkvol volume ls | head`: the reader has what it wanted. Without this Python would complain once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _refused_by_the_system(error: OSError) -> str:
    what = ": ".join(filter(None, [str(error.filename or ""), error.strerror or str(error)]))
    remedy = "; run it as root" if isinstance(error, PermissionError) and os.geteuid() != 0 else ""
    return f"{what}{remedy} [os-error]"


def _usage(name: str, error: click.ClickException) -> str:
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else name
    return f"{error.format_message().rstrip('.')}; see `{path} --help` [usage]"


def _tell(name: str, text: str, code: int) -> int:
    click.echo(f"{name}: {one_line(text, 1000)}", err=True)
    return code
