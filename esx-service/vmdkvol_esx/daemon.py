"""The service as a process: its parts put together, started in order, ended in order. Alone it names implementations."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from vmdkvol import __version__, channel, logs
from vmdkvol.channel import Address, Listen, UnixAddress
from vmdkvol.clock import Clock, Deadline, SystemClock
from vmdkvol.errors import MetadataDamaged, Unavailable
from vmdkvol.lanes import Lanes
from vmdkvol.messages import Call, Notice, Request
from vmdkvol.points import Point, pass_by
from vmdkvol.volume import DEFAULT_VMGROUP, VmId
from vmdkvol_esx import rebuilding
from vmdkvol_esx.alarms import Alarms
from vmdkvol_esx.backends import Backend, claim, open_backend
from vmdkvol_esx.callers import Callers
from vmdkvol_esx.housekeeping import Housekeeping
from vmdkvol_esx.instance import alone
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.ports import Hypervisor
from vmdkvol_esx.readonly import ReadOnlyRequests
from vmdkvol_esx.rebuilding import check_new
from vmdkvol_esx.requests import Requests, make_verbs
from vmdkvol_esx.server import Server
from vmdkvol_esx.settings import ServiceSettings
from vmdkvol_esx.signals import Told
from vmdkvol_esx.store import SqlStore, open_store

Around = Callable[[Hypervisor], Hypervisor]

_NAME = f"vmdkvol-esxd {__version__}"
# What the stop of the hypervisor's tasks and the scan under way may take beyond the drain.
_END_S = 10.0
# Between two starts that need vSphere: no password was sent; one was, and may have been wrong (vsphere.relogin).
_DIAL_S, _AGAIN_S = 5.0, 30.0
# How long a thread with Python to run keeps the others waiting; 5 ms is the default. The calls of a guest that floods never
# wait for anything, and another's call comes back from the kernel some ten times: p95 under a flood 0.9 s, with this 0.1 s.
_SWITCH_S = 0.0005
_SIDE_FILES = ("", "-wal", "-shm", "-journal")


@dataclass(slots=True)
class Service:
    """A running service. ``stop`` finishes what is under way and lets go of everything but attached disks."""

    settings: ServiceSettings
    clock: Clock
    server: Server
    lanes: Lanes
    hypervisor: Backend
    housekeeping: Housekeeping | None
    store: SqlStore | None

    def start(self) -> Service:
        """Settle what a crash left open, then listen: nothing is answered before that. Raises as ``Server.start``."""
        if self.housekeeping is not None:
            self.housekeeping.settle_all()
        self.server.start()
        if self.housekeeping is not None:
            self.housekeeping.start()
            self.hypervisor.start(self.housekeeping.hint)
        return self

    def stop(self) -> bool:
        """Take in nothing more, and wait ``drain_s`` for what runs; tell whether all of it ended."""
        deadline = Deadline.after(self.clock, self.settings.drain_s)
        ended = self.server.drain(deadline)
        ended = self.lanes.drain(deadline) and ended
        end = Deadline.after(self.clock, _END_S)
        if self.housekeeping is not None:
            ended = self.housekeeping.stop(end) and ended
        self.hypervisor.stop(end)
        if self.store is not None and ended:
            # Work that did not end still writes; what it leaves open is settled at the next start.
            self.store.close()
        return ended


class _Notices:
    """Stands in for the server until there is one: the use cases are made before what serves them."""

    def __init__(self) -> None:
        self.server: Server | None = None

    def notify(self, vm: VmId, notice: Notice) -> bool:
        return self.server is not None and self.server.notify(vm, notice)


def compose(
    settings: ServiceSettings,
    at: Callable[[Point], None] = pass_by,
    around: Around | None = None,
    listen: Listen = channel.listen,
) -> Service:
    """Return the service, not started. ``at`` is called at each crash point, ``around`` stands around the hypervisor of
    the use cases, ``listen`` opens the sockets; only a test or a measurement hands one in.

    With a damaged database it is the read-only service, which says how to rebuild. Raises what the store raises for a
    database that cannot be opened.
    """
    clock = SystemClock()
    log = logs.get("service")
    lanes = Lanes(clock, "volume")
    notices = _Notices()
    store: SqlStore | None = None
    housekeeping: Housekeeping | None = None
    try:
        store = _open_store(settings, clock)
    except MetadataDamaged as error:
        log.error("serving read-only: the database cannot be used", reason=str(error))
        hypervisor = open_backend(settings, clock, None)
        answer = ReadOnlyRequests(hypervisor, lanes, uuid4, log, error.text, remedy=error.remedy, service=_NAME).answer
    else:
        hypervisor = open_backend(settings, clock, store)
        disks = hypervisor if around is None else around(hypervisor)
        store.set_default_datastore(DEFAULT_VMGROUP, settings.default)
        parts = Parts(store, disks, lanes, clock, uuid4, log, at)
        verbs = make_verbs(parts, notify=notices.notify, retention_s=settings.trash_retention_s)
        housekeeping = Housekeeping(
            parts,
            verbs.journal,
            verbs.removing,
            verbs.whereabouts,
            retention_s=settings.trash_retention_s,
            every_s=settings.housekeeping_s,
        )
        answer = Requests(verbs, service=_NAME).answer
    sockets: dict[Address, VmId | None] = {UnixAddress(Path(host.socket)): host.id for host in settings.hosts}
    callers = Callers(hypervisor, store, clock, Alarms(clock, log))
    server = Server(sockets, _logged(answer), callers.identify, clock, service=_NAME, listen=listen, admit=callers.admit)
    notices.server = server
    return Service(settings, clock, server, lanes, hypervisor, housekeeping, store)


def _open_store(settings: ServiceSettings, clock: Clock) -> SqlStore:
    """Return the store; MetadataDamaged also if there is none while there are disks, or what there is cannot be read."""
    database = Path(settings.database)
    if not database.exists():
        with _opened(settings, clock) as hypervisor:
            check_new(hypervisor, str(database))
    return open_store(database, clock)


@contextmanager
def _opened(settings: ServiceSettings, clock: Clock) -> Iterator[Backend]:
    """A hypervisor for a look before there is a store."""
    hypervisor = open_backend(settings, clock, None)
    try:
        yield hypervisor
    finally:
        hypervisor.stop(Deadline.after(clock, _END_S))


def _logged(answer: Callable[[Request[Any], Call], Any]) -> Callable[[Request[Any], Call], Any]:
    """Return ``answer`` with the call's id on every log line that it causes on its thread."""

    def answered(request: Request[Any], call: Call) -> Any:
        with logs.bound(call=str(call.id), vm=str(call.caller)):
            return answer(request, call)

    return answered


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


def rebuild(settings: ServiceSettings) -> str:
    """Put a new database in the place of the old one, made from the sidecars; return what to tell the administrator.

    The old files are kept beside it. Raises Conflict while a service runs, TruthUnknown if a datastore cannot be
    listed: then the old database stands as it was. Killed in the middle: run again, or the next start ends it.
    """
    logs.configure(settings.log_level)
    clock = SystemClock()
    database = Path(settings.database)
    making = database.with_name(f"{database.name}.rebuilding")
    with alone(settings.state_dir):
        for suffix in _SIDE_FILES:
            Path(f"{making}{suffix}").unlink(missing_ok=True)
        store = open_store(making, clock)
        try:
            with _opened(settings, clock) as hypervisor:
                result = rebuilding.rebuild(store, hypervisor, logs.get("rebuild"))
            claim(settings, store)
        finally:
            store.close()
        # From this rename on the new one is complete and counts.
        _rename(making, _rebuilt(database))
        kept = _install_rebuilt(database, clock)
    text = f"{len(result.restored)} volumes restored"
    for left in result.left_out:
        text += f"\nleft out: {left.path}: {left.problem}"
    return text + (f"\nthe old database is kept as {kept}" if kept else "")


def _rebuilt(database: Path) -> Path:
    return database.with_name(f"{database.name}.rebuilt")


def _install_rebuilt(database: Path, clock: Clock) -> Path | None:
    """Put a complete rebuilt database into place, if there is one; return where the old one is kept.

    Without this at each start, a rebuild that was killed after the old file was set aside would be followed by a new,
    empty database, which says "no such volume" of every volume.
    """
    if not _rebuilt(database).exists():
        return None
    kept = database.with_name(f"{database.name}.damaged-{int(clock.wall())}")
    # Side files first: SQLite would play a log that is left alone into the new database.
    for suffix in reversed(_SIDE_FILES):
        if Path(f"{database}{suffix}").exists():
            _rename(Path(f"{database}{suffix}"), Path(f"{kept}{suffix}"))
    _rename(_rebuilt(database), database)
    return kept if kept.exists() else None


def _rename(old: Path, new: Path) -> None:
    """Rename durably."""
    old.rename(new)
    directory = os.open(new.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
