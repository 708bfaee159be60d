"""What `vmdkvol sandbox up --demo-data` shows of a site at work: machines that use volumes, long work, a disk without a record.

Machines take their disks as their agents would, each at its own socket of the service. Nothing is mounted: every process that
begins with a mount namespace of its own would keep the mount, and the sandbox could not be taken down. The work is real, at the
speed that the sandbox's settings allow. The disk is put back on its datastore after its volume was destroyed, as somebody does
who restores a backup. What cannot be shown on this machine is said, and the rest is there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmdkvol.cli.asking import all_volumes, connected
from vmdkvol.cli.demo_data import REPORTS, SHOP, STAGING
from vmdkvol.cli.layout import Identity, Layout, SandboxHost
from vmdkvol.cli.paths import path_of
from vmdkvol.errors import StillWorking, VolumeError, one_line
from vmdkvol.messages import Attach, ListAttached
from vmdkvol.volume_orders import CreateVolumeFor

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

# Real work: at the speed of a demo (see ``written``) it takes some four minutes.
LONG, _LONG_SIZE = "warehouse-2025", "512mb"
_BEGUN_S = 1.0
STRAY = "from-a-backup"


@dataclass(frozen=True, slots=True)
class Machine:
    """A simulated Docker host; what it uses are volumes of its vmgroup."""

    vmgroup: str
    uses: tuple[str, ...]


# In the order of the sandbox's demo hosts.
MACHINES = (Machine(SHOP, ("catalogue-cache", "sessions")), Machine(REPORTS, ("exports",)))


def enliven(client: Client, layout: Layout, identity: Identity) -> Iterator[str]:
    """Have all of it, and yield a line for each that was not there."""
    hosts = {host.name: host for host in identity.hosts}
    for machine, name in zip(MACHINES, identity.demo_hosts, strict=True):
        if name in hosts:
            yield from _use(client, layout, machine, hosts[name])
    yield from _stray(client, layout, identity.datastores[0])
    yield from _long_work(client, layout, identity.datastores[min(1, len(identity.datastores) - 1)])


# --- machines --------------------------------------------------------------------------------------------------------


def _use(client: Client, layout: Layout, machine: Machine, host: SandboxHost) -> Iterator[str]:
    members = client.get(path_of("vmgroups", machine.vmgroup, "members"))["members"]
    try:
        if host.vm not in [member["vm"] for member in members]:
            client.order("POST", path_of("vmgroups", machine.vmgroup, "members"), {"vms": [host.vm]})
            yield f"machine {host.name} is in {machine.vmgroup}"
        with connected(layout.service_address(host.name)) as service:
            mine = {attachment.volume for attachment in service.ask(ListAttached()).attachments}
            wanted = [each for each in all_volumes(service) if each.name in machine.uses and each.id not in mine]
            for volume in wanted:
                service.ask(Attach(volume.id))
                yield f"volume {volume.name} is used by {host.name}"
    except VolumeError as error:
        # Somebody put the machine, or a volume, elsewhere, where it stays.
        yield f"machine {host.name} uses nothing more of {machine.vmgroup}: {error.text}"


# --- a disk that no record names -------------------------------------------------------------------------------------


def _stray(client: Client, layout: Layout, datastore: str) -> Iterator[str]:
    """Have a disk of ours without its record: kept aside while its volume is destroyed, and put back."""
    if any(STRAY in orphan["where"] for orphan in client.get(path_of("orphans"))["orphans"]):
        return
    aside = layout.root / "state" / "demo-aside"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        volume = _volume_to_lose(client, datastore)
        if volume is None:
            return
        folder = (layout.datastore(datastore) / volume["path"]).parent
        files = list(folder.glob(f"{Path(volume['path']).stem}*"))
        aside.mkdir(parents=True)
        for file in files:
            os.link(file, aside / file.name)
        if volume["state"] != "trashed":
            client.order("DELETE", path_of("volumes", volume["id"]))
        client.order("POST", path_of("volumes", volume["id"], "destroy"), {"i_know": STRAY})
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            os.link(aside / file.name, file)
        yield f"disk {Path(volume['path']).name} lies on {datastore} without a record"
    except (OSError, VolumeError) as error:
        yield f"no disk without a record is shown: {one_line(str(error))}"
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _volume_to_lose(client: Client, datastore: str) -> Any:
    """Return the row of the volume, which is made if it is not there; None if it is somebody else's now."""
    query: dict[str, str | bool] = {"vmgroup": STAGING, "name": STRAY, "trash": True}
    found = list(client.pages(path_of("volumes"), "rows", query))
    if not found:
        options = [["size", "64mb"], ["diskformat", "thin"], ["datastore", datastore]]
        client.order("POST", path_of("volumes"), {"vmgroup": STAGING, "name": STRAY, "options": options})
        found = list(client.pages(path_of("volumes"), "rows", query))
    return found[0] if found and found[0]["created_by"] == "root" and found[0]["vm"] is None else None


# --- work under way --------------------------------------------------------------------------------------------------


def _long_work(client: Client, layout: Layout, datastore: str) -> Iterator[str]:
    """Have a disk written in full. It goes on when nobody waits for it any more, which one can do at the admin socket."""
    if LONG in [row["name"] for row in client.pages(path_of("volumes"), "rows", {"vmgroup": REPORTS, "trash": True})]:
        return
    options = (("size", _LONG_SIZE), ("diskformat", "eagerzeroedthick"), ("fstype", "ext4"), ("datastore", datastore))
    with connected(layout.admin_address) as service, contextlib.suppress(StillWorking):
        service.ask(CreateVolumeFor(vmgroup=REPORTS, name=LONG, options=options), answer_s=_BEGUN_S)
    yield f"volume {LONG} is being written in full, slowly: see the tasks"
