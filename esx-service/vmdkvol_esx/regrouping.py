"""A volume comes into another vmgroup: whether it fits there, and what a plan says of it, and of its old name. Pure."""

from __future__ import annotations

from vmdkvol.orders import Step
from vmdkvol_esx import rights
from vmdkvol_esx.records import Group, VolumeRecord
from vmdkvol_esx.told_commands import command


def check_fits(group: Group, record: VolumeRecord, used: int | None) -> None:
    """Raise PolicyNotFound or QuotaExceeded unless the volume may be in ``group``, of which ``used`` bytes lie beside it.

    ``used`` None: whatever the limits are. The machines of the group are not known, nor where their own files lie: the volume
    counts as beside its machine.
    """
    home = record.datastore
    rights.check_policy(group, record.datastore, home, record.options.policy)
    if used is not None:
        right = rights.find(group.rights, record.datastore, home)
        size = record.size_bytes
        rights.check_limits(group.vmgroup, right, record.datastore, size, size, used, 0)


def step(record: VolumeRecord, was: str | None, group: Group) -> Step:
    """Return the step of the plan. ``was`` is the name of its vmgroup; None: it has none by now."""
    name, place = group.vmgroup.name, record.datastore
    unseen = ""
    if rights.find(group.rights, place, place) is None:
        line = command("vmgroup", "access", "add", name, "--datastore", place)
        unseen = f"; its machines have no right on {place} and do not see it until `{line}`"
    return Step("move-volume", record.name, f"vmgroup {was or record.vmgroup}", f"vmgroup {name}{unseen}")


def loses_name(record: VolumeRecord) -> str:
    """Return what a plan says is lost with the old name: to Docker it is that of a volume that there never was."""
    return (
        f"the name {record.name} for Docker: a stopped container or Compose service that names it"
        " would start on an empty volume of the engine's own"
    )
