"""`vmdkvol-esxd`: serve, check the settings, rebuild a lost database."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NoReturn

import click

from vmdkvol import __version__, logs
from vmdkvol.clock import SystemClock
from vmdkvol.command import run
from vmdkvol.errors import one_line
from vmdkvol.findings import COLUMNS, exit_code
from vmdkvol.settings import read_settings
from vmdkvol_esx.settings import ServiceSettings
from vmdkvol_esx.web_tokens import web_token

# A place and what is wrong with it.
_LONGEST = 1000


@click.group(commands=[web_token], context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("/etc/vmdkvol/service.toml"),
    show_default=True,
    help="The settings' file.",
)
@click.version_option(__version__, prog_name="vmdkvol-esxd", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, config: Path) -> None:
    """The service that owns the volumes: it decides who may use a disk, and makes, attaches and removes disks."""
    ctx.obj = config


@cli.command()
@click.pass_obj
def serve(config: Path) -> None:
    """Serve until SIGTERM; what is under way is finished first."""
    settings = read_settings(ServiceSettings, config)
    # What a start loads stays: to look for garbage in it takes 6 to 8 % of the start. The daemon looks again when it serves.
    gc.disable()
    from vmdkvol_esx.daemon import serve as serve_until_told  # the database's library costs --help 0.3 s

    serve_until_told(settings)


@cli.command("check-config")
@click.pass_obj
def check_config(config: Path) -> None:
    """Read the settings, and the files that they name, and say whether they are right; nothing is started or changed."""
    from vmdkvol_esx.reaching import check  # TLS, for those who have an endpoint
    from vmdkvol_esx.web import tls_files

    notes: list[str] = []
    settings = read_settings(
        ServiceSettings, config, lambda made: notes.extend((*check(made, os.environ), *tls_files.check(made.web)))
    )
    where = f"; listens at {', '.join(settings.listen)}" if settings.listen else ""
    click.echo(f"{config}: right; {len(settings.datastore_names)} datastores, {len(settings.hosts)} hosts{where}")
    for note in notes:
        click.echo(note)


@cli.command()
@click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True)
@click.pass_obj
def doctor(config: Path, output: str) -> int:
    """Ask vSphere and this machine for all that the service needs, and say how to put it right; nothing is changed.

    Exit code 0, 1 (a WARN) or 2 (a FAIL).
    """
    settings = read_settings(ServiceSettings, config)
    from vmdkvol.cli.render import Table, show
    from vmdkvol_esx.doctor import Doctor  # all of the bindings
    from vmdkvol_esx.reaching import Unheard

    findings = list(Doctor(settings, SystemClock(), Unheard(), os.environ, _say).examine())
    show(Table(COLUMNS), [asdict(finding) for finding in findings], output)
    return exit_code(findings)


@cli.command("create-role")
@click.option("--user", required=True, help="An administrator's account, such as administrator@vsphere.local.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help="A file, chmod 600, that holds the administrator's password; asked for without.",
)
@click.option("--principal", help="Who gets the roles, as vSphere spells it; the user of the settings without.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.pass_obj
def create_role(config: Path, user: str, password_file: Path | None, principal: str | None, dry_run: bool) -> None:
    """Make the roles that the service's account needs, and give it each of them where it needs it."""
    settings = read_settings(ServiceSettings, config)
    from vmdkvol_esx.reaching import Unheard
    from vmdkvol_esx.roles import RoleMaker
    from vmdkvol_esx.vsphere.credentials import from_file

    if password_file is None:
        password = partial(logs.Secret, click.prompt(f"Password of {user}", hide_input=True, err=True))
    else:
        password = partial(from_file, password_file)
    maker = RoleMaker(settings, user, password, SystemClock(), Unheard())
    given_to = principal or (settings.vsphere.user if settings.vsphere is not None else "")
    for line in maker.run(given_to, dry_run=dry_run):
        click.echo(line)


def _say(text: str) -> None:
    """Tell somebody who waits what is being asked; a script has nobody who waits."""
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(f"asking: {text}", err=True)


@cli.command()
@click.option("--dry-run", is_flag=True, help="Say what would come back, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def rebuild(config: Path, dry_run: bool, yes: bool) -> None:
    """Make a new database from the sidecars beside the disks; the old one is kept under another name.

    For one that is damaged, lost, or was put back from a backup. The service must not run.
    """
    settings = read_settings(ServiceSettings, config)
    from vmdkvol.cli.confirming import confirm
    from vmdkvol_esx.daemon import rebuild as rebuild_database

    def meant(told: Sequence[str], lost: Sequence[str]) -> bool:
        for line in told:
            click.echo(one_line(line, _LONGEST))
        if not dry_run:
            confirm(lost, "Put the new database in its place?", yes=yes)
        return not dry_run

    kept = rebuild_database(settings, meant)
    if dry_run:
        click.echo("a dry run: nothing was changed", err=True)
    elif kept is not None:
        click.echo(f"the old database is kept as {kept}")


@cli.command("new-ca")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def new_ca(config: Path, yes: bool) -> None:
    """Make a new certificate authority: every machine must enrol again. The service must not run; the old one is kept."""
    settings = read_settings(ServiceSettings, config)
    if not yes:
        click.confirm(
            "Every enrolled machine is cut off until it is enrolled again. Make a new authority?", abort=True, err=True
        )
    from vmdkvol_esx.registry import new_authority  # certificates, for those who make some

    logs.configure(settings.log_level)
    click.echo(new_authority(settings, SystemClock()))


@cli.command("web-certificate")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--host",
    "hosts",
    metavar="NAME",
    multiple=True,
    default=("localhost", "127.0.0.1"),
    show_default=True,
    help="How browsers reach the API: a name or an address; may be repeated.",
)
def web_certificate(file: Path, hosts: tuple[str, ...]) -> None:
    """Write a key and a certificate that nobody else signed to FILE, for `certificate_file` of [web].

    One that will do for a month at least is left as it is. For a site without an authority of its own: who reaches the API
    compares the certificate's SHA-256 once.
    """
    from vmdkvol_esx.self_signed import ensure_certificate  # certificates, for those who make some

    made = ensure_certificate(file, hosts, SystemClock())
    click.echo(f"{file} {'is made' if made else 'will do as it is'}, for {', '.join(hosts)}", err=True)


@cli.command()
@click.pass_obj
def web(config: Path) -> None:
    """Serve the REST API until SIGTERM, in front of the service that runs with the same settings."""
    from vmdkvol_esx.web import tls_files

    settings = read_settings(ServiceSettings, config, lambda made: tls_files.check(made.web))
    from vmdkvol_esx.web.daemon import serve as serve_api  # Flask and gunicorn

    serve_api(settings)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit."""
    sys.exit(run(cli, "vmdkvol-esxd", argv))


if __name__ == "__main__":
    main()
