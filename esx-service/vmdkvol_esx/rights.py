"""Who may do what on which datastore, and how much: vDVS's model and order (vdvs-facts 7). Pure.

The row of the datastore decides; without one, on the machine's own datastore, that of ``_VM_DS``; without that, ``_ALL_DS``.
The first row that is there decides alone: one that forbids is not outdone by a later one that allows.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from vmdkvol.errors import Field, InvalidSize, NotPermitted, PolicyNotFound, QuotaExceeded
from vmdkvol.names import ALL_DATASTORES, VM_DATASTORE, DatastoreName
from vmdkvol.sizes import format_size, short_size
from vmdkvol_esx.records import Group, Right, Vmgroup

_MARKERS = (VM_DATASTORE, ALL_DATASTORES)
_ASK = "ask an administrator for it, or use another datastore"


class Verb(StrEnum):
    """What a machine asks for."""

    CREATE = "create"
    CLONE_FROM = "clone-from"
    ATTACH = "attach"
    INSPECT = "inspect"
    LIST = "list"
    REMOVE = "remove"
    DETACH = "detach"
    MARK = "mark"
    KEEP = "keep"


class Need(StrEnum):
    NOTHING = "nothing"
    USE = "use"
    CREATE = "create"


# A right that was taken away must never trap a disk: giving one back, and saying what was made on it, needs none.
NEEDS: dict[Verb, Need] = {
    Verb.CREATE: Need.CREATE,
    Verb.CLONE_FROM: Need.USE,
    Verb.ATTACH: Need.USE,
    Verb.INSPECT: Need.USE,
    Verb.LIST: Need.USE,
    Verb.REMOVE: Need.CREATE,
    Verb.DETACH: Need.NOTHING,
    Verb.MARK: Need.NOTHING,
    Verb.KEEP: Need.NOTHING,
}


def find(rights: Iterable[Right], datastore: DatastoreName, home: DatastoreName | None) -> Right | None:
    """Return the right that decides about ``datastore``; ``home`` is where the machine's own files lie, None: not there."""
    rows = {right.datastore: right for right in rights}
    own = None if datastore in _MARKERS else rows.get(datastore)
    if own is None and datastore == home:
        own = rows.get(VM_DATASTORE)
    return own or rows.get(ALL_DATASTORES)


def needs_home(group: Group, datastore: DatastoreName) -> bool:
    """Tell whether it must be known where the machine's own files lie."""
    rows = {right.datastore for right in group.rights}
    return datastore not in rows and VM_DATASTORE in rows


def allows(group: Group, verb: Verb, datastore: DatastoreName, home: DatastoreName | None) -> bool:
    """Tell whether a machine of ``group`` may do this to the group's volumes on ``datastore``."""
    right = find(group.rights, datastore, home)
    match NEEDS[verb]:
        case Need.NOTHING:
            return True
        case Need.USE:
            return right is not None
        case Need.CREATE:
            return right is not None and right.allow_create


def check(group: Group, verb: Verb, datastore: DatastoreName, home: DatastoreName | None) -> None:
    """Raise NotPermitted unless ``allows``: it says which right is missing."""
    if allows(group, verb, datastore, home):
        return
    name = group.vmgroup.name
    fields = {"vmgroup": name, "datastore": datastore}
    if find(group.rights, datastore, home) is None:
        raise NotPermitted(f"vmgroup {name} has no right on datastore {datastore}", remedy=_ASK, has="nothing", **fields)
    raise NotPermitted(
        f"vmgroup {name} may use volumes on datastore {datastore}, but not create or remove any",
        remedy=_ASK,
        has="use",
        **fields,
    )


def check_policy(group: Group, datastore: DatastoreName, home: DatastoreName | None, policy: str | None) -> None:
    """Raise PolicyNotFound unless the group may use this storage policy there; the datastore's own default always is."""
    right = find(group.rights, datastore, home)
    for allowed in (group.vmgroup.policies, right.policies if right is not None else ()):
        if policy is not None and allowed and policy not in allowed:
            raise PolicyNotFound(
                f"vmgroup {group.vmgroup.name} may not use storage policy {policy!r} on datastore {datastore}",
                remedy=f"allowed: {', '.join(allowed[:10])}; or leave it out",
                policy=policy,
            )


def check_limits(
    vmgroup: Vmgroup, right: Right | None, datastore: DatastoreName, size: int, added: int, used: int, trashed: int
) -> None:
    """Raise QuotaExceeded if a volume of ``size``, for which ``added`` bytes come to ``used``, is beyond a limit.

    Size 0, then the largest volume, then the total: InvalidSize for the first. ``trashed`` of the ``used`` is in the trash.
    """
    if size <= 0:
        raise InvalidSize("a volume of 0 bytes cannot be made")
    if right is None:
        return
    where = f"vmgroup {vmgroup.name} on datastore {datastore}"
    fields: dict[str, Field] = {"vmgroup": vmgroup.name, "datastore": datastore, "used": used, "trashed": trashed}
    # The row that an administrator changes: that of the datastore itself, or one for several.
    fields["right"] = right.datastore
    if right.max_bytes and size > right.max_bytes:
        raise QuotaExceeded(
            f"a volume of {format_size(size)} is larger than {format_size(right.max_bytes)}, the most for {where}",
            remedy=f"use size={format_size(right.max_bytes)} or less, or ask an administrator for more",
            limit=right.max_bytes,
            limits="volume-maxsize",
            **fields,
        )
    if right.total_bytes and used + added > right.total_bytes:
        in_trash = f" ({short_size(trashed)} of it in the trash)" if trashed else ""
        raise QuotaExceeded(
            f"{format_size(added)} more is beyond {format_size(right.total_bytes)}, the total for {where}: "
            f"{short_size(used)} is used{in_trash}",
            remedy="the trash empties by itself; or ask an administrator for more" if trashed else None,
            limit=right.total_bytes,
            limits="volume-totalsize",
            **fields,
        )
