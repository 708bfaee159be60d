"""Rows as a table, as JSON, YAML or names. Nothing is ever wrapped: scripts read this too (field case C20).

Names and labels come from strangers. Where a person reads, everything unprintable in them is escaped, or whoever may name
a virtual machine draws on an administrator's terminal. JSON and YAML say the same value with their own escapes.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import click

from vmdkvol.cli import completing
from vmdkvol.cli.choosing import Condition, check_keys, chosen, ordered, parse_condition, parse_keys, value_of
from vmdkvol.errors import BadRequest, MissingTool, one_line
from vmdkvol.visible import is_visible

F = TypeVar("F", bound=Callable[..., Any])
Row = Mapping[str, Any]
FORMATS = ("table", "wide", "json", "yaml", "name")
# A cell of a table: more than any name has. What is longer, such as a label of a megabyte, JSON shows whole.
MAX_CELL = 1000


@dataclass(frozen=True, slots=True)
class Table:
    """Which keys of a row are columns, and in which order; ``wide`` ones are added by ``-o wide``. The first is the name.

    ``more`` are the keys that only JSON has; filters and ``--columns`` know them too. ``name``: what ``-o name`` prints, if
    that is not the first column.
    """

    columns: tuple[str, ...]
    wide: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    name: str | None = None
    # What vDVS called columns, where that is none of the keys.
    old: Mapping[str, str] = field(default_factory=dict)

    def ours(self, key: str) -> str:
        """Return the key that ``key``, perhaps with a '-' before it, is called here."""
        turned = "-" if key.startswith("-") else ""
        return turned + self.old.get(key.removeprefix("-"), key.removeprefix("-"))

    @property
    def keys(self) -> tuple[str, ...]:
        return (*self.columns, *self.wide, *self.more)


@dataclass(frozen=True, slots=True)
class View:
    """What the user wants to see of a list, and how."""

    output: str = "table"
    conditions: tuple[Condition, ...] = ()
    sort: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def show(self, table: Table, rows: Sequence[Row]) -> None:
        """Print the chosen rows; BadRequest, before anything is printed, for a key that the table does not know."""
        self.check(table)
        found = ordered(chosen(rows, self.conditions), self.sort)
        if self.columns and self.output in ("table", "wide"):
            table = Table(self.columns)
        elif self.columns and self.output != "name":
            found = [{key: value_of(row, key) for key in self.columns} for row in found]
        show(table, found, self.output)

    def check(self, table: Table) -> None:
        """Raise BadRequest for a key that the table does not know, after a line with all that it knows."""
        named = [each.key for each in self.conditions] + [key.removeprefix("-") for key in self.sort]
        try:
            check_keys([*named, *self.columns], table.keys)
        except BadRequest:
            # A line of its own: an error's is cut, and what was cut is the key that is looked for.
            click.echo(f"keys: {', '.join(sorted(table.keys))}", err=True)
            raise


def output_option(function: F) -> F:
    """Add ``-o/--output`` to a command."""
    option = click.option(
        "-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="How the result is printed."
    )
    return option(function)


def view_options(table: Table) -> Callable[[F], F]:
    """Return what adds that which every list has: ``-o``, ``--filter``, ``--sort`` and ``--columns``, for keys of this table.

    The command gets them as ``view``. A key that the table does not know is refused before anybody is asked.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def command(
            *args: Any, output: str, filters: tuple[str, ...], sort: str | None, columns: str | None, **kwargs: Any
        ) -> Any:
            named = tuple(map(table.ours, parse_keys(columns))) if columns is not None else ()
            if any(key.startswith("-") for key in named):
                raise BadRequest("a column has no '-' before it", remedy="write --columns key,key")
            view = View(
                output,
                tuple(replace(each, key=table.ours(each.key)) for each in map(parse_condition, filters)),
                tuple(map(table.ours, parse_keys(sort))) if sort is not None else (),
                named,
            )
            view.check(table)
            return function(*args, view=view, **kwargs)

        # The reference lists the keys of every list from here; what wraps this later keeps it.
        command.table = table  # type: ignore[attr-defined]
        keys = completing.listed(completing.words(table.keys))
        columns = click.option(
            "-c", "--columns", metavar="KEY,KEY", shell_complete=keys, help="Show these keys, in this order."
        )
        sort = click.option(
            "--sort", metavar="KEY,-KEY", shell_complete=keys, help="Sort by these keys; '-' from the largest down."
        )
        filters = click.option(
            "--filter",
            "filters",
            metavar="KEY=VALUE",
            multiple=True,
            help="Only rows where this holds (=, !=, ~GLOB, >, <); repeated, all of them.",
        )
        return output_option(filters(sort(columns(command))))  # type: ignore[return-value]

    return decorate


def show(table: Table, rows: Sequence[Row], output: str, *, single: bool = False) -> None:
    """Print ``rows``. JSON and YAML hold every key under stable names; ``single`` prints one object, not a list.

    Raises MissingTool for YAML where there is nothing that writes it.
    """
    if output in ("json", "yaml"):
        show_value(rows[0] if single else list(rows), output)
    elif output == "name":
        click.echo("".join(f"{_whole(str(row[table.name or table.columns[0]]))}\n" for row in rows), nl=False)
    else:
        columns = table.columns + (table.wide if output == "wide" else ())
        _print_table([[_head(column), *(cell(value_of(row, column)) for row in rows)] for column in columns])


def show_value(value: Any, output: str) -> None:
    """Print a value as JSON or YAML."""
    click.echo(as_json(value) if output == "json" else _as_yaml(value))


def as_json(value: Any) -> str:
    """Return a value as JSON in which nothing is obeyed by a terminal; who reads it gets exactly the value."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if _is_safe(text):
        return text
    # Those that are not seen stand in strings only, where JSON has an escape for each.
    return "".join(each if is_visible(each) or each == "\n" else json.dumps(each)[1:-1] for each in text)


def _is_safe(text: str) -> bool:
    return is_visible(text.replace("\n", ""))


def _as_yaml(value: Any) -> str:
    try:
        import yaml
    except ImportError as error:
        raise MissingTool("PyYAML is not installed here", remedy="pip install 'vmdkvol[yaml]', or take -o json") from error
    # Through JSON: then it has plain types only.
    text = json.dumps(value, ensure_ascii=False)
    # As elsewhere nothing is wrapped, and what a terminal may obey is written as an escape.
    written: str = yaml.safe_dump(json.loads(text), sort_keys=False, allow_unicode=_is_safe(text), width=1 << 30)
    return written.rstrip("\n")


def show_facts(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print each row as lines of a key and its value, an empty line between two rows."""
    for number, row in enumerate(rows):
        if number:
            click.echo()
        width = max(map(len, row), default=0)
        for key, value in row.items():
            click.echo(f"{_head(key):<{width}}   {cell(value)}")


def cell(value: Any) -> str:
    """Return a value as it stands in a table: on one line, with nothing that a terminal obeys."""
    if type(value) is str and 0 < len(value) <= MAX_CELL and is_visible(value):
        # Most are such, and a list has ten thousand rows.
        return value
    if value is None or value == "" or value in ((), [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        value = [f"{key}={part}" for key, part in value.items()]
    if isinstance(value, list | tuple):
        # A megabyte of parts is not joined for the sake of its beginning.
        value = ",".join("-" if part is None else str(part)[:MAX_CELL] for part in value[:MAX_CELL])
    return one_line(str(value), MAX_CELL)


def plain_terminal() -> bool:
    """Tell whether what is printed goes to no terminal, or to one whose user wants no colours (https://no-color.org)."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return not terminal or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def _whole(text: str) -> str:
    # An escape is up to ten characters long.
    return one_line(text, 10 * len(text) + 1)


def _head(key: str) -> str:
    return one_line(key.upper().replace("_", " "), MAX_CELL)


def _print_table(columns: Sequence[Sequence[str]]) -> None:
    """Print the columns, each with its head before its cells, side by side."""
    head, *rows = zip(*map(_padded, columns), strict=True)
    lines = ["   ".join(row).rstrip() for row in (head, *rows)]
    if not plain_terminal():
        lines[0] = click.style(lines[0], bold=True)
    click.echo("\n".join(lines))


def _padded(texts: Sequence[str]) -> list[str]:
    """Return the texts as wide, on a terminal, as the widest of them."""
    if all(map(str.isascii, texts)):
        # What is printable in ASCII is as wide as it is long.
        width = max(map(len, texts))
        return [text.ljust(width) for text in texts]
    from rich.cells import cell_len  # the only use of rich; it costs more than the rest

    widths = [cell_len(text) for text in texts]
    widest = max(widths)
    return [text + " " * (widest - width) for text, width in zip(texts, widths, strict=True)]
