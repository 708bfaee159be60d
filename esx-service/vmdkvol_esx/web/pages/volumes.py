"""All volumes, and everything about one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from vmdkvol.errors import BadRequest, quoted
from vmdkvol.task_messages import ListTasks
from vmdkvol.told_options import in_words
from vmdkvol.volume import State, VolumeId
from vmdkvol.volume_orders import InspectVolume, ListAllVolumes
from vmdkvol_esx.web.pages.visit import Drawn, Page, Unknown, Visit

ROWS = 100
# So many are read and sorted; a site has more only if it is told to show fewer.
MOST_SORTED = 10_000
_BATCH = 500
_FILTERS = ("name", "vmgroup", "datastore", "vm", "state")
# By these one looks for the largest, and by a "-" before it, as at the command line, the largest comes first.
_LARGEST_FIRST = ("capacity", "allocated")
_SORTS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "name": lambda row: (row["name"], row["vmgroup"]),
    "vmgroup": lambda row: (row["vmgroup"], row["name"]),
    "datastore": lambda row: (row["datastore"], row["name"]),
    "used-by": lambda row: (row["vm"] is None, row["vm"] or "", row["name"]),
    "capacity": lambda row: (row["size_bytes"], row["name"]),
    "allocated": lambda row: (row["allocated_bytes"] or 0, row["name"]),
    "policy": lambda row: (row["policy"] is None, row["policy"] or "", row["name"]),
    "state": lambda row: (row["state"], row["name"]),
}


def show(visit: Visit) -> Drawn:
    """Show the volumes that fit the filters, a hundred at a time: in the order that is wanted, or as they are stored."""
    query = visit.query
    wanted = {name: query.maybe(name) for name in _FILTERS}
    trash, sort = query.flag("trash"), query.maybe("sort")
    if sort is not None and sort.removeprefix("-") not in _SORTS:
        raise BadRequest(
            f"volumes are not sorted by {quoted(sort, 40)}, but by one of: {', '.join(_SORTS)}",
            remedy="use the heads of the columns",
        )
    given: dict[str, Any] = {**wanted, "state": _state(wanted["state"])}
    asked = ListAllVolumes(**given, trash=trash)
    kept = {name: value for name, value in {**wanted, "trash": "yes" if trash else None}.items() if value is not None}
    found = _by_cursor(visit, asked, kept) if sort is None else _sorted(visit, asked, kept, sort)
    values = {"filters": wanted, "trash": trash, "sort": sort, "states": list(State), "kept": kept, "turned": _turned(sort)}
    return Drawn("volumes.html", {**values, **found, "link": lambda **more: _link({**kept, **more}), "words": _words})


def _turned(sort: str | None) -> Mapping[str, str]:
    """Return by which order each column leads to: its usual one, and the other way round where it is sorted so already."""
    usual = {key: f"-{key}" if key in _LARGEST_FIRST else key for key in _SORTS}
    return {key: (key if found.startswith("-") else f"-{key}") if found == sort else found for key, found in usual.items()}


def _by_cursor(visit: Visit, asked: ListAllVolumes, kept: Mapping[str, str]) -> Mapping[str, Any]:
    after = visit.query.maybe("after")
    rows, following, warnings = _read(visit, asked, _id(after) if after is not None else None, ROWS)
    if after is None and following is None:
        # They are all here, so that their order is ours to choose.
        rows = sorted(rows, key=_SORTS["name"])
    more = None if following is None else _link({**kept, "after": following})
    says = "" if after is None and following is None else "In no order: choose a column to sort them all."
    first = None if after is None else _link(kept)
    return {"rows": rows, "next": more, "first": first, "before": None, "says": says, "warnings": warnings}


def _sorted(visit: Visit, asked: ListAllVolumes, kept: Mapping[str, str], sort: str) -> Mapping[str, Any]:
    start = visit.query.number("from") or 0
    rows, following, warnings = _read(visit, asked, None, MOST_SORTED)
    if following is not None:
        warnings = [*warnings, f"There are more than {MOST_SORTED} volumes; the rest is not sorted in. Use a filter."]
    rows.sort(key=_SORTS[sort.removeprefix("-")], reverse=sort.startswith("-"))
    shown, sorted_so = rows[start : start + ROWS], {**kept, "sort": sort}
    found = {
        "rows": shown,
        "next": None if start + ROWS >= len(rows) else _link({**sorted_so, "from": str(start + ROWS)}),
        "before": None if start == 0 else _link({**sorted_so, "from": str(max(0, start - ROWS))}),
        "first": None if start == 0 else _link(sorted_so),
    }
    says = f"{start + 1} to {start + len(shown)} of {len(rows)}" if shown and len(rows) > ROWS else ""
    return {**found, "says": says, "warnings": warnings}


def _read(visit: Visit, asked: ListAllVolumes, after: VolumeId | None, most: int) -> tuple[list[Any], str | None, list[str]]:
    """Return up to ``most`` rows from ``after`` on, after which id there are more, and what is not known of them."""
    rows: list[Any] = []
    warnings: list[str] = []
    while True:
        page = visit.ask(replace(asked, after=after, limit=min(_BATCH, most - len(rows))))
        rows += page["rows"]
        warnings += [warning for warning in page["warnings"] if warning not in warnings]
        if page["next"] is None or len(rows) >= most:
            return rows, page["next"], warnings
        after = VolumeId(UUID(page["next"]))


def _state(text: str | None) -> State | None:
    if text is None:
        return None
    if text not in list(State):
        raise BadRequest(f"there is no state {quoted(text, 40)}; there are: {', '.join(State)}", remedy="choose one of these")
    return State(text)


def _id(text: str) -> VolumeId:
    try:
        return VolumeId(UUID(text))
    except ValueError:
        raise BadRequest(f"{quoted(text, 40)} is no volume's id", remedy="go on by the links of the page") from None


def _link(query: Mapping[str, str]) -> str:
    return f"/ui/volumes?{urlencode(query)}" if query else "/ui/volumes"


def _words(row: Mapping[str, Any], left_s: int | None = None) -> Mapping[str, Any] | None:
    """Return what is being done to a volume, and how far it is; None if nothing is."""
    if row["doing"] is None:
        return None
    return {"doing": row["doing"], "percent": row["percent"], "left_s": left_s}


# --- one volume ------------------------------------------------------------------------------------------------------


def inspect(visit: Visit, volume: str) -> Drawn:
    """Show everything about a volume, what stands against using it, and what may be done with it."""
    detail = visit.ask(InspectVolume(volume=volume, vmgroup=visit.query.maybe("vmgroup")))
    row = detail["row"]
    tasks = visit.try_ask(ListTasks(ended=True, volume=VolumeId(UUID(row["id"])), limit=10))
    values = {"detail": detail, "row": row, "options": in_words(detail["options"]), "tasks": tasks, "unknown": Unknown}
    return Drawn("volume.html", {**values, "work": _words(row, detail["left_s"]), "settable": _SETTABLE})


_SETTABLE = ("access", "attach-as", "iops-limit", "label", "mount-options", "shares")


PAGES = (Page("/ui/volumes", show, "Volumes"), Page("/ui/volumes/<volume>", inspect))
