"""The datastores of an inventory, and which of them a name in our settings and records means. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from vmdkvol.names import DatastoreName
from vmdkvol_esx.vsphere import spelling

# On these a folder at the top is an object of its own, made by the namespace manager alone.
OBJECT_STORES = frozenset({"vsan", "vsanD", "VVOL"})


@dataclass(frozen=True, slots=True)
class Place:
    """One datastore as the server has it now. ``name`` is in the server's own spelling, as paths on it have it.

    ``datacenter`` is the id of its datacenter, ``dc_path`` where that is in the inventory, as URLs of files have it.
    ``id`` stays when the name changes. ``browser`` is the id of what lists its files. ``problem`` says why it cannot be used.
    """

    ref: str
    name: str
    datacenter: str
    dc_path: str
    id: UUID
    browser: str
    type: str
    capacity_bytes: int
    free_bytes: int
    writable: bool
    problem: str | None = None

    def path(self, path: str) -> str:
        """Return the API's spelling of a path that is relative to this datastore's root."""
        return spelling.datastore_path(self.name, path)

    def url(self, path: str) -> str:
        """Return the URL, without the server, of a file on it."""
        return spelling.file_url(path, self.dc_path, self.name)

    @property
    def object_store(self) -> bool:
        return self.type in OBJECT_STORES


@dataclass(frozen=True, slots=True)
class Node:
    """An object of the inventory: its kind, and the values of those of its properties that are set."""

    kind: str
    values: Mapping[str, Any]


def places(nodes: Mapping[str, Node]) -> Sequence[Place]:
    """Return every datastore among the objects of an inventory, which are given by their ids; in the order of these.

    One that is in no datacenter is left out: nothing on it has a path.
    """
    found = (_place(ref, node, nodes) for ref, node in sorted(nodes.items()) if node.kind == "Datastore")
    return [place for place in found if place is not None]


def _place(ref: str, node: Node, nodes: Mapping[str, Node]) -> Place | None:
    datacenter = _above(node, nodes, "Datacenter")
    if datacenter is None:
        return None
    values = node.values
    url = values.get("summary.url") or ""
    dc_path = _inventory_path(datacenter, nodes)
    return Place(
        ref=ref,
        name=values.get("name") or "",
        datacenter=datacenter,
        dc_path=dc_path or "",
        id=spelling.datastore_id(url),
        browser="" if values.get("browser") is None else values["browser"]._moId,
        type=values.get("summary.type") or "",
        capacity_bytes=values.get("summary.capacity") or 0,
        free_bytes=values.get("summary.freeSpace") or 0,
        writable=_writable(values),
        problem=_problem(values, url, dc_path),
    )


def _problem(values: Mapping[str, Any], url: str, dc_path: str | None) -> str | None:
    # Only a plain yes is one.
    if values.get("summary.accessible") is not True:
        return "no host can reach it"
    if dc_path is None:
        # Under a path that lacks a part every file would look absent.
        return "the account does not see all folders above its datacenter"
    return None if url else "the server says no URL of it, by which it would be known again"


def _writable(values: Mapping[str, Any]) -> bool:
    """Tell whether some host may write on it; a server that says nothing of that will refuse what it does not allow."""
    if values.get("summary.maintenanceMode") == "inMaintenance":
        return False
    mounts = [each.mountInfo for each in values.get("host") or ()]
    return not mounts or any(each.accessMode != "readOnly" and each.accessible is not False for each in mounts)


def _above(node: Node, nodes: Mapping[str, Node], kind: str) -> str | None:
    """Return the id of the nearest object of this kind above ``node``."""
    # As many steps as there are objects: an inventory that leads in a circle has an end too.
    for _ in nodes:
        parent = node.values.get("parent")
        ref = "" if parent is None else str(parent._moId)
        if ref not in nodes:
            return None
        node = nodes[ref]
        if node.kind == kind:
            return ref
    return None


def _inventory_path(ref: str, nodes: Mapping[str, Node]) -> str | None:
    """Return the names from below the root folder down to this object, with ``/`` between them, as the server has them.

    None if one of them is not known.
    """
    names: list[str] = []
    for _ in nodes:
        node = nodes.get(ref)
        if node is None:
            return None
        parent = node.values.get("parent")
        if parent is None:
            # The root folder, whose name is in no path.
            return "/".join(reversed(names))
        names.append(node.values.get("name") or "")
        ref = parent._moId
    return None


def choose(name: DatastoreName, known: UUID | None, found: Sequence[Place]) -> Place | str:
    """Return the datastore that ``name`` means, or why it means none.

    With ``known`` it is the one of this id, whatever its name is now; else the only one of the name.
    """
    named = [place for place in found if name in (place.name, spelling.plain_name(place.name))]
    if known is None:
        return _only(name, named)
    same = [place for place in found if place.id == known]
    if not same and named:
        return f"the datastore that is named {name!r} now is another one than the one that was in use under this name"
    # One that hosts of two datacenters share is in the inventory twice.
    return same[0] if len(same) == 1 else _only(name, [place for place in same if place in named] or same)


def _only(name: str, found: Sequence[Place]) -> Place | str:
    if not found:
        return f"there is no datastore {name!r}"
    if len(found) > 1:
        where = ", ".join(sorted(place.dc_path for place in found))
        return f"{len(found)} datastores are named {name!r}, in the datacenters {where}"
    return found[0]
