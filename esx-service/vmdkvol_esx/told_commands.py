"""Commands that are told to people: as a shell takes them, whatever things are called. Pure."""

from __future__ import annotations

import re

from vmdkvol.errors import one_line
from vmdkvol.names import ALL_DATASTORES
from vmdkvol.vmgroup_messages import DEFAULT_NAME

_PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)
_LONGEST = 1000


def word(text: str) -> str:
    """Return ``text`` as one word of a shell."""
    return text if _PLAIN.fullmatch(text) else "'" + text.replace("'", "'\\''") + "'"


def command(*words: str, of: str | None = None) -> str:
    """Return the line ``vmdkvol WORDS OF``; ``of`` is a name, also one that looks like an option."""
    named = [] if of is None else [of] if not of.startswith("-") else ["--", of]
    return one_line(" ".join(["vmdkvol", *map(word, (*words, *named))]), _LONGEST)


# Everything everywhere, as a new site has it.
DEFAULT_RIGHT = command("vmgroup", "access", "add", DEFAULT_NAME, "--datastore", ALL_DATASTORES, "--allow-create")
