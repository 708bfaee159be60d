"""What `doctor` makes of what it found: a line for each thing, with what to do about it. Pure.

OK is said only of what was seen to be right; what could not be asked is a WARN that says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from vmdkvol.findings import FAIL, OK, WARN, Finding
from vmdkvol.sizes import vdvs_capacity
from vmdkvol_esx.ports import Datastore
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.examined import Granted, Host, Presented, Server
from vmdkvol_esx.vsphere.role import TOO_MUCH, Need

# A certificate is renewed in time, or the service stands still on that day.
EXPIRES_DAYS = 30
# Logs that are compared; certificates' times.
SKEW_WARN_S, SKEW_FAIL_S = 5.0, 300.0
# A datastore, and the database's file system.
LOW_SHARE, LOW_BYTES = 0.05, 1 << 30
STATE_WARN, STATE_FAIL = 1 << 30, 64 << 20
# vSphere 6.7 has not been maintained since 2022; before 6.5 the calls differ.
OLDEST, MAINTAINED = (6, 5), (7, 0)
_ROLE = "run `vmdkvol-esxd create-role`, or see docs/how-to/role.md"


def certificate(seen: Presented, now: float) -> Finding:
    """Judge how long the certificate, which is trusted, is still valid."""
    days = (seen.until - now) / 86400
    found = f"trusted, valid for {days:.0f} days more; SHA-256 {seen.fingerprint}"
    if days > EXPIRES_DAYS:
        return Finding(OK, "certificate", found)
    fix = "renew it on the server in time; with pin_file put the new one into that file"
    return Finding(FAIL if days <= 0 else WARN, "certificate", found, fix)


def pin(trust: Trust) -> Finding:
    """Say what of the certificate counts. Nothing pinned is right if an authority of ours signs it."""
    if trust.pin is not None:
        return Finding(OK, "pin", f"it is the pinned one{', and signed by an authority of ca_file' if trust.ca else ''}")
    return Finding(OK, "pin", f"none; {'the authorities of ca_file' if trust.ca else 'authorities of this machine'} count")


def server(seen: Server) -> Finding:
    """Judge the kind and the version of the API."""
    found = f"{seen.product}; {'vCenter' if seen.vcenter else 'a single ESXi host'}, API {seen.version or 'unknown'}"
    version = tuple(int(part) for part in seen.version.split(".")[:2] if part.isdigit())
    if len(version) < 2 or version < OLDEST:
        return Finding(FAIL, "server", found, "use vSphere 7.0 or newer")
    if version < MAINTAINED:
        return Finding(WARN, "server", found, "vmdkvol is made for vSphere 7.0 and newer; this one is not maintained")
    return Finding(OK, "server", found)


def clock(seen: Server) -> Finding:
    """Judge how far the two clocks differ, beyond what the call's own time leaves in doubt."""
    apart = max(0.0, abs(seen.ahead_s) - seen.within_s)
    side = "before" if seen.ahead_s > 0 else "behind"
    found = f"the server's is {abs(seen.ahead_s):.1f} s {side} ours" if apart else "the same as ours"
    if apart <= SKEW_WARN_S:
        return Finding(OK, "clock", found)
    fix = "let both follow the same NTP servers; certificates and logs go by their clocks"
    return Finding(WARN if apart <= SKEW_FAIL_S else FAIL, "clock", found, fix)


def privileges(where: str, needed: Sequence[Need], seen: Granted) -> Finding:
    """Judge the account's privileges on one object."""
    check = f"privileges on {where}"
    if seen.unasked:
        return Finding(WARN, check, f"cannot be asked: {seen.unasked}", f"compare the role by hand: {_ROLE}")
    untold = [need.privilege for need in needed if need.privilege not in seen.privileges]
    lacking = [need for need in needed if seen.privileges.get(need.privilege) is False]
    vital = [need.privilege for need in lacking if not need.without]
    if vital:
        return Finding(FAIL, check, f"missing: {', '.join(need.privilege for need in lacking)}", _ROLE)
    if lacking:
        lost = "; ".join(f"{need.privilege}: no {need.without}" for need in lacking)
        return Finding(WARN, check, f"missing, {lost}", _ROLE)
    if untold:
        return Finding(WARN, check, f"cannot be asked: the server says nothing of {', '.join(untold)}", _ROLE)
    return Finding(OK, check, f"all {len(needed)} of the role")


def too_much(seen: Granted) -> Finding:
    """Judge whether the account is an administrator's."""
    held = [privilege for privilege in TOO_MUCH if seen.privileges.get(privilege)]
    if held:
        return Finding(WARN, "account", f"may do more than its work, such as {held[0]}", f"give it a role of its own: {_ROLE}")
    if seen.unasked or any(privilege not in seen.privileges for privilege in TOO_MUCH):
        return Finding(WARN, "account", "whether it may do more than its work cannot be asked", _ROLE)
    return Finding(OK, "account", "none of the privileges that make an administrator")


def datastore(seen: Datastore) -> Finding:
    """Judge a datastore of the settings."""
    check = f"datastore {seen.name}"
    if seen.problem is not None:
        return Finding(FAIL, check, seen.problem, "look at it in the hypervisor, or take it out of the settings")
    found = f"{vdvs_capacity(seen.free_bytes)} of {vdvs_capacity(seen.capacity_bytes)} free"
    if not seen.writable:
        return Finding(FAIL, check, f"{found}; read-only, or in maintenance", "end that, or take it out of the settings")
    if seen.free_bytes < max(LOW_BYTES, LOW_SHARE * seen.capacity_bytes):
        return Finding(WARN, check, found, "make room: thin disks grow, and a full datastore stops their writers")
    return Finding(OK, check, found)


def policies(seen: Server, names: Collection[str]) -> Finding:
    """Judge the storage policies that can be named."""
    if not seen.vcenter:
        return Finding(OK, "policies", "a single ESXi host has none; -o policy is refused")
    if not names:
        fix = "give the account StorageProfile.View on the root folder; without it -o policy finds none"
        return Finding(WARN, "policies", "none are seen", fix)
    return Finding(OK, "policies", f"{len(names)}: {', '.join(sorted(names))}")


def host(name: str, uuid: str, seen: Host, stores: Mapping[str, str]) -> Finding:
    """Judge the machine of a Docker host of the settings; ``stores`` are the ids of the datastores of the settings, by name."""
    check = f"host {name}"
    if seen.ref is None:
        if seen.meant:
            fix = f'write id = "{seen.meant}": the setting has the BIOS UUID, which clones share'
            return Finding(FAIL, check, f"no virtual machine has the instance UUID {uuid}", fix)
        fix = "its instance UUID is vc.uuid in the machine's configuration; the account must see the machine"
        return Finding(FAIL, check, f"no virtual machine has the instance UUID {uuid}", fix)
    found = f"machine {seen.name}"
    if not seen.connected:
        return Finding(FAIL, check, f"{found} is not connected: its disks are not known", "look at its ESXi host in vSphere")
    if seen.enable_uuid is False:
        fix = "switch it off and set disk.EnableUUID = TRUE in its configuration parameters; the guest finds disks by it"
        return Finding(FAIL, check, f"{found} has no disk.EnableUUID", fix)
    apart = [] if seen.reaches is None else [store for store, ref in stores.items() if ref not in seen.reaches]
    if apart:
        fix = "give that ESXi host the datastore, or use it for other Docker hosts alone: its disks cannot be attached there"
        return Finding(WARN, check, f"{found} is on an ESXi host without datastore {', '.join(apart)}", fix)
    if seen.enable_uuid is None:
        return Finding(WARN, check, f"{found}: whether it has disk.EnableUUID cannot be read", "look at its parameters")
    if not seen.controllers:
        fix = "none is needed for a start: the first attach adds one; a machine that boots with one attaches faster"
        return Finding(WARN, check, f"{found} has no PVSCSI controller that is not shared", fix)
    return Finding(OK, check, f"{found}, {seen.controllers} PVSCSI controllers, disk.EnableUUID")


def destroying() -> Finding:
    """Say what no setting prevents: it is an administrator's hand that must know it."""
    found = "vSphere deletes the disks that a machine has together with it, volumes too; after a power-off ours leave it"
    fix = "switch it off, see that no volume is attached to it (`vmdkvol volume ls`), then destroy it"
    return Finding(OK, "destroying a host", found, fix)


def database(path: str, size_bytes: int | None, volumes: int, free_bytes: int) -> Finding:
    """Judge the database, that can be read, and the room it has to grow; ``size_bytes`` None: there is none yet."""
    room = f"{vdvs_capacity(free_bytes)} free"
    found = f"{path}: none yet, {room}" if size_bytes is None else f"{path}: {volumes} volumes, {size_bytes >> 10} kb, {room}"
    if free_bytes >= STATE_WARN:
        return Finding(OK, "database", found)
    fix = "make room on the file system of state_dir: without it nothing is made, attached or removed"
    return Finding(WARN if free_bytes >= STATE_FAIL else FAIL, "database", found, fix)


def by_name(names: Collection[str], found: Mapping[str, Datastore]) -> Sequence[Finding]:
    """Return a line for each datastore of the settings, in their order; one that nobody speaks of is a failure."""
    return [
        datastore(found[name])
        if name in found
        else Finding(FAIL, f"datastore {name}", "the server does not speak of it", "check its name in the settings")
        for name in names
    ]
