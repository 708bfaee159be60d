"""How a command finds its API: the one that is named, the service's on this machine, or the sandbox's."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vmdkvol.addresses import UnixAddress
from vmdkvol.cli.api_address import API, WebAddress, parse_api
from vmdkvol.cli.layout import DEFAULT_DIRECTORY, Layout
from vmdkvol.errors import ServiceUnreachable

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

F = TypeVar("F", bound=Callable[..., Any])

SERVICE_SOCKET = Path("/run/vmdkvol/web.sock")


def api_options(function: F) -> F:
    """Add ``--api`` and ``--dir`` to a command. It gets a ``client``, which is closed when it returns."""

    @functools.wraps(function)
    def command(*args: Any, api: str | None, directory: Path | None, **kwargs: Any) -> Any:
        with contextlib.closing(make_client(api, directory)) as client:
            return function(*args, client=client, **kwargs)

    address = click.option(
        "--api",
        metavar="ADDRESS",
        envvar=API,
        show_envvar=True,
        help="unix:///PATH or https://HOST[:PORT]; without it the service on this machine, or the sandbox.",
    )
    directory = click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="VMDKVOL_DIR",
        show_envvar=True,
        help=f"A sandbox's directory (default: {DEFAULT_DIRECTORY}).",
    )
    return address(directory(command))  # type: ignore[return-value]


def make_client(api: str | None, directory: Path | None, **limits: float) -> Client:
    """Return a client of the API that these name, trusted as the environment says; ``limits`` are ``Client``'s."""
    # What speaks HTTP costs more than all the rest of a command's help.
    from vmdkvol.cli.client import AWAY, Client
    from vmdkvol.cli.endpoint import Endpoint, trust_from
    from vmdkvol.clock import SystemClock

    address = api_address(api, directory)
    sandbox = api is None and address != UnixAddress(SERVICE_SOCKET)
    away = "run `vmdkvol sandbox up`, then try again" if sandbox else AWAY
    return Client(Endpoint(address, trust_from(os.environ)), SystemClock(), away=away, **limits)


def api_address(api: str | None, directory: Path | None, here: Path = SERVICE_SOCKET) -> UnixAddress | WebAddress:
    """Return the API to ask: the named one, that of the named sandbox, the service's at ``here``, that of the usual sandbox."""
    if api:
        return parse_api(api)
    if directory is None and here.exists():
        return UnixAddress(here)
    layout = Layout.at(directory or DEFAULT_DIRECTORY)
    if layout.identity() is None:
        raise ServiceUnreachable(
            f"no service on this machine ({here}) and no sandbox in {layout.root}",
            remedy="give --api https://HOST, run it at the service, or `vmdkvol sandbox up`",
        )
    return layout.web_address
