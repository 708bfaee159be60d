"""What the agent's doctor makes of what it found on this Docker host: a line for each thing, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from vmdkvol.findings import FAIL, OK, WARN, Finding

_DAY_S = 86400.0
# A certificate of 90 days is renewed by the agent itself when 30 are left; below this the renewal does not work.
RENEWED_DAYS = 25
# Certificates begin two days back, so that a clock that is wrong by a day harms nobody; logs are compared.
SKEW_WARN_S, SKEW_FAIL_S = 5.0, 86400.0
OLDEST_PYTHON = (3, 11)
ENROL = "at the service `vmdkvol vm enroll NAME`, then here `vmdkvol-agent enroll TOKEN`"
UUID_FIX = "switch the machine off and set disk.EnableUUID = TRUE in its configuration parameters"


@dataclass(frozen=True, slots=True)
class Certificate:
    """The agent's certificate. ``machine`` is the instance UUID in it, ``signed`` whether the site's authority signed it."""

    path: str
    owner: int
    mode: int
    begins: float
    ends: float
    machine: str | None
    signed: bool


@dataclass(frozen=True, slots=True)
class Vsock:
    """``there``: the kernel has vsock. ``context_id`` is this machine's number, None if no host gives it one."""

    there: bool
    context_id: int | None = None


@dataclass(frozen=True, slots=True)
class Disks:
    """What SCSI shows. ``pvscsi``: such controllers; ``others``: of the older kinds. ``driver``: the kernel can have PVSCSI.

    ``named`` and ``silent``: the disks that say a UUID, and those that say none.
    """

    pvscsi: int
    others: int
    driver: bool
    named: int
    silent: int


def root(uid: int) -> Finding:
    """Judge the user that runs the doctor: the agent runs as root, and only root sees what it sees."""
    if uid != 0:
        return Finding(FAIL, "root", f"runs as uid {uid}", "run it with sudo: mounts, disks and sockets are root's")
    return Finding(OK, "root", "runs as root")


def python(version: tuple[int, ...], missing: Sequence[str]) -> Finding:
    """Judge the interpreter and the libraries that the agent loads."""
    shown = ".".join(str(part) for part in version[:3])
    if version[:2] < OLDEST_PYTHON:
        return Finding(FAIL, "python", f"{shown}", "install Python 3.11 or newer")
    if missing:
        return Finding(FAIL, "python", f"{shown}, without {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Finding(OK, "python", f"{shown}, with all libraries")


def driver(name: str, socket: str) -> Finding:
    """Judge whether Docker finds the driver under its name: it goes by the socket's."""
    if socket.rpartition("/")[2] != f"{name}.sock":
        fix = f"let socket end in /{name}.sock, or let driver be what the file is called"
        return Finding(FAIL, "driver", f"Docker does not find {name} at {socket}", fix)
    return Finding(OK, "driver", f"{name}, at {socket}")


def tools(fstype: str, package: str, missing: Sequence[str], *, kernel: bool | None) -> Finding:
    """Judge what making, checking and mounting a file system takes. ``kernel``: it knows the kind; None: cannot be seen."""
    check = f"tools {fstype}"
    if missing:
        return Finding(WARN, check, f"{', '.join(missing)} missing: no {fstype} volumes here", f"apt-get install {package}")
    if kernel is False:
        return Finding(WARN, check, f"this kernel has no {fstype}: no {fstype} volumes here", f"modprobe {fstype}")
    return Finding(OK, check, f"mkfs.{fstype} and its checks are there")


def growth(*, able: bool) -> Finding:
    """Judge whether a mounted ext4 can grow here. ``able``: who runs the doctor has the capability for it (field case C16)."""
    if not able:
        fix = "give the agent the capability SYS_RESOURCE, as its unit does; xfs needs none"
        return Finding(WARN, "ext4 in use", "does not grow when its disk does: the capability is missing here", fix)
    return Finding(OK, "ext4 in use", "can grow when its disk does")


def tool(name: str, package: str, *, there: bool, need: str) -> Finding:
    """Judge a program without which the agent cannot work."""
    if not there:
        return Finding(FAIL, f"tool {name}", f"missing: {need}", f"apt-get install {package}")
    return Finding(OK, f"tool {name}", "is there")


def vsock(seen: Vsock, *, needed: bool) -> Finding:
    """Judge the way to the host that needs no network."""
    if not needed:
        return Finding(OK, "vsock", "not used by this machine's settings")
    if not seen.there:
        return Finding(FAIL, "vsock", "this kernel has no /dev/vsock", "modprobe vsock vmw_vsock_vmci_transport, or use tcp://")
    if seen.context_id is None:
        fix = (
            "modprobe vmw_vsock_vmci_transport; the machine needs its VMCI device, which hardware version 13 has; or use tcp://"
        )
        return Finding(FAIL, "vsock", "no host gives this machine a context id", fix)
    return Finding(OK, "vsock", f"this machine has context id {seen.context_id}")


def controllers(seen: Disks, *, sandbox: bool) -> Finding:
    """Judge whether disks can come. ``sandbox``: the service is on this machine, where disks may be loop devices."""
    if seen.pvscsi:
        return Finding(OK, "pvscsi", f"{seen.pvscsi} controllers of the kind VMware Paravirtual")
    if sandbox and not seen.others:
        return Finding(OK, "pvscsi", "no SCSI controller; a sandbox needs none, a virtual machine gets one at the first attach")
    if not seen.driver:
        fix = "install a kernel with the module vmw_pvscsi; Debian's cloud and standard kernels have it"
        return Finding(FAIL, "pvscsi", "no PVSCSI controller, and this kernel has no driver for one", fix)
    fix = "none is needed for a start: the first attach adds one; a machine that boots with one attaches faster"
    return Finding(WARN, "pvscsi", "no PVSCSI controller", fix)


def enable_uuid(seen: Disks, *, sandbox: bool) -> Finding:
    """Judge whether disks say who they are: new volumes must not depend on a guess (D8)."""
    if seen.named:
        return Finding(OK, "disk.EnableUUID", f"{seen.named} disks say their UUID")
    if seen.silent:
        return Finding(FAIL, "disk.EnableUUID", f"{seen.silent} disks, and none says its UUID", UUID_FIX)
    if sandbox and not seen.pvscsi:
        return Finding(OK, "disk.EnableUUID", "no SCSI disk, so nothing to tell")
    return Finding(WARN, "disk.EnableUUID", "cannot be seen: there is no SCSI disk to tell by", UUID_FIX)


def multipath(taken: Mapping[str, Sequence[str]]) -> Finding:
    """Judge the disks that something of the host has built a device on: none of them can be mounted, or taken off the host."""
    if not taken:
        return Finding(OK, "multipath", "no disk is taken by another device")
    shown = ", ".join(f"{name} by {' and '.join(holders)}" for name, holders in sorted(taken.items()))
    fix = """in /etc/multipath.conf: blacklist { device { vendor "VMware" product "Virtual disk" } }, then multipath -F"""
    return Finding(WARN, "multipath", f"taken: {shown}; right for disks of the host's own alone", fix)


def certificate(seen: Certificate, now: float) -> Finding:
    """Judge the agent's certificate and its file. The key is in it: nobody else may read it."""
    check = "certificate"
    if seen.owner != 0 or seen.mode & 0o077:
        found = f"{seen.path} is uid {seen.owner}'s with mode {seen.mode:04o}, and holds the key"
        fix = f"chown root {seen.path}; chmod 0600 {seen.path}; if others could read it, revoke it and enrol again"
        return Finding(FAIL, check, found, fix)
    if not seen.signed:
        return Finding(FAIL, check, f"{seen.path} was not signed by the authority beside it", f"enrol again: {ENROL}")
    if now < seen.begins:
        fix = "set this machine's clock; let it follow the service's NTP servers"
        return Finding(FAIL, check, f"is valid in {_days(seen.begins - now)} only: this machine's clock is behind", fix)
    if now >= seen.ends:
        fix = f"is the clock right? Then enrol again: {ENROL}"
        return Finding(FAIL, check, f"ran out {_days(now - seen.ends)} ago", fix)
    found = f"valid for {_days(seen.ends - now)} more, of machine {seen.machine or 'unknown'}"
    if seen.ends - now < RENEWED_DAYS * _DAY_S:
        return Finding(
            WARN, check, found, "it should have been renewed: see the agent's log, and whether the service is reached"
        )
    return Finding(OK, check, found)


def no_certificate(path: str) -> Finding:
    """Say that this machine was never enrolled."""
    return Finding(FAIL, "certificate", f"there is no {path}: this machine is not enrolled", ENROL)


def clock(ahead_s: float | None, within_s: float) -> Finding:
    """Judge how far the service's clock is ahead, beyond what the asking took. None: it does not say."""
    if ahead_s is None:
        return Finding(WARN, "clock", "the service does not tell its time", "upgrade the service, or compare by hand")
    side = "before" if ahead_s > 0 else "behind"
    if abs(ahead_s) - within_s <= SKEW_WARN_S:
        return Finding(OK, "clock", "the service's is the same as ours")
    fix = "let both follow the same NTP servers; certificates and logs go by their clocks"
    found = f"the service's is {abs(ahead_s):.0f} s {side} ours"
    return Finding(WARN if abs(ahead_s) - within_s <= SKEW_FAIL_S else FAIL, "clock", found, fix)


def engine(data_root: str, mounts: Collection[str]) -> Finding:
    """Judge where the engine keeps its own data. ``mounts``: our volumes' paths, none of which may hold it."""
    inside = [path for path in mounts if f"{data_root}/".startswith(f"{path.rstrip('/')}/")]
    if inside:
        fix = "move it to a disk of this machine: an engine on a volume of its own cannot start without itself"
        return Finding(FAIL, "engine's data", f"{data_root} lies on a volume, at {inside[0]}", fix)
    return Finding(OK, "engine's data", f"in {data_root}")


def _days(seconds: float) -> str:
    return f"{seconds / _DAY_S:.0f} days" if seconds >= 2 * _DAY_S else f"{seconds / 3600:.0f} hours"
