"""The Status map of `docker volume inspect`: vDVS's keys with its spelling and format, and ours beside them. Pure.

Scripts read vDVS's keys, so they stay as they were (vdvs-facts 5.2). What is not known is not said.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from vmdkvol.options import OPTIONS
from vmdkvol.progress import words
from vmdkvol.sizes import vdvs_capacity
from vmdkvol.volume import DEFAULT_VMGROUP, Address, LoopAddress, VolumeInfo, Work
from vmdkvol_guest.growths import Short
from vmdkvol_guest.ports import Holdings


def rfc3339(seconds: float) -> str:
    """Return UTC seconds as Docker's CreatedAt, always with a zone: one without makes the engine purge the volume's
    labels and references (docker-facts 1.1)."""
    # A third of strftime's time, for each volume of a List.
    return f"{datetime.fromtimestamp(int(seconds), UTC).replace(tzinfo=None).isoformat()}Z"


def asctime(seconds: float) -> str:
    """Return UTC seconds as vDVS's ``created``: ``Tue Jun  6 09:15:04 2017``, whatever the locale."""
    return datetime.fromtimestamp(seconds, UTC).ctime()


def status(
    info: VolumeInfo, holdings: Holdings | None, *, mounted: bool, stale: bool, short: Short | None = None
) -> dict[str, Any]:
    """Return all keys. ``holdings`` are this host's, None if it has nothing of the volume; ``stale``: from the catalogue.

    ``short`` is a file system of this host that did not follow its disk.
    """
    return _vdvs(info, here=holdings is not None and holdings.attachment is not None) | {
        "id": str(info.id),
        "size-bytes": info.size_bytes,
        "allocated-bytes": info.allocated_bytes,
        "state": info.state.value,
        "content": info.content.value,
        "vmgroup": "_DEFAULT" if info.vmgroup == DEFAULT_VMGROUP else info.vmgroup_name or str(info.vmgroup),
        "layout": info.options.layout,
        "labels": dict(info.options.labels),
        # The engine shows the options as they were typed, on the creating host only, and can lose them.
        "options": {option.key: option.show(getattr(info.options, option.field)) for option in OPTIONS.values()}
        | {"size": OPTIONS["size"].show(info.size_bytes)},
        "mounted": mounted,
        "holders": sorted(holdings.ids) if holdings is not None else [],
        "filesystem": None if short is None else _short(short),
        "stale": stale,
        "progress": _progress(info.work),
    }


def _progress(work: Work | None) -> dict[str, Any] | None:
    if work is None:
        return None
    return {
        "doing": work.doing.value,
        "percent": work.percent,
        "since": rfc3339(work.since),
        "seconds-left": work.left_s,
        "text": words(work),
    }


def _short(short: Short) -> dict[str, Any]:
    return {"size-bytes": short.size_bytes, "disk-bytes": short.disk_bytes, "reason": short.reason}


def _vdvs(info: VolumeInfo, *, here: bool) -> dict[str, Any]:
    source = info.options.clone_from
    shown: dict[str, Any] = {
        "access": info.options.access,
        "attach-as": info.options.attach_as,
        "diskformat": info.options.diskformat,
        "capacity": {"size": vdvs_capacity(info.size_bytes), "allocated": vdvs_capacity(info.allocated_bytes)},
        "clone-from": "None" if source is None else source.base,
        "created": asctime(info.created_at),
        "created by VM": info.created_by,
        "datastore": info.datastore,
        "fstype": info.options.fstype,
        "status": "attached" if info.attached_to is not None or here else "detached",
    }
    if info.options.policy is not None:
        shown["vsan-policy-name"] = info.options.policy
    if info.options.iops_limit is not None:
        shown["iops-limit"] = info.options.iops_limit
    if info.options.shares != "normal":
        shown["shares"] = info.options.shares
    if info.attached_to is not None:
        shown["attached to VM"] = info.attached_to.vm_name
        shown["attachedVMDevice"] = _device(info.attached_to.address)
    return shown


def _device(address: Address) -> dict[str, str]:
    """The PCI numbers are a real VM's alone, and no address of ours says them: empty is the truth."""
    unit = address.number if isinstance(address, LoopAddress) else address.unit
    return {"Unit": str(unit), "ControllerPciSlotNumber": "", "ControllerPciBusNumber": ""}
