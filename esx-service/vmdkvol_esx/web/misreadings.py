"""What the strict reader found wrong with a request, for whoever wrote it: fields by their names, types in words. Pure."""

from __future__ import annotations

import re

from vmdkvol.errors import BadRequest

SEE = "see GET /v1/openapi.json for the fields and what each takes"

# What the reader says: not a Class: ['what it found @ $.options[0]', ...], perhaps cut at its end.
_BETWEEN = re.compile(r"""['"], ['"]""")
_EXPECTED = "invalid value for type, expected "
_MISSING = "required field missing"
_KINDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "tuple": "a list",
    "frozenset": "a list",
    "dict": "an object",
    "UUID": "an id, a UUID as the lists show it",
    "None": "null",
}
_SURROGATE = "half a surrogate pair"


def refused(text: str) -> BadRequest:
    """Return the refusal of a request that the reader could not take as what it is for; ``text`` is the reader's."""
    missing, wrong = [], []
    for finding in _BETWEEN.split(text.partition(": [")[2].strip("[]'\"")):
        said, _, where = finding.partition(" @ $")
        place = where.removeprefix(".")
        if said == _MISSING and place:
            missing.append(place)
        elif said.startswith(_EXPECTED):
            wrong.append(f"{place or 'the request'} is not {_in_words(said.removeprefix(_EXPECTED))}")
        elif place:
            wrong.append(f"{place} cannot be read")
    if missing:
        wrong.insert(0, f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    return BadRequest(f"the request is not right: {'; '.join(wrong) or 'it cannot be read'}", remedy=_remedy(missing))


def unread(text: str) -> BadRequest:
    """Return the refusal of a body that is no JSON as it is taken here."""
    if _SURROGATE in text:
        return BadRequest("a text in the body has bytes that are not UTF-8", remedy="write names and texts in UTF-8")
    words = text.removeprefix("a frame is ").removeprefix("a frame has ")
    return BadRequest(f"the body cannot be read: {words}", remedy="send one JSON object in UTF-8, each key once")


def _remedy(missing: list[str]) -> str:
    return f"give {' and '.join(missing)}" if missing else SEE


def _in_words(kind: str) -> str:
    names = [part.strip().partition("[")[0] for part in kind.split("|")]
    return " or ".join(dict.fromkeys(_KINDS.get("UUID" if name.endswith("Id") else name, "what it must be") for name in names))
