"""`vmdkvol-esxd`: serve, check the settings, rebuild a lost database."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from vmdkvol import __version__
from vmdkvol.command import run
from vmdkvol.settings import read_settings
from vmdkvol_esx.settings import ServiceSettings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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

    notes: list[str] = []
    settings = read_settings(ServiceSettings, config, lambda made: notes.extend(check(made, os.environ)))
    click.echo(f"{config}: right; {len(settings.datastore_names)} datastores, {len(settings.hosts)} hosts")
    for note in notes:
        click.echo(note)


@cli.command()
@click.pass_obj
def rebuild(config: Path) -> None:
    """Make a new database from the sidecars beside the disks; the damaged one is kept under another name."""
    settings = read_settings(ServiceSettings, config)
    from vmdkvol_esx.daemon import rebuild as rebuild_database

    click.echo(rebuild_database(settings))


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit."""
    sys.exit(run(cli, "vmdkvol-esxd", argv))


if __name__ == "__main__":
    main()
