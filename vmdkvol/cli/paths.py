"""Where things are in the API. Pure; apart from the client, so that `--help` loads no HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from vmdkvol.errors import InvalidName, quoted

Query = Mapping[str, str | int | float | bool | Sequence[str] | None]


def path_of(*parts: str) -> str:
    """Return ``/v1/...`` with each part quoted; InvalidName for a part that no path can have."""
    for part in parts:
        if not part or part in (".", ".."):
            raise InvalidName(f"{quoted(part)} is no name", remedy="see the list for the names that there are")
    try:
        return "/v1/" + "/".join(quote(part, safe="") for part in parts)
    except UnicodeEncodeError as error:
        raise InvalidName("a name is not in UTF-8", remedy="see the list for the names that there are") from error
