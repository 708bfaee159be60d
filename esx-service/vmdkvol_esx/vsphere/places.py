"""The datastores of our settings as they are in the inventory now: by name at first, then by what does not change."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from pyVmomi import vim

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import DatastoreNotFound, NotPermitted, TruthUnknown
from vmdkvol.names import DatastoreName
from vmdkvol_esx import ports
from vmdkvol_esx.ports import DiskPath
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.reading import PC, below, properties
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.shared import Shared
from vmdkvol_esx.vsphere.sites import Node, Place, choose, places
from vmdkvol_esx.vsphere.spelling import path_on, plain_name

# For a method of ours that comes without a deadline.
READ_S = 30.0
# A name, a datacenter and an id change at an administrator's hand. What follows from an absence is looked at anew all the same.
KEPT_S = 30.0
_LOOK = "an administrator must look at the datastores in vSphere, and at our settings"
_PATHS = {
    vim.Datastore: (
        "name",
        "parent",
        "browser",
        "summary.url",
        "summary.type",
        "summary.accessible",
        "summary.maintenanceMode",
        "summary.capacity",
        "summary.freeSpace",
    ),
    vim.Datacenter: ("name", "parent"),
    vim.Folder: ("name", "parent"),
}


@dataclass(frozen=True, slots=True)
class _Site:
    """``found``: what the names of our settings mean, or why they mean nothing."""

    all: Sequence[Place] = ()
    found: Mapping[DatastoreName, Place | str] = field(default_factory=dict)


class Places:
    """Safe for any number of threads: one of them asks the server, the others wait for its answer."""

    def __init__(
        self,
        session: Session[Service],
        names: Collection[DatastoreName],
        known_ids: Mapping[DatastoreName, UUID],
        clock: Clock,
    ) -> None:
        """``known_ids``: what ``ids`` said earlier of these names. Nothing is asked of the server yet."""
        self._session = session
        self._clock = clock
        self._names = tuple(names)
        self._lock = clock.condition()
        self._known = {name: known_ids[name] for name in self._names if name in known_ids}
        self._sites: Shared[_Site] = Shared(clock, "reading the datastores")

    def place(self, name: DatastoreName, deadline: Deadline | None = None, *, fresh: bool = False) -> Place:
        """Return the datastore; ``fresh``: as it is now, not as it was within the last ``KEPT_S``.

        DatastoreNotFound if our settings do not name it; TruthUnknown if it is not there, is not the one that was in use
        under this name, is one of two of this name, or cannot be reached: what lies on it is not known then.
        """
        if name not in self._names:
            raise DatastoreNotFound(f"there is no datastore {name!r}", remedy=f"known: {', '.join(sorted(self._names))}")
        until = deadline or Deadline.after(self._clock, READ_S)
        found = self._site(until, fresh=fresh).found[name]
        if not fresh and (isinstance(found, str) or found.problem is not None):
            # What is wrong with one is not kept: it may be right again.
            found = self._site(until, fresh=True).found[name]
        if isinstance(found, str):
            raise TruthUnknown(found, remedy=_LOOK)
        if found.problem is not None:
            raise TruthUnknown(f"datastore {name!r}: {found.problem}", remedy=_LOOK)
        return found

    def named(self, name: str, deadline: Deadline) -> Place | None:
        """Return the only datastore that has this name now, in either spelling, whether our settings name it or not."""
        known = self._site(deadline, fresh=False).all
        named = [place for place in known if name in (place.name, plain_name(place.name))]
        return named[0] if len(named) == 1 else None

    def located(self, ref: str, text: str) -> DiskPath | None:
        """Return where ``text``, a path as the server writes it, is on the datastore of this id, by our settings' name of that.

        By the server's name of one that our settings do not name. None if the datastores, as they were read last, do not
        say so for certain, as after one was renamed a moment ago: nobody follows a disk to a place that may be another one.
        """
        site = self._sites.last() or _Site()
        place = next((place for place in site.all if place.ref == ref), None)
        ours = [name for name, found in site.found.items() if isinstance(found, Place) and found.ref == ref]
        if place is None:
            return None
        path = path_on(place.name, text) or path_on(plain_name(place.name), text)
        return None if path is None else DiskPath(ours[0] if ours else DatastoreName(plain_name(place.name)), path)

    def ours(self, refs: Collection[str], text: str, deadline: Deadline) -> DatastoreName | None:
        """Return our settings' name of the one of these datastores that ``text``, a path as the server writes it, is on.

        None if that is none of ours: another datacenter's may have the same name as one of ours.
        """
        site = self._site(deadline, fresh=False)
        on = [place.ref for place in site.all if place.ref in refs and _is_on(place, text)]
        found = [name for name, place in site.found.items() if isinstance(place, Place) and place.ref in on]
        return found[0] if len(on) == 1 and found else None

    def writable(self, name: DatastoreName, deadline: Deadline | None = None, *, fresh: bool = False) -> Place:
        """As ``place``; NotPermitted if nothing may be written there."""
        found = self.place(name, deadline, fresh=fresh)
        if not found.writable:
            raise NotPermitted(f"datastore {name} is read-only", remedy="make it writable, or use another one")
        return found

    def states(self) -> Sequence[ports.Datastore]:
        """Return how every datastore of our settings is now; ``fresh`` is left False: it takes a look at the files."""
        site = self._site(Deadline.after(self._clock, READ_S), fresh=True).found
        return [_state(name, site[name]) for name in self._names]

    def refs(self, deadline: Deadline) -> Mapping[DatastoreName, str]:
        """Return the server's id of each datastore of our settings that is there, as it is now."""
        site = self._site(deadline, fresh=True).found
        return {name: place.ref for name, place in site.items() if isinstance(place, Place) and place.problem is None}

    def ids(self) -> Mapping[DatastoreName, UUID]:
        """Return by what each datastore will be known again, of those that were found yet."""
        self._site(Deadline.after(self._clock, READ_S), fresh=False)
        with self._lock:
            return dict(self._known)

    def _site(self, deadline: Deadline, *, fresh: bool) -> _Site:
        return self._sites.get(self._read, deadline, None if fresh else KEPT_S)

    def _read(self, deadline: Deadline) -> _Site:
        all_of_them = places(self._session.read("reading the datastores", self._look, deadline))
        with self._lock:
            found = {name: choose(name, self._known.get(name), all_of_them) for name in self._names}
            for name, place in found.items():
                # Not of one without a URL.
                if isinstance(place, Place) and place.problem is None:
                    self._known.setdefault(name, place.id)
        return _Site(all_of_them, found)

    def _look(self, service: Service) -> Mapping[str, Node]:
        nodes = _inventory(service)
        with self._lock:
            known = dict(self._known)
        found = places(nodes)
        chosen = {place.ref for name in self._names if isinstance(place := choose(name, known.get(name), found), Place)}
        # Of these alone: each has a line for every host of its cluster.
        refs = [vim.Datastore(ref, service.stub) for ref in sorted(chosen)]
        mounts = properties(service, vim.Datastore, refs, ["host"])
        return {ref: Node(node.kind, {**node.values, **mounts.get(ref, {})}) for ref, node in nodes.items()}


def _is_on(place: Place, text: str) -> bool:
    return any(path_on(name, text) is not None for name in (place.name, plain_name(place.name)))


def _inventory(service: Service) -> Mapping[str, Node]:
    """Return the datastores with all that is above them; for ``session.read``."""
    inside = [PC.SelectionSpec(name="folder"), PC.SelectionSpec(name="datacenter")]
    steps = [
        PC.TraversalSpec(name="folder", type=vim.Folder, path="childEntity", skip=False, selectSet=inside),
        PC.TraversalSpec(name="datacenter", type=vim.Datacenter, path="datastoreFolder", skip=False, selectSet=inside[:1]),
    ]
    found = below(service, service.content.rootFolder, steps, _PATHS)
    return {ref: Node(_kind(kind), values) for ref, (kind, values) in found.items()}


def _kind(kind: type) -> str:
    """Return the name of the object's kind; a group of datastores is a folder of them."""
    return str(next(each.__name__.rsplit(".", 1)[-1] for each in _PATHS if issubclass(kind, each)))


def _state(name: DatastoreName, found: Place | str) -> ports.Datastore:
    if isinstance(found, str):
        return ports.Datastore(name, 0, 0, writable=False, problem=found)
    state = ports.Datastore(name, found.capacity_bytes, found.free_bytes, found.writable)
    return state if found.problem is None else replace(state, writable=False, problem=f"datastore {name!r}: {found.problem}")
