"""What an administrator does about a refusal whose remedy, for a guest, is to ask an administrator. Pure."""

from __future__ import annotations

from typing import Any

from vmdkvol.errors import NotPermitted, QuotaExceeded, StillMounted, VolumeError, VolumeNotFound, quoted
from vmdkvol.orders import OrderFor
from vmdkvol.volume_orders import CreateVolumeFor
from vmdkvol_esx.told_commands import command


def for_administrators(order: OrderFor[Any], error: VolumeError) -> VolumeError:
    """Return the error with the administrator's own remedy; itself where it has that already."""
    if error.fields.get("cancelled") and isinstance(order, CreateVolumeFor):
        # Who stopped it knows a task, and who ordered it a volume; neither knows the disk's path.
        return type(error)(f"volume {quoted(order.name)} is not made: it was cancelled", remedy=error.remedy, **error.fields)
    remedy = _remedy(order, error)
    return type(error)(error.text, remedy=remedy, **error.fields) if remedy else error


def _remedy(order: OrderFor[Any], error: VolumeError) -> str:
    """Return what an administrator does, empty: what the error says."""
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
    if isinstance(error, VolumeNotFound) and error.remedy == VolumeNotFound.remedy:
        return "see `vmdkvol volume ls` for names and ids"
    if isinstance(error, StillMounted) and error.remedy == StillMounted.remedy:
        return "stop what has it open on that machine, then give the order again: it is not tried again by itself"
    return ""


def _of_quota(order: OrderFor[Any], error: VolumeError) -> str:
    group, row, limit = (str(error.fields[key]) for key in ("vmgroup", "right", "limits"))
    line = command("vmgroup", "access", "set", "--name", group, "--datastore", row, f"--{limit}", "SIZE")
    trash = "empty the trash, or " if limit == "volume-totalsize" and error.fields.get("trashed") else ""
    beyond = ", or give the order --over-quota" if hasattr(order, "over_quota") else ""
    return f"{trash}raise the limit: `{line}`{beyond}"
