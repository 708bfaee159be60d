"""Whether it is meant: asked before anything is lost, with what is lost in the plan's own words (ecosystem-facts 4.1)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

import click

from vmdkvol.errors import BadRequest, one_line

# A plan's own text is longer than an error: it names size and last user too.
_MAX_LOSS = 1000


def confirm(losses: Sequence[str], question: str, *, yes: bool, word: str | None = None, answers: TextIO | None = None) -> None:
    """Return if it is meant, or if nothing is lost; else Abort (exit 130), or BadRequest with nobody there to be asked.

    ``word``: a yes is not enough, this must be typed; for what takes many things at once. ``answers`` is stdin.
    """
    if not losses:
        return
    for loss in losses:
        click.echo(one_line(loss, _MAX_LOSS), err=True)
    if yes:
        return
    answers = answers or sys.stdin
    if answers is None or not answers.isatty():
        raise BadRequest("nobody can be asked whether this is meant", remedy="see --dry-run, then say --yes")
    wanted = f"type {one_line(word)} to go on: " if word is not None else "[y/N] "
    click.echo(f"{one_line(question)} {wanted}", nl=False, err=True)
    said = answers.readline()
    if not said.endswith("\n"):
        # Ctrl-D leaves the cursor behind the question.
        click.echo(err=True)
    meant = said.strip() == word if word is not None else said.strip().lower() in ("y", "yes")
    if not meant:
        click.echo("nothing was changed", err=True)
        raise click.Abort
