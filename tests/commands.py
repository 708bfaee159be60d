"""The command line as a page of the reference: every command with its usage, its help and its options, from click itself."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from inspect import cleandoc

import click

from vmdkvol.cli.main import cli
from vmdkvol.cli.render import Table
from vmdkvol_esx.cli import cli as service
from vmdkvol_guest.cli import cli as agent

# What click does not wrap begins with this.
_AS_IT_STANDS = "\b\n"
PROGRAMS: Mapping[str, click.Group] = {"vmdkvol": cli, "vmdkvol-agent": agent, "vmdkvol-esxd": service}
_TYPED = re.compile(rf"(?:[#$] )?({'|'.join(PROGRAMS)}) (.+)")
# Where a line goes on with another program, or a remark.
_BEYOND = re.compile(r" \|\|? | > | && |  +#")
_SHARED = ("api", "directory", "output", "filters", "sort", "columns", "dry_run", "if_revision", "yes", "no_wait")


def commands(name: str = "vmdkvol", command: click.Command = cli) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something by itself, with all its words, in the order of ``--help``."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for word in command.list_commands(context):
        inner = command.get_command(context, word)
        assert inner is not None
        yield from commands(f"{name} {word}", inner)


def page() -> str:
    """Return a section for each command."""
    return "\n".join(_section(name, command) for name, command in commands())


def lists() -> Iterator[tuple[str, Table]]:
    """Yield every command that prints a list that can be filtered and sorted, and the table of its keys."""
    for name, command in commands():
        table = getattr(command.callback, "table", None)
        if table is not None:
            yield name, table


def keys() -> str:
    """Return a line for each list: its keys, by the first output that shows them."""
    rows = [f"| `{name}` | {_coded(table.columns)} | {_coded(table.wide)} | {_coded(table.more)} |" for name, table in lists()]
    return "\n".join(["| list | in a table | and in `wide` | and in `json` |", "| --- | --- | --- | --- |", *rows]) + "\n"


def _coded(keys: Sequence[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys)


def _section(name: str, command: click.Command) -> str:
    arguments = [parameter.make_metavar(click.Context(command)) for parameter in _arguments(command)]
    usage = " ".join([name, *arguments])
    return f"### {name}\n\n`{usage}`\n\n{_text(command)}{_options(command)}"


def _arguments(command: click.Command) -> list[click.Argument]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Argument)]


def _text(command: click.Command) -> str:
    """Return the help, what click prints as it stands as a block of code."""
    paragraphs = cleandoc(command.help or "").split("\n\n")
    blocks = (
        f"```\n{each.removeprefix(_AS_IT_STANDS)}\n```" if each.startswith(_AS_IT_STANDS) else each for each in paragraphs
    )
    return "\n\n".join(blocks) + "\n"


def _options(command: click.Command) -> str:
    """Return a line for each option; what many commands have is described on the page once."""
    options = [each for each in command.params if isinstance(each, click.Option) and each.name != "help"]
    lines = ""
    for option in options:
        if option.name not in _SHARED:
            flags = ", ".join(f"`{flag}`" for flag in option.opts)
            value = "" if option.is_flag else f" `{option.make_metavar(click.Context(command))}`"
            lines += f"- {flags}{value}: {option.help or ''}{_default(option)}\n"
    shared = ", ".join(f"`{option.opts[-1]}`" for option in options if option.name in _SHARED)
    return "\n" + lines + (f"- as elsewhere: {shared}\n" if shared else "") if options else ""


def _default(option: click.Option) -> str:
    return f" Default: `{option.default}`." if option.show_default and option.default is not None else ""


def unknown_in(line: str) -> str:
    """Return the first word of a typed line that is no command of ours or no option of it; nothing if there is none.

    Lines of other programs have none. ``ls|rm`` are two commands; ``CODE`` in ``explain CODE`` is an argument as any other.
    """
    found = _TYPED.fullmatch(line.strip())
    if found is None:
        return ""
    command: click.Command = PROGRAMS[found[1]]
    words = iter(shlex.split(_BEYOND.split(found[2])[0]))
    for word in words:
        flag, given, _ = word.partition("=")
        if flag.startswith("-") and flag.strip("-"):
            option = _option(command, flag)
            if option is None:
                return word
            if not given and not option.is_flag and option.name != "help":
                next(words, None)
        elif isinstance(command, click.Group):
            inner = [command.get_command(click.Context(command), each) for each in word.split("|")]
            if None in inner:
                return word
            command = inner[0] or command
    return ""


def _option(command: click.Command, flag: str) -> click.Option | None:
    options = [each for each in command.get_params(click.Context(command)) if isinstance(each, click.Option)]
    return next((each for each in options if flag in (*each.opts, *each.secondary_opts)), None)
