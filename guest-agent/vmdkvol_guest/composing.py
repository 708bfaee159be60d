"""The agent's parts put together: alone names what stands behind each port. Nothing in them runs before ``start``."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from vmdkvol import logs
from vmdkvol.clock import Clock, Deadline, SystemClock
from vmdkvol.errors import ServiceUnreachable
from vmdkvol.lanes import Lanes, unmeasured
from vmdkvol.line import PATIENCE_S, Line
from vmdkvol.messages import OLDEST_VERSION, Welcome
from vmdkvol.points import Point, pass_by
from vmdkvol.volume import VmId
from vmdkvol_guest.app import create_app
from vmdkvol_guest.arrivals import Arrivals
from vmdkvol_guest.catalogue import Catalogue
from vmdkvol_guest.driver import Driver
from vmdkvol_guest.enrolling import Renewing
from vmdkvol_guest.enrolment import renewing
from vmdkvol_guest.gate import Gate
from vmdkvol_guest.linux.commands import Commands
from vmdkvol_guest.linux.devices import LinuxDevices
from vmdkvol_guest.linux.filesystems import LinuxFilesystems
from vmdkvol_guest.linux.mounts import LinuxMounts
from vmdkvol_guest.mounting import Mounting
from vmdkvol_guest.notebook import SqliteNotebook
from vmdkvol_guest.parts import Limits, Parts
from vmdkvol_guest.ports import Devices
from vmdkvol_guest.reconcile import Reconcile
from vmdkvol_guest.settings import AgentSettings

At = Callable[[Point], None]
# How this host sees its disks; asked for who this host is, as far as the service has said it.
MakeDevices = Callable[[Clock, Callable[[], VmId | None]], Devices]
Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]

# What the work that goes on after its answer may take at the end of the process; what it leaves is found at the start.
_DRAIN_S = 5.0


@dataclass(slots=True)
class Agent:
    """The agent's parts in one worker. ``start`` when this process is alone on the host; ``stop`` leaves mounts alone."""

    app: Wsgi
    gate: Gate
    parts: Parts
    catalogue: Catalogue
    reconcile: Reconcile
    notebook: SqliteNotebook
    commands: Commands
    renewing: Renewing | None

    def start(self) -> None:
        self.parts.service.subscribe(self.reconcile.told)
        self.reconcile.start()
        self.gate.open()
        if self.renewing is not None:
            self.renewing.start()

    def greeted(self) -> None:
        """The service is there, again: ask it, and look at what it says is attached here."""
        self.catalogue.greeted()
        self.reconcile.wake(None)

    def stop(self) -> None:
        self.reconcile.stop()
        self.parts.lanes.drain(Deadline.after(self.parts.clock, _DRAIN_S))
        self.commands.stop()
        if self.renewing is not None:
            self.renewing.stop(Deadline.after(self.parts.clock, _DRAIN_S))
        self.notebook.end()


class Identity:
    """Who the service says this host is: kept while the line is down, since a host does not become another one."""

    def __init__(self, clock: Clock, patience_s: float = PATIENCE_S) -> None:
        self._clock = clock
        self._patience_s = patience_s
        self._learned = clock.condition()
        self._vm: VmId | None = None
        self._name = ""

    def learn(self, welcome: Welcome) -> None:
        with self._learned:
            self._name = welcome.vm_name
            self._vm = welcome.vm
            self._learned.notify_all()

    def vm_or_none(self) -> VmId | None:
        return self._vm

    def vm(self) -> VmId:
        """Return it; wait for the first Hello as long as a question would: an agent has often just been restarted.

        Raises ServiceUnreachable if it does not come.
        """
        deadline = Deadline.after(self._clock, self._patience_s)
        with self._learned:
            while self._vm is None:
                if deadline.passed:
                    raise ServiceUnreachable("the service was not reached yet, so this host does not know which one it is")
                self._learned.wait(deadline.left_s)
            return self._vm

    def vm_name(self) -> str:
        self.vm()
        return self._name


def compose(
    settings: AgentSettings,
    line: Line,
    identity: Identity,
    at: At = pass_by,
    *,
    activated: Callable[[], None] | None = None,
    early: bool = False,
    devices: MakeDevices = LinuxDevices,
    waited: Callable[[str, float], None] = unmeasured,
) -> Agent:
    """Return the agent's parts, not started; the line is the caller's. ``at`` is called at each crash point.

    An ``early`` one is never started, so it refuses slow calls at once: they have waited for the acting one already.
    ``waited`` hears how long work waited for its turn.
    """
    clock = SystemClock()
    commands = Commands(clock)
    log = logs.get("agent")
    notebook = SqliteNotebook(Path(settings.run_dir), Path(settings.state_dir), boot_id(), log)
    parts = Parts(
        service=line,
        devices=devices(clock, identity.vm_or_none),
        filesystems=LinuxFilesystems(commands),
        mounts=LinuxMounts(Path(settings.run_dir) / "mnt", clock),
        notebook=notebook,
        lanes=Lanes(clock, "volume", waited),
        clock=clock,
        arrivals=Arrivals(clock),
        vm=identity.vm,
        vm_name=identity.vm_name,
        new_id=uuid4,
        log=log,
        limits=_limits(settings, early=early),
        at=at,
        up=lambda: line.up,
        speaks=lambda: OLDEST_VERSION if (welcome := line.welcome) is None else welcome.version,
        request=lambda: logs.bound_id("request"),
    )
    catalogue = Catalogue(parts, lambda: line.up)
    reconcile = Reconcile(parts, lambda: random.uniform(0.9, 1.1), [catalogue.refresh])
    gate = Gate(clock, slots=settings.slow_threads, waiting=(settings.threads - settings.slow_threads) // 2)
    driver = Driver(parts, catalogue, Mounting(parts, reconcile.wake), reconcile.release, reconcile.wake)
    app = _app(driver, gate, parts, activated or reconcile.activated)
    renews = None if early else renewing(settings, line, commands, clock)
    return Agent(app, gate, parts, catalogue, reconcile, notebook, commands, renews)


def _app(driver: Driver, gate: Gate, parts: Parts, activated: Callable[[], None]) -> Wsgi:
    return create_app(
        driver,
        gate,
        clock=parts.clock,
        limits=parts.limits,
        new_id=uuid4,
        log=parts.log,
        bound=logs.bound,
        activated=activated,
    )


def _limits(settings: AgentSettings, *, early: bool) -> Limits:
    """Return the limits that follow from the settings: each part's own error comes before the whole's."""
    limits = Limits(
        create_s=settings.slow_limit_s,
        mount_s=settings.slow_limit_s,
        unmount_s=settings.short_limit_s,
        remove_s=settings.short_limit_s,
        get_s=settings.get_limit_s / 4,
        list_s=settings.get_limit_s / 2,
        away_s=settings.get_limit_s / 2,
        ask_s=settings.slow_limit_s * 0.9,
        release_s=settings.short_limit_s * 0.8,
        linger_s=settings.linger_s,
        reconcile_s=settings.reconcile_s,
    )
    return replace(limits, create_s=0.0, mount_s=0.0, unmount_s=0.0, remove_s=0.0) if early else limits


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
