"""The names that a command was given: as an argument, as a flag, or in a list."""

from __future__ import annotations

import click

from vmdkvol.errors import BadRequest


def one_name(name: str | None, flag: str | None, what: str) -> str:
    """Return the name, which may be an argument or, as in vDVS, ``--name``; UsageError for none or for two."""
    if (name is None) == (flag is None):
        said = "once: as an argument or as a flag" if name is not None else f"as an argument: the name of the {what}"
        raise click.UsageError(f"give it {said}", click.get_current_context(silent=True))
    return name if name is not None else flag or ""


def words_of(lists: tuple[str, ...]) -> list[str]:
    """Return the names in ``a,b`` and repeated options, in their order; BadRequest if one of them is empty."""
    found = [word.strip() for text in lists for word in text.split(",")]
    if not all(found):
        raise BadRequest("a list has an empty name in it", remedy="write NAME,NAME")
    return found
