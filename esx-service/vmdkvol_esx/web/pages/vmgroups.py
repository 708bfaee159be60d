"""The vmgroups, and everything about one: its rights, what it uses, its machines. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

from vmdkvol.audit_messages import QueryAudit
from vmdkvol.errors import BadRequest, quoted
from vmdkvol.site_messages import ListDatastores
from vmdkvol.vmgroup_messages import DEFAULT_NAME, GetVmgroup, ListMembers, ListVmgroups
from vmdkvol.volume import VmId
from vmdkvol_esx.web.pages.quotas import fullest
from vmdkvol_esx.web.pages.visit import Drawn, Page, Unknown, Visit

ROWS = 100
# Two places that are no datastore's name.
WORDS = ("_VM_DS", "_ALL_DS")


def show(visit: Visit) -> Drawn:
    """Show the vmgroups in the order of their names, a hundred at a time."""
    after = visit.query.maybe("after")
    page = visit.ask(ListVmgroups(after=after, limit=ROWS))
    values = {
        "groups": [{**group, "used": used(group), "fullest": fullest(group)} for group in page["vmgroups"]],
        "next": None if page["next"] is None else f"/ui/vmgroups?{urlencode({'after': page['next']})}",
        "first": None if after is None else "/ui/vmgroups",
        "after": after,
        "places": ["_VM_DS", *_datastores(visit)],
    }
    return Drawn("vmgroups.html", values)


def inspect(visit: Visit, name: str) -> Drawn:
    """Show everything about a vmgroup, and what may be changed of it."""
    group = visit.ask(GetVmgroup(name=name))
    after = visit.query.maybe("after")
    members = visit.try_ask(ListMembers(name=group["id"], after=_id(after) if after is not None else None, limit=ROWS))
    stores = _datastores(visit)
    taken = {right["datastore"] for right in group["rights"]}
    values = {
        "group": group,
        "used": used(group),
        "usage": {each["datastore"]: each["used_bytes"] for each in group["usage"]},
        "defaults": "\n".join(f"{key}={value}" for key, value in group["defaults"]),
        "members": members,
        "next": _following(group["name"], members),
        "unknown": Unknown,
        "words": WORDS,
        "is_default": group["name"] == DEFAULT_NAME,
        "told": visit.may(QueryAudit),
        "places": ["_VM_DS", *stores],
        "more_places": [place for place in (*stores, *WORDS) if place not in taken],
    }
    return Drawn("vmgroup.html", values)


def used(group: Mapping[str, Any]) -> int:
    """Return what its volumes take at their capacity, on all datastores that are told."""
    return sum(each["used_bytes"] for each in group["usage"])


def _following(name: str, members: Any) -> str | None:
    if isinstance(members, Unknown) or members["next"] is None:
        return None
    return f"/ui/vmgroups/{quote(name, safe='')}?{urlencode({'after': members['next']})}"


def _datastores(visit: Visit) -> list[str]:
    """Return the names to choose from; none if they cannot be read, and then a name is typed."""
    found = visit.try_ask(ListDatastores(limit=200))
    return [] if isinstance(found, Unknown) else [each["name"] for each in found["datastores"]]


def _id(text: str) -> VmId:
    try:
        return VmId(UUID(text))
    except ValueError:
        raise BadRequest(f"{quoted(text, 40)} is no machine's id", remedy="go on by the links of the page") from None


PAGES = (Page("/ui/vmgroups", show, "Vmgroups"), Page("/ui/vmgroups/<name>", inspect))
