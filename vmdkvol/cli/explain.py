"""`vmdkvol explain CODE`: what an error code means and what to do about it."""

from __future__ import annotations

import difflib

import click

from vmdkvol import admin_errors  # noqa: F401 - they have codes too
from vmdkvol.cli import completing
from vmdkvol.cli.render import Table, output_option, show
from vmdkvol.command import OWN_CODES
from vmdkvol.errors import BY_CODE, NotFound

_CODES = sorted([*BY_CODE, *OWN_CODES])


@click.command("explain", short_help="Explain an error code.")
@click.argument("code", required=False, shell_complete=completing.words(_CODES))
@output_option
def command(code: str | None, output: str) -> None:
    """Explain the error code that stands in [brackets] at the end of a message; without CODE, list them."""
    if code is None:
        show(Table(("code", "exit", "meaning")), [_facts(name) for name in _CODES], output)
        return
    wanted = code.strip("[]").lower()
    if wanted not in _CODES:
        near = difflib.get_close_matches(wanted, _CODES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise NotFound(f"no error has the code {wanted!r}", remedy=f"{hint}`vmdkvol explain` lists the codes")
    facts = _facts(wanted)
    if output != "table":
        show(Table(("code", "exit", "meaning")), [facts], output, single=True)
        return
    click.echo(f"{wanted}: {facts['meaning']}")
    if facts["remedy"]:
        click.echo(f"What to do: {facts['remedy']}.")
    click.echo(f"Exit code: {facts['exit']}")


def _facts(code: str) -> dict[str, str | int]:
    if code in OWN_CODES:
        exit_code, meaning = OWN_CODES[code]
        return {"code": code, "meaning": meaning, "remedy": "", "exit": exit_code}
    kind = BY_CODE[code]
    meaning = kind.explanation or (kind.__doc__ or "").split("\n")[0]
    return {"code": code, "meaning": meaning, "remedy": kind.remedy, "exit": kind.exit_code}
