"""For which object, and which revision of it, a request is meant: the ETag, and what comes back of it. Pure.

What says so and would not be looked at is refused: who sent it relies on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from vmdkvol.errors import BadRequest, quoted
from vmdkvol.orders import OrderFor
from vmdkvol_esx.group_texts import as_id

# The revision, then the object's id, then what was shown of it (16 digits). Without an id where it has none, or by hand;
# without a revision where that is what it has not.
_TAG = re.compile(r'"([0-9]{1,18})?(?:\.(?:([0-9a-f]{32})(?:[0-9a-f]{16})?|[0-9a-f]{1,31}))?"', re.ASCII)


@dataclass(frozen=True, slots=True)
class Conditions:
    """The headers of a request that say when it is to be carried out (RFC 9110, 13.1)."""

    match: str | None = None
    none_match: str | None = None
    unmodified_since: str | None = None


def tag(revision: int, subject: str, shown: str = "") -> str:
    """Return the ETag of an object, without its quotes: what ``If-Match`` says which one and which revision is meant with.

    ``subject`` is its id, or a name where that is all it has; ``shown`` tells one look at it from another, in 16 digits.
    """
    found = as_id(subject)
    rest = ("" if found is None else found.hex) + shown
    return f"{revision}.{rest}" if rest else str(revision)


def check_of_look(said: Conditions) -> None:
    """Raise BadRequest for what only an order takes."""
    if said.match is not None:
        raise BadRequest("If-Match is for orders, and this only looks", remedy="leave it out, or send If-None-Match")


def expected(said: Conditions, order: type[OrderFor[Any]]) -> tuple[int | None, UUID | None]:
    """Return the revision and the id that the order is for; BadRequest for what the order does not look at, or is no ETag."""
    for name, value in (("If-None-Match", said.none_match), ("If-Unmodified-Since", said.unmodified_since)):
        if value is not None:
            raise BadRequest(f"an order takes no {name}", remedy="leave it out; If-Match says which revision it is for")
    if said.match is None:
        return None, None
    if not order.revised and not order.identified:
        raise BadRequest("there is nothing here that If-Match could be compared with", remedy="leave it out")
    if said.match.strip() == "*":
        return None, None
    found = _TAG.fullmatch(said.match.strip())
    if found is None or found[1] is None and found[2] is None:
        raise BadRequest(f"If-Match {quoted(said.match, 40)} is no ETag of this API", remedy="send back the ETag that came")
    return None if found[1] is None else int(found[1]), None if found[2] is None else UUID(hex=found[2])
