"""What an administrator does about a refusal whose remedy, for a guest, is to ask an administrator. Pure."""

from __future__ import annotations

from typing import Any

from vmdkvol.errors import (
    DatastoreNotFound,
    InvalidOption,
    NotPermitted,
    QuotaExceeded,
    StillMounted,
    VolumeError,
    VolumeNotFound,
    quoted,
)
from vmdkvol.orders import OrderFor, Role
from vmdkvol.volume_orders import CreateVolumeFor, DestroyVolume, TrashVolume
from vmdkvol_esx.told_commands import command

# What a remedy says to a guest, and to whoever is that administrator.
_ADDRESSED = (
    ("an administrator must look at ", "look at "),
    ("an administrator must look whose ", "look whose "),
    ("an administrator must look; ", "look at it, and into the service's log; "),
    ("an administrator must take ", "take "),
    ("an administrator can take it from there", "`vmdkvol volume detach NAME --force` takes it from there"),
)


def for_administrators(order: OrderFor[Any], error: VolumeError) -> VolumeError:
    """Return the error with the remedy of whoever gave the order, by the role; itself where it has that already."""
    if error.fields.get("cancelled") and isinstance(order, CreateVolumeFor):
        # Who stopped it knows a task, and who ordered it a volume; neither knows the disk's path.
        return type(error)(f"volume {quoted(order.name)} is not made: it was cancelled", remedy=error.remedy, **error.fields)
    remedy = _remedy(order, error)
    return type(error)(error.text, remedy=remedy, **error.fields) if remedy else error


def _remedy(order: OrderFor[Any], error: VolumeError) -> str:
    """Return what whoever gave the order does, empty: what the error says."""
    if isinstance(error, VolumeNotFound) and error.remedy == VolumeNotFound.remedy:
        return "see `vmdkvol volume ls` for names and ids"
    if isinstance(error, DatastoreNotFound) and isinstance(order, TrashVolume | DestroyVolume):
        line = command("orphans", "mend", order.volume, "forget", "--dry-run")
        return f"name it in the settings again, or forget the volume: `{line}`"
    if isinstance(error, StillMounted) and error.remedy == StillMounted.remedy:
        return "stop what has it open on that machine, then give the order again: it is not tried again by itself"
    # An operator asks for these, as a guest does.
    return _of_admin(order, error) if order.by.role.covers(Role.ADMIN) else ""


def _of_admin(order: OrderFor[Any], error: VolumeError) -> str:
    if isinstance(error, QuotaExceeded) and "limits" in error.fields:
        return _of_quota(order, error)
    if isinstance(error, NotPermitted) and error.fields.get("cordoned"):
        line = command("datastore", "uncordon", of=str(error.fields["datastore"]))
        return f"use another datastore, or let it take volumes again: `{line}`"
    if isinstance(error, NotPermitted) and "has" in error.fields:
        group, datastore = str(error.fields["vmgroup"]), str(error.fields["datastore"])
        given = ("set", "--allow-create=true") if error.fields["has"] == "use" else ("add", "--allow-create")
        line = command("vmgroup", "access", given[0], "--name", group, "--datastore", datastore, given[1])
        return f"use another datastore, or give the right: `{line}`"
    if isinstance(error, InvalidOption) and "defaults_of" in error.fields:
        return f"change them: `{command('vmgroup', 'update', of=str(error.fields['defaults_of']))} --default KEY=VALUE`"
    addressed = error.remedy
    for said, meant in _ADDRESSED:
        addressed = addressed.replace(said, meant)
    return addressed if addressed != error.remedy else ""


def _of_quota(order: OrderFor[Any], error: VolumeError) -> str:
    group, row, limit = (str(error.fields[key]) for key in ("vmgroup", "right", "limits"))
    line = command("vmgroup", "access", "set", "--name", group, "--datastore", row, f"--{limit}", "SIZE")
    trash = "empty the trash, or " if limit == "volume-totalsize" and error.fields.get("trashed") else ""
    beyond = ", or give the order --over-quota" if hasattr(order, "over_quota") else ""
    return f"{trash}raise the limit: `{line}`{beyond}"
