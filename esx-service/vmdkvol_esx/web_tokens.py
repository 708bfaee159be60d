"""`vmdkvol-esxd web-token new|ls|revoke`: who may use the API from elsewhere, with which role and how long."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from vmdkvol.clock import SystemClock
from vmdkvol.orders import Role
from vmdkvol.settings import read_settings
from vmdkvol_esx.settings import ServiceSettings
from vmdkvol_esx.web.token_file import MOST_DAYS, TokenFile, read


@click.group("web-token")
def web_token() -> None:
    """Make, list and revoke the tokens that the REST API takes."""


@web_token.command("new")
@click.argument("name")
@click.option("--role", type=click.Choice([each.value for each in Role]), required=True, help="What its owner may do.")
@click.option("--days", type=click.IntRange(1, MOST_DAYS), default=90, show_default=True, help="How long it counts.")
@click.pass_obj
def new(config: Path, name: str, role: str, days: int) -> None:
    """Print a token for NAME, once: nobody is told it again, and of it only a hash is kept.

    Whoever has it can do what its role can, as NAME.
    """
    secret, made = _file(config).add(name, Role(role), days)
    click.echo(secret.reveal())
    click.echo(f"For {name}, as {role}, until {_time(made.expires_at)}. Put it into a file, chmod 600.", err=True)


@web_token.command("ls")
@click.pass_obj
def ls(config: Path) -> None:
    """List whose tokens there are, and until when they count."""
    now = SystemClock().wall()
    for each in sorted(read(_path(config)), key=lambda each: each.name):
        over = "" if each.expires_at > now else " (over)"
        click.echo(f"{each.name}\t{each.role}\t{_time(each.expires_at)}{over}")


@web_token.command("revoke")
@click.argument("name")
@click.pass_obj
def revoke(config: Path, name: str) -> None:
    """End the token of NAME; it counts no more with the next request."""
    _file(config).remove(name)
    click.echo(f"{name} has no token any more", err=True)


def _path(config: Path) -> Path:
    return Path(read_settings(ServiceSettings, config).token_file)


def _file(config: Path) -> TokenFile:
    return TokenFile(_path(config), SystemClock())


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
