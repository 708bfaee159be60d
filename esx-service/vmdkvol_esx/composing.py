"""The service's parts put together, not started: alone names implementations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from vmdkvol import __version__, channel, logs
from vmdkvol.addresses import Address, UnixAddress, parse_address
from vmdkvol.channel import Listen
from vmdkvol.clock import Clock, Deadline, SystemClock
from vmdkvol.errors import MetadataDamaged, VolumeError
from vmdkvol.lanes import Lanes
from vmdkvol.notices import Notice
from vmdkvol.points import Point, pass_by
from vmdkvol.stream import Secure
from vmdkvol.volume import DEFAULT_VMGROUP, VmId
from vmdkvol_esx.administering import admin_server, make_enrolments, open_desk
from vmdkvol_esx.alarms import Alarms
from vmdkvol_esx.backends import Backend, Timed, open_backend, token_giver, untimed
from vmdkvol_esx.callers import Callers, Present
from vmdkvol_esx.desk import refuse_all
from vmdkvol_esx.enrolling import Ours
from vmdkvol_esx.housekeeping import Housekeeping
from vmdkvol_esx.monitoring import Watch, logged, open_watch
from vmdkvol_esx.nouns import Rows, noun_rows
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.ports import Hypervisor
from vmdkvol_esx.readonly import ReadOnlyRequests
from vmdkvol_esx.rebuilding import check_new
from vmdkvol_esx.requests import Requests, Verbs, make_verbs
from vmdkvol_esx.server import Server, refuse_strangers
from vmdkvol_esx.settings import ServiceSettings
from vmdkvol_esx.store import SqlStore, open_store
from vmdkvol_esx.witness import Witness

if TYPE_CHECKING:
    from vmdkvol_esx.registry import Registry

Around = Callable[[Hypervisor], Hypervisor]

NAME = f"vmdkvol-esxd {__version__}"
# What the stop of the hypervisor's tasks and the scan under way may take beyond the drain.
END_S = 10.0


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
    admin: Server
    registry: Registry | None = None

    def start(self) -> Service:
        """Settle what a crash left open, then listen: nothing is answered before that. Raises as ``Server.start``."""
        if self.housekeeping is not None:
            self.housekeeping.settle_all()
        self.server.start()
        if self.housekeeping is not None:
            self.housekeeping.start()
            self.hypervisor.start(self.housekeeping.hint)
        self.admin.start()
        if self.registry is not None:
            self.registry.expiring.start()
        return self

    def stop(self) -> bool:
        """Take in nothing more, and wait ``drain_s`` for what runs; tell whether all of it ended."""
        deadline = Deadline.after(self.clock, self.settings.drain_s)
        ended = self.admin.drain(deadline)
        ended = self.server.drain(deadline) and ended
        ended = self.lanes.drain(deadline) and ended
        end = Deadline.after(self.clock, END_S)
        if self.registry is not None:
            ended = self.registry.expiring.stop(end) and ended
        if self.housekeeping is not None:
            ended = self.housekeeping.stop(end) and ended
        self.hypervisor.stop(end)
        if self.store is not None and ended:
            # Work that did not end still writes; what it leaves open is settled at the next start.
            self.store.close()
        return ended


class _Later:
    """Stands in for the server until there is one: the use cases are made before what serves them."""

    def __init__(self) -> None:
        self.server: Server | None = None
        self.callers: Callers | None = None
        self.timed: Timed = untimed
        self.strays: Callable[[], int] = lambda: 0

    def notify(self, vm: VmId, notice: Notice) -> bool:
        return self.server is not None and self.server.notify(vm, notice)

    def connected(self, vm: VmId) -> bool:
        return self.server is not None and self.server.connected(vm)

    def note(self, vm: VmId) -> None:
        if self.callers is not None:
            self.callers.ended(vm)

    def expel(self, vm: VmId, unwanted: Callable[[Present], bool], error: VolumeError) -> None:
        if self.server is not None:
            self.server.expel(vm, unwanted, error)


def compose(
    settings: ServiceSettings,
    at: Callable[[Point], None] = pass_by,
    around: Around | None = None,
    listen: Listen = channel.listen,
) -> Service:
    """Return the service, not started. ``at`` is called at each crash point, ``around`` stands around the hypervisor of
    the use cases, ``listen`` opens the sockets; only a test or a measurement hands one in.

    With a damaged database it is the read-only service, which says how to rebuild. Raises what the store raises for a
    database that cannot be opened, and what the authority raises that machines are enrolled with.
    """
    clock = SystemClock()
    try:
        store = _open_store(settings, clock)
    except MetadataDamaged as error:
        logs.get("service").error("serving read-only: the database cannot be used", reason=str(error))
        return _compose_read_only(settings, clock, listen, error)
    return _compose(settings, clock, store, at, around, listen)


def _compose(
    settings: ServiceSettings,
    clock: Clock,
    store: SqlStore,
    at: Callable[[Point], None],
    around: Around | None,
    listen: Listen,
) -> Service:
    log, later = logs.get("service"), _Later()
    ours, alarms = _registered(settings, store), Alarms(clock, log)
    hypervisor = open_backend(settings, clock, store, ours, lambda *call: later.timed(*call))
    disks = hypervisor if around is None else around(hypervisor)
    store.set_default_datastore(DEFAULT_VMGROUP, settings.default)
    watch = open_watch(settings, clock, store, disks, alarms, later.connected)
    later.timed = watch.figures.asked_vsphere
    lanes, auditing = Lanes(clock, "volume", watch.figures.waited), watch.auditing
    registry = _open_registry(settings, store, disks, clock, alarms, later)
    parts = Parts(store, disks, lanes, clock, uuid4, log, at, request=lambda: logs.bound_id("call"), admit=auditing.admit)
    verbs = make_verbs(parts, notify=later.notify, retention_s=settings.trash_retention_s)
    housekeeping = Housekeeping(
        parts,
        verbs.journal,
        verbs.removing,
        verbs.whereabouts,
        retention_s=settings.trash_retention_s,
        every_s=settings.housekeeping_s,
    )
    later.strays = lambda: housekeeping.strays.count
    enrolling = None if registry is None else registry.enrolling
    requests = Requests(verbs, service=NAME, renewing=None if enrolling is None else enrolling.renew)
    witness = Witness(requests.answer, auditing, clock, name=verbs.handover.name, volume=store.volume)
    later.callers = callers = Callers(disks, store, clock, alarms, None if enrolling is None else enrolling.presented)
    later.server = Server(
        _addresses(settings, remote=registry is not None),
        logged(watch.observer.around(witness.answer)),
        watch.observer.greeting(callers.identify),
        clock,
        service=NAME,
        listen=listen,
        secure=None if registry is None else registry.secure,
        admit=callers.admit,
        whose=callers.whose,
        strangers=refuse_strangers if enrolling is None else enrolling.stranger,
    )
    admin = _open_admin(settings, store, verbs, ours, clock, listen, later, registry, watch.rows(housekeeping, registry), watch)
    return Service(settings, clock, later.server, lanes, hypervisor, housekeeping, store, admin, registry)


def _compose_read_only(settings: ServiceSettings, clock: Clock, listen: Listen, damage: MetadataDamaged) -> Service:
    log, lanes = logs.get("service"), Lanes(clock, "volume")
    hypervisor = open_backend(settings, clock, None, _registered(settings, None))
    requests = ReadOnlyRequests(hypervisor, lanes, uuid4, log, damage.text, remedy=damage.remedy, service=NAME)
    callers = Callers(hypervisor, None, clock, Alarms(clock, log))
    secure = _secured(settings, clock)
    server = Server(
        _addresses(settings, remote=secure is not None),
        logged(requests.answer),
        callers.identify,
        clock,
        service=NAME,
        listen=listen,
        secure=secure,
        admit=callers.admit,
        whose=callers.whose,
        strangers=requests.stranger,
    )
    admin = admin_server(settings, logged(refuse_all(damage)), clock, NAME, listen)
    return Service(settings, clock, server, lanes, hypervisor, None, None, admin)


def _registered(settings: ServiceSettings, store: SqlStore | None) -> Ours:
    """Return the machines of the service, as settings and records know them now."""
    known = [] if store is None else [each.vm for each in store.identities()] + [each.vm for each in store.tickets()]
    return Ours([*(host.id for host in settings.hosts), *known])


def _open_registry(
    settings: ServiceSettings,
    store: SqlStore,
    hypervisor: Hypervisor,
    clock: Clock,
    alarms: Alarms,
    later: _Later,
) -> Registry | None:
    if not settings.listen:
        return None
    # Making certificates costs the start 0.1 s, and most of a sandbox's starts need none.
    from vmdkvol_esx.registry import open_registry

    return open_registry(
        settings, store, hypervisor, clock, alarms, connected=later.connected, note=later.note, expel=later.expel
    )


def _open_admin(
    settings: ServiceSettings,
    store: SqlStore,
    verbs: Verbs,
    ours: Ours,
    clock: Clock,
    listen: Listen,
    later: _Later,
    registry: Registry | None,
    watched: Rows,
    watch: Watch,
) -> Server:
    enrolments = make_enrolments(
        settings,
        store,
        verbs.parts.hypervisor,
        ours,
        clock,
        authority=None if registry is None else registry.authority,
        connected=later.connected,
        ended=later.note if registry is None else registry.ended,
        give=token_giver(settings, verbs.parts.hypervisor),
    )
    nouns = noun_rows(verbs, store, later.connected, NAME, lambda: later.strays())
    desk = open_desk({**watched, **nouns}, store, verbs.parts.hypervisor, enrolments, clock, watch.auditing)
    return admin_server(settings, logged(watch.observer.around(desk.answer)), clock, NAME, listen)


def _secured(settings: ServiceSettings, clock: Clock) -> Secure | None:
    """Return what secures connections of a service that only says what is wrong with it; None if there is nothing."""
    if not settings.listen:
        return None
    from vmdkvol_esx.registry import open_secured

    try:
        return open_secured(settings, clock, enrolled=True)[1]
    except VolumeError as error:
        logs.get("service").error("serving Unix sockets alone", reason=str(error))
        return None


def _addresses(settings: ServiceSettings, *, remote: bool) -> dict[Address, VmId | None]:
    found: dict[Address, VmId | None] = {
        UnixAddress(Path(host.socket)): host.id for host in settings.hosts if host.socket is not None
    }
    return found | dict.fromkeys(map(parse_address, settings.listen if remote else ()), None)


def _open_store(settings: ServiceSettings, clock: Clock) -> SqlStore:
    """Return the store; MetadataDamaged also if there is none while there are disks, or what there is cannot be read."""
    database = Path(settings.database)
    if not database.exists():
        with opened(settings, clock) as hypervisor:
            check_new(hypervisor, str(database))
    return open_store(database, clock)


@contextmanager
def opened(settings: ServiceSettings, clock: Clock) -> Iterator[Backend]:
    """A hypervisor for a look before there is a store."""
    hypervisor = open_backend(settings, clock, None)
    try:
        yield hypervisor
    finally:
        hypervisor.stop(Deadline.after(clock, END_S))
