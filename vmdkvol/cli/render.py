"""Rows as a table, as JSON or as names. Nothing is ever wrapped or cut: scripts read this too (field case C20)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Row = Mapping[str, Any]
FORMATS = ("table", "wide", "json", "name")


@dataclass(frozen=True, slots=True)
class Table:
    """Which keys of a row are columns, and in which order; ``wide`` ones are added by ``-o wide``. The first is the name."""

    columns: tuple[str, ...]
    wide: tuple[str, ...] = ()


def output_option(function: F) -> F:
    """Add ``-o/--output`` to a command."""
    option = click.option(
        "-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="How the result is printed."
    )
    return option(function)


def show(table: Table, rows: Sequence[Row], output: str, *, single: bool = False) -> None:
    """Print ``rows``. JSON holds every key of a row under stable names; ``single`` prints one object, not a list."""
    if output == "json":
        click.echo(json.dumps(rows[0] if single else list(rows), indent=2, ensure_ascii=False))
    elif output == "name":
        for row in rows:
            click.echo(row[table.columns[0]])
    else:
        columns = table.columns + (table.wide if output == "wide" else ())
        _print_table(columns, [[_cell(row.get(column)) for column in columns] for row in rows])


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, list | tuple):
        return ",".join(str(part) for part in value) or "-"
    return str(value)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.cells import cell_len  # drawing tables is the only use of rich; it costs more than the rest

    heads = [column.upper().replace("_", " ") for column in columns]
    widths = [max(map(cell_len, texts)) for texts in zip(heads, *rows, strict=True)]
    bold = sys.stdout is not None and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for number, row in enumerate([heads, *rows]):
        padded = [text + " " * (width - cell_len(text)) for text, width in zip(row, widths, strict=True)]
        line = "   ".join(padded).rstrip()
        click.echo(click.style(line, bold=True) if bold and number == 0 else line)
