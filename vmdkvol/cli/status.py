"""`vmdkvol status`: the service as a whole, and what an administrator should look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from vmdkvol.cli.paths import path_of
from vmdkvol.cli.reaching import api_options
from vmdkvol.cli.render import Table, output_option, show, show_facts, show_value
from vmdkvol.progress import duration

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client


@click.command("status", short_help="How the service is.")
@output_option
@api_options
def command(client: Client, output: str) -> int:
    """Say how the service is: its version, volumes, hosts, work under way. Exit code 1 if somebody should look at something."""
    found = {"api": str(client.endpoint), **row_of(client.get(path_of("status")))}
    if output in ("json", "yaml"):
        show_value(found, output)
    elif output == "name":
        show(Table(("api",)), [found], output)
    else:
        left_out = ("trouble",) if output == "wide" else ("trouble", "uptime_s")
        trouble = {f"trouble {number}": line for number, line in enumerate(found["trouble"], 1)}
        show_facts([{key: value for key, value in found.items() if key not in left_out} | trouble])
    return int(bool(found["trouble"]))


def row_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the service under the keys that ``-o json`` promises."""
    return {
        "version": info["version"],
        "uptime": duration(int(info["uptime_s"])),
        "uptime_s": info["uptime_s"],
        "volumes": {count["what"]: count["count"] for count in info["states"]},
        "open_work": info["open_work"],
        "hosts": info["hosts"],
        "datastores": info["datastores"],
        "revision": info["revision"],
        "trouble": info["trouble"],
    }
