"""`vmdkvol audit ls|export`: who did what, from where, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vmdkvol.cli.moments import iso, parse_moment
from vmdkvol.cli.paths import path_of
from vmdkvol.cli.reaching import api_options
from vmdkvol.cli.render import Table, View, view_options
from vmdkvol.clock import SystemClock

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

F = TypeVar("F", bound=Callable[..., Any])

_ENTRIES = Table(
    ("time", "actor", "verb", "target", "result", "detail"),
    ("role", "source", "request_id", "seq"),
    ("at", "intact"),
    name="seq",
)


def _filters(function: F) -> F:
    function = click.option("--request", metavar="ID", help="A request's id, or a vCenter operationID that it led to.")(
        function
    )
    function = click.option("--result", metavar="CODE", help="done, dry-run or an error's code.")(function)
    function = click.option("--target", metavar="GLOB", help="What it was done to.")(function)
    function = click.option("--verb", metavar="VERB", help="What was done.")(function)
    function = click.option("--actor", metavar="NAME", help="Who: an administrator, a virtual machine, or where from.")(
        function
    )
    function = click.option("--until", metavar="TIME", help="Up to this time.")(function)
    return click.option("--since", metavar="TIME", help="From 2026-11-29, 2026-11-29T10:00, or 2h ago (m, h, d).")(function)


@click.group("audit")
def command() -> None:
    """The audit: every change and every refusal that matters. Nothing in it is ever changed."""


@command.command("ls")
@_filters
@click.option("-n", "--number", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most so many.")
@view_options(_ENTRIES)
@api_options
def ls(number: int, client: Client, view: View, **said: Any) -> None:
    """List records, the newest first."""
    rows: list[dict[str, Any]] = []
    for entry in client.pages(path_of("audit"), "entries", {**_asked(said), "limit": min(number, 500)}):
        rows.append(row_of(entry))
        if len(rows) == number:
            break
    view.show(_ENTRIES, rows)
    if any(not row["intact"] for row in rows):
        click.echo(
            "vmdkvol: some of these records are not what was once written: the database was changed or damaged", err=True
        )


@command.command("export")
@_filters
@click.option(
    "--form", type=click.Choice(("json", "csv")), default="json", show_default=True, help="A JSON object a line, or CSV."
)
@api_options
def export(form: str, client: Client, **said: Any) -> None:
    """Write records to stdout, the oldest first, a line each. A spreadsheet takes no cell of the CSV for a formula."""
    for line in client.pages(path_of("audit", "export"), "lines", {**_asked(said), "form": form, "limit": 500}):
        click.echo(line)


def row_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record under the keys that ``-o json`` promises."""
    return {"time": iso(entry["at"]), **entry}


def _asked(said: Mapping[str, Any]) -> dict[str, Any]:
    now = SystemClock().wall()
    times = {key: None if said[key] is None else parse_moment(said[key], now) for key in ("since", "until")}
    return {**said, **times}
