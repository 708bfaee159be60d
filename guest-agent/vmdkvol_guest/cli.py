"""`vmdkvol-agent`: serve Docker, check the settings, look at this machine."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click

from vmdkvol import __version__, logs
from vmdkvol.clock import SystemClock
from vmdkvol.command import run
from vmdkvol.errors import one_line
from vmdkvol.findings import COLUMNS, exit_code
from vmdkvol.settings import read_settings
from vmdkvol_guest.settings import AgentSettings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("/etc/vmdkvol/agent.toml"),
    show_default=True,
    help="The settings' file.",
)
@click.version_option(__version__, prog_name="vmdkvol-agent", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, config: Path) -> None:
    """The Docker volume plugin: it attaches, formats and mounts the disks of this Docker host's containers."""
    ctx.obj = config


@cli.command()
@click.pass_obj
def serve(config: Path) -> None:
    """Serve Docker until SIGTERM. Mounts stay: containers go on while the agent is stopped or upgraded."""
    settings = read_settings(AgentSettings, config)
    # What a start loads stays: to look for garbage in it takes 6 to 8 % of the start. The daemon looks again when it serves.
    gc.disable()
    from vmdkvol_guest.daemon import serve as serve_until_told  # Flask and gunicorn cost --help 0.3 s

    serve_until_told(settings)


@cli.command("check-config")
@click.pass_obj
def check_config(config: Path) -> None:
    """Read the settings and say whether they are right; nothing is started or changed."""
    settings = read_settings(AgentSettings, config)
    click.echo(f"{config}: right; driver {settings.driver} at {settings.socket}, service at {settings.service}")


@cli.command()
@click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True)
@click.pass_obj
def doctor(config: Path, output: str) -> int:
    """Look at everything that the agent needs on this machine, and say how to put it right; nothing is changed.

    Exit code 0, 1 (a WARN) or 2 (a FAIL).
    """
    settings = read_settings(AgentSettings, config)
    from vmdkvol.cli.asking import boot_id
    from vmdkvol.cli.render import Table, show
    from vmdkvol_guest.doctor import Doctor
    from vmdkvol_guest.linux.commands import Commands
    from vmdkvol_guest.reaching import Reaching

    # A line that is down is a finding, told once.
    logs.configure("error")
    clock = SystemClock()
    service = Reaching(settings, clock, boot_id())
    findings = list(Doctor(settings, clock, Commands(clock), service.ask).examine())
    show(Table(COLUMNS), [asdict(finding) for finding in findings], output)
    return exit_code(findings)


@cli.command("enroll")
@click.argument("token")
@click.pass_obj
def enroll(config: Path, token: str) -> None:
    """Make this host the virtual machine that TOKEN is for; `-` reads it from standard input. The agent may run meanwhile.

    `vmdkvol vm enroll NAME` at the service prints the token, which counts once and for an hour.
    """
    settings = read_settings(AgentSettings, config)
    from vmdkvol_guest.enrolment import enroll_by  # TLS, for those who enrol

    enrolled = enroll_by(settings, sys.stdin.readline() if token == "-" else token)
    click.echo(f"this host is {one_line(enrolled.vm_name)} ({enrolled.vm}) to the service at {settings.service}")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit."""
    sys.exit(run(cli, "vmdkvol-agent", argv))


if __name__ == "__main__":
    main()
