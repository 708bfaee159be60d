"""The service as a process: started, ended, and what is done in its place while it does not run."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

from vmdkvol import __version__, channel, durable, logs
from vmdkvol.channel import Listen
from vmdkvol.clock import Clock, SystemClock
from vmdkvol.errors import Unavailable
from vmdkvol.orders import ROOT
from vmdkvol.points import Point, pass_by
from vmdkvol.vmgroup_messages import DEFAULT_NAME
from vmdkvol.volume import VmgroupId
from vmdkvol_esx import rebuilding
from vmdkvol_esx.backends import claim
from vmdkvol_esx.composing import Around, Service, compose, opened
from vmdkvol_esx.identities import Identity
from vmdkvol_esx.instance import alone
from vmdkvol_esx.records import AuditRecord
from vmdkvol_esx.settings import ServiceSettings
from vmdkvol_esx.signals import Told
from vmdkvol_esx.store import SqlStore, check_not_newer, old_audit, open_store, read_groups, read_identities, read_policies
from vmdkvol_esx.told_commands import DEFAULT_RIGHT

# Between two starts that need vSphere: no password was sent; one was, and may have been wrong (vsphere.relogin).
_DIAL_S, _AGAIN_S = 5.0, 30.0
# How long a thread with Python to run keeps the others waiting; 5 ms is the default. The calls of a guest that floods never
# wait for anything, and another's call comes back from the kernel some ten times: p95 under a flood 0.9 s, with this 0.1 s.
_SWITCH_S = 0.0005
_SIDE_FILES = ("", "-wal", "-shm", "-journal")


def serve(
    settings: ServiceSettings,
    at: Callable[[Point], None] = pass_by,
    around: Around | None = None,
    listen: Listen = channel.listen,
) -> None:
    """Serve until SIGTERM or SIGINT. Raises Conflict if another service has this state directory."""
    output = logs.configure(settings.log_level)
    sys.setswitchinterval(_SWITCH_S)
    told = Told(signal.SIGTERM, signal.SIGINT)
    with alone(settings.state_dir):
        _install_rebuilt(Path(settings.database), SystemClock())
        service = _composed(settings, partial(compose, settings, at, around, listen), told)
        if service is not None:
            _run(service, told)
    output.flush(1.0)


def _run(service: Service, told: Told) -> None:
    settings, log = service.settings, logs.get("service")
    gc.freeze()
    gc.enable()
    service.start()
    if not settings.sockets and not settings.listen:
        log.warning("no Docker host can reach the service", remedy="set listen, or add a table [[hosts]] with a socket")
    log.info("serving", hosts=len(settings.hosts), datastores=len(settings.datastore_names), version=__version__)
    told.wait()
    log.info("stopping: what is under way is finished first", seconds=settings.drain_s)
    ended = service.stop()
    log.info("stopped" if ended else "stopped before all work ended; the next start settles it")


def _composed(settings: ServiceSettings, make: Callable[[], Service], told: Told) -> Service | None:
    """Return the service; None if it is told to end first.

    Without a database vSphere must say that it has no disks of ours, and is waited for here: a process that ends is started
    again at once, each time with a try of the password, and a few wrong ones lock the account.
    """
    while True:
        try:
            return make()
        except Unavailable as error:
            if settings.vsphere is None:
                raise
            wait_s = _DIAL_S if error.fields.get("meaning") == "NOT_SENT" else _AGAIN_S
            logs.get("service").warning("not serving yet: vSphere must be seen first", reason=str(error), again_s=wait_s)
        # It may be long.
        gc.enable()
        if told.within(SystemClock(), wait_s):
            return None


def rebuild(settings: ServiceSettings, meant: Callable[[Sequence[str], Sequence[str]], bool]) -> Path | None:
    """Put a new database in the place of the old one, made from the sidecars; return where the old one is kept.

    ``meant`` gets what to tell the administrator of the new one, and what is lost with the old one; unless it returns True,
    nothing is changed. What can be read of the old one's vmgroups, enrolled machines and audit is taken over, and the audit
    says how much. Raises Conflict while a service runs, TruthUnknown if a datastore cannot be listed, MetadataDamaged if a
    newer version wrote the old database: then that stands as it was. Killed in the middle: run again, or the next start
    ends it.
    """
    logs.configure(settings.log_level)
    clock = SystemClock()
    database = Path(settings.database)
    making = database.with_name(f"{database.name}.rebuilding")
    with alone(settings.state_dir):
        _remove(making)
        try:
            if not _made(settings, making, clock, meant):
                return None
            # From this rename on the new one is complete and counts.
            durable.rename(making, _rebuilt(database))
        finally:
            _remove(making)
        return _install_rebuilt(database, clock)


def _made(settings: ServiceSettings, making: Path, clock: Clock, meant: Callable[[Sequence[str], Sequence[str]], bool]) -> bool:
    """Make the new database as ``making``, and tell whether it is meant."""
    old = Path(settings.database)
    if _rebuilt(old).exists():
        # One that was killed at its end: what it took over is in it, and the old one is perhaps set aside.
        old = _rebuilt(old)
    check_not_newer(old)
    store = open_store(making, clock)
    try:
        with opened(settings, clock) as hypervisor:
            result = rebuilding.rebuild(store, hypervisor, logs.get("rebuild"), clock.wall())
        known, invited = read_identities(old)
        store.adopt(known, invited)
        groups = read_groups(old)
        unknown = store.adopt_groups(groups)
        store.adopt_policies(read_policies(old))
        carried = _carry_audit(old, store)
        told = [f"{len(result.restored)} volumes restored", *_of_machines(settings, known), *_of_groups(unknown)]
        told += _of_policies(settings, store)
        told.append(f"audit: {carried}")
        told += [f"left out: {left.path}: {left.problem}" for left in result.left_out]
        if not meant(told, list(_lost(old, readable=groups is not None))):
            return False
        claim(settings, store)
        _note_rebuild(store, clock, f"{told[0]}, {len(result.left_out)} left out; audit: {carried}")
        return True
    finally:
        store.close()


def _lost(old: Path, *, readable: bool) -> Iterator[str]:
    if old.exists():
        found = "can be read" if readable else "cannot be read"
        yield (
            f"the database {old} {found}: it is set aside and kept. The new one takes over vmgroups, machines and audit as far "
            "as they can be read, and has no open work, no tasks that ended, and no cordons"
        )


def _remove(database: Path) -> None:
    for suffix in _SIDE_FILES:
        Path(f"{database}{suffix}").unlink(missing_ok=True)


def _carry_audit(database: Path, store: SqlStore) -> str:
    """Take over what can be read of the old database's audit; return how much that was."""
    with old_audit(database) as old:
        if old is None:
            return "begins anew, there was none that could be read"
        carried = store.trail.adopt(old.ends, old.rows())
    lost = "nobody knows how many more there were" if carried.lost is None else f"{carried.lost} are lost"
    return f"{carried.kept} records kept, {lost}"


def _note_rebuild(store: SqlStore, clock: Clock, detail: str) -> None:
    by = ROOT
    store.trail.append(
        AuditRecord(clock.wall(), by.name, by.role.value, "command line", "rebuild", "database", "done", uuid4(), detail)
    )


def _of_machines(settings: ServiceSettings, known: Sequence[Identity]) -> Iterator[str]:
    enrolled = len({each.vm for each in known if each.revoked_at is None})
    if enrolled:
        yield f"{enrolled} machines stay enrolled: see `vmdkvol vm ls`, and revoke again what was revoked after a backup"
    elif settings.listen:
        yield "no machine stays enrolled: each needs a new token (`vmdkvol vm enroll`)"


def _of_groups(unknown: Sequence[VmgroupId]) -> Iterator[str]:
    if unknown:
        yield (
            f"of {len(unknown)} vmgroups only the id is known: `vmdkvol orphans ls` has the command that names each; then put "
            "its machines in (`vmdkvol vmgroup vm add`)"
        )
        yield f"{DEFAULT_NAME} has no right, lest those machines see what is in it: when they are in, `{DEFAULT_RIGHT}`"


def _of_policies(settings: ServiceSettings, store: SqlStore) -> Iterator[str]:
    """Tell of policies that were made here once, that volumes name and that nobody knows any more; vCenter's are vCenter's."""
    missing = sorted(store.policy_volumes().keys() - {each.name for each in store.local_policies()})
    if missing and settings.vsphere is None:
        yield f"volumes name storage policies that there are not any more: {', '.join(missing)}; see `vmdkvol policy ls`"


def _rebuilt(database: Path) -> Path:
    return database.with_name(f"{database.name}.rebuilt")


def _install_rebuilt(database: Path, clock: Clock) -> Path | None:
    """Put a complete rebuilt database into place, if there is one; return where the old one is kept.

    Without this at each start, a rebuild that was killed after the old file was set aside would be followed by a new,
    empty database, which says "no such volume" of every volume.
    """
    if not _rebuilt(database).exists():
        return None
    kept = database.with_name(f"{database.name}.before-rebuild-{int(clock.wall())}")
    # Side files first: SQLite would play a log that is left alone into the new database.
    for suffix in reversed(_SIDE_FILES):
        if Path(f"{database}{suffix}").exists():
            durable.rename(Path(f"{database}{suffix}"), Path(f"{kept}{suffix}"))
    durable.rename(_rebuilt(database), database)
    return kept if kept.exists() else None
