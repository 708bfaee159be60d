"""How values are written on a page. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from vmdkvol.errors import OutcomeUnknown, ServiceUnreachable, StillWorking, VolumeError, one_line
from vmdkvol.progress import duration
from vmdkvol.sizes import format_size, short_size
from vmdkvol_esx.web.pages import bars

# More than any name has; a label of a megabyte is no reading.
_MOST = 2000
NOTHING = "–"
# Two clocks, of the core and of the page, are never quite the same.
_NOW_S, _DAY_S = 5, 86_400
_HEADINGS = {
    400: "That cannot be meant as it was sent",
    403: "That is not permitted",
    404: "That is not there",
    405: "That is not possible here",
    409: "Something stands against it",
    412: "Somebody else was faster",
    413: "That is too long",
    415: "That is no form of ours",
    429: "Too many tries",
    500: "That is a mistake in vmdkvol",
    507: "There is no room for it",
}


def heading(status: int, error: VolumeError | None = None, *, sent: bool = False) -> str:
    """Return what the page of an error with this HTTP status is called. ``sent``: an order was on its way when it came."""
    if isinstance(error, StillWorking):
        return "It is still being done"
    if sent and isinstance(error, ServiceUnreachable | OutcomeUnknown):
        return "Whether it was done is not known"
    return _HEADINGS.get(status, "That cannot be done now")


def shown(value: Any) -> Any:
    """Return what stands for a value that a template writes: on one line, with nothing in it that cannot be seen.

    What is markup already stays; everything else is escaped after this.
    """
    if isinstance(value, Markup):
        return value
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return one_line(str(value), _MOST)


def exact(value: object) -> Markup:
    """Return a value as it is, for a form that sends it back."""
    return escape(str(value))


def told(text: str) -> Markup:
    """Return a text with the commands in it, which stand between backticks, as such: to be seen and copied whole."""
    parts = shown(text).split("`")
    # Of an odd backtick nobody knows what it begins.
    if len(parts) % 2 == 0:
        return escape(shown(text))
    return Markup("").join(Markup("<code>{}</code>").format(each) if at % 2 else escape(each) for at, each in enumerate(parts))


def size(size_bytes: int | None) -> str:
    """Return a size for people, ``1.5tb``."""
    return NOTHING if size_bytes is None else short_size(size_bytes)


def exact_size(size_bytes: int) -> str:
    """Return a size as a form takes it."""
    return format_size(size_bytes)


def moment(seconds: float | None) -> str:
    """Return UTC seconds since 1970 as ``2026-11-29 02:04:36``; what no calendar has as nothing."""
    if seconds is None:
        return NOTHING
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return NOTHING


def passed(seconds: float | None) -> str:
    """Return a time span as people say it."""
    return NOTHING if seconds is None else duration(int(seconds))


def iso(seconds: float | None) -> str:
    """Return UTC seconds since 1970 as a machine reads them, empty for what no calendar has."""
    text = moment(seconds)
    return "" if text == NOTHING else f"{text.replace(' ', 'T')}Z"


def ago(seconds: float) -> str:
    """Return how long ago that is, or in what time it will be if it is negative: ``4 minutes ago``, ``in 30 days``."""
    span = abs(int(seconds))
    if span < _NOW_S:
        return "just now"
    said = duration(span) if span < 2 * _DAY_S else f"{round(span / _DAY_S)} days"
    return f"{said} ago" if seconds > 0 else f"in {said}"


FILTERS: Mapping[str, Callable[..., Any]] = {
    "ago": ago,
    "datastore_bar": bars.of_datastore,
    "exact": exact,
    "exact_size": exact_size,
    "iso": iso,
    "moment": moment,
    "passed": passed,
    "quota_bar": bars.of_quota,
    "size": size,
    "told": told,
}
