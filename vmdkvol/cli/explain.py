"""`vmdkvol explain CODE`: what an error code means and what to do about it."""

from __future__ import annotations

import difflib

import click

from vmdkvol.cli.render import Table, output_option, show
from vmdkvol.errors import BY_CODE, NotFound


@click.command("explain", short_help="Explain an error code.")
@click.argument("code", required=False)
@output_option
def command(code: str | None, output: str) -> None:
    """Explain the error code that stands in [brackets] at the end of a message; without CODE, list them."""
    if code is None:
        rows = [{"code": name, "exit": BY_CODE[name].exit_code, "meaning": _meaning(name)} for name in sorted(BY_CODE)]
        show(Table(("code", "exit", "meaning")), rows, output)
        return
    wanted = code.strip("[]").lower()
    if wanted not in BY_CODE:
        near = difflib.get_close_matches(wanted, BY_CODE, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise NotFound(f"no error has the code {wanted!r}", remedy=f"{hint}`vmdkvol explain` lists the codes")
    kind = BY_CODE[wanted]
    facts = {"code": wanted, "meaning": _meaning(wanted), "remedy": kind.remedy, "exit": kind.exit_code}
    if output != "table":
        show(Table(("code", "exit", "meaning")), [facts], output, single=True)
        return
    click.echo(f"{wanted}: {facts['meaning']}")
    if kind.remedy:
        click.echo(f"What to do: {kind.remedy}.")
    click.echo(f"Exit code: {kind.exit_code}")


def _meaning(code: str) -> str:
    kind = BY_CODE[code]
    return kind.explanation or (kind.__doc__ or "").split("\n")[0]
