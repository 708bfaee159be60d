"""The agent's parts put together, in gunicorn's worker: everything with a thread or a connection is made after the fork.

A worker that is not yet alone on this host answers what changes nothing; everything else waits until it is
(corrections 15).
"""

from __future__ import annotations

import errno
import os
import random
import stat
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from vmdkvol import __version__, logs
from vmdkvol.channel import Address
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import NoSpace, NotPermitted, ServiceUnreachable
from vmdkvol.lanes import Lanes
from vmdkvol.line import Line
from vmdkvol.messages import Welcome
from vmdkvol.points import Point, pass_by
from vmdkvol.volume import VmId
from vmdkvol_guest.app import create_app
from vmdkvol_guest.arrivals import Arrivals
from vmdkvol_guest.catalogue import Catalogue
from vmdkvol_guest.driver import Driver
from vmdkvol_guest.gate import Gate
from vmdkvol_guest.guards import lock_instance
from vmdkvol_guest.linux.commands import Commands
from vmdkvol_guest.linux.devices import LinuxDevices
from vmdkvol_guest.linux.filesystems import LinuxFilesystems
from vmdkvol_guest.linux.mounts import LinuxMounts
from vmdkvol_guest.mounting import Mounting
from vmdkvol_guest.notebook import SqliteNotebook
from vmdkvol_guest.parts import Limits, Parts
from vmdkvol_guest.reconcile import Reconcile
from vmdkvol_guest.settings import AgentSettings

At = Callable[[Point], None]
Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]

_NAME = f"vmdkvol-agent {__version__}"
# What the work that goes on after its answer may take at the end of the process; what it leaves is found at the start.
_DRAIN_S = 5.0
_SLOW = frozenset(f"/VolumeDriver.{name}" for name in ("Create", "Remove", "Mount", "Unmount"))


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

    def start(self) -> None:
        self.parts.service.subscribe(self.reconcile.told)
        self.reconcile.start()
        self.gate.open()

    def greeted(self) -> None:
        """The service is there, again: ask it, and look at what it says is attached here."""
        self.catalogue.greeted()
        self.reconcile.wake(None)

    def stop(self) -> None:
        self.reconcile.stop()
        self.parts.lanes.drain(Deadline.after(self.parts.clock, _DRAIN_S))
        self.commands.stop()
        self.notebook.end()


class Identity:
    """Who the service says this host is: kept while the line is down, since a host does not become another one."""

    def __init__(self) -> None:
        self._vm: VmId | None = None

    def learn(self, welcome: Welcome) -> None:
        self._vm = welcome.vm

    def vm_or_none(self) -> VmId | None:
        return self._vm

    def vm(self) -> VmId:
        if self._vm is None:
            raise ServiceUnreachable("the service was not reached yet, so this host does not know which one it is")
        return self._vm


class Worker:
    """What one gunicorn worker serves: a door that lets through what may be answered before the agent may act."""

    def __init__(self, settings: AgentSettings, at: At) -> None:
        self._settings = settings
        self._at = at
        self._clock = SystemClock()
        self._identity = Identity()
        self._changed = threading.Condition()
        self._lock: int | None = None
        self._acting: Agent | None = None
        self._activated = False
        self._waiting = 0
        _make_directories(settings)
        self._line = Line(Address.parse(settings.service), self._clock, agent=_NAME, boot_id=_boot_id(), on_up=self._greeted)
        # Before the lock it reads what another worker still writes, so it is made anew when it may act.
        self._early: Agent | None = compose(settings, self._line, self._identity, at, activated=self._note_activate, early=True)
        self._served_early = 0
        self._line.start()
        self._clock.start("instance", self._act_when_alone)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        acting = self._acting or self._await(environ["PATH_INFO"])
        return self._serve_early(environ, start_response) if acting is None else acting.app(environ, start_response)

    def stop(self) -> None:
        """Let go of everything but mounts and attached disks; containers go on."""
        if not self._line.up:
            # Who asks an absent service is told so now: a stop must not wait until each question's time is over.
            self._line.close()
        for agent in (self._early, self._acting):
            if agent is not None:
                agent.stop()
        self._line.close()

    def _serve_early(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with self._changed:
            agent = self._acting or self._early
            assert agent is not None, "there is an early agent until another one acts"
            self._served_early += 1
        try:
            return agent.app(environ, start_response)
        finally:
            with self._changed:
                self._served_early -= 1
            self._drop_early()

    def _drop_early(self) -> None:
        """Close the early agent's notebook once it answers nobody any more: it would say what was true before."""
        with self._changed:
            if self._acting is None or self._served_early:
                return
            early, self._early = self._early, None
        if early is not None:
            early.stop()

    def _await(self, path: str) -> Agent | None:
        """Return the acting agent, waiting for it if the call needs it; None if the call must go on without."""
        if path not in _SLOW:
            return None
        long = path in ("/VolumeDriver.Create", "/VolumeDriver.Mount")
        limit = self._settings.slow_limit_s if long else self._settings.short_limit_s
        deadline = Deadline.after(self._clock, limit - 2.0)
        with self._changed:
            if self._waiting >= self._settings.slow_threads:
                return None
            self._waiting += 1
            while self._acting is None and not deadline.passed:
                self._changed.wait(deadline.left_s)
            self._waiting -= 1
            return self._acting

    def _act_when_alone(self) -> None:
        log = logs.get("agent")
        try:
            self._lock = lock_instance(Path(self._settings.run_dir) / "instance.lock")
            agent = compose(self._settings, self._line, self._identity, self._at)
            agent.start()
        except Exception as error:  # noqa: BLE001 - top of a thread: without its agent the worker is of no use
            log.error("the agent cannot start", error=f"{type(error).__name__}: {error}")
            # gunicorn starts another worker; what fails once may work a moment later, such as a full disk.
            self._clock.sleep(1.0)
            os._exit(1)
        with self._changed:
            self._acting = agent
            activated = self._activated
            self._changed.notify_all()
        if activated:
            agent.reconcile.activated()
        self._drop_early()
        log.info("serving", driver=self._settings.driver, version=__version__)

    def _note_activate(self) -> None:
        with self._changed:
            self._activated = True
            acting = self._acting
        if acting is not None:
            acting.reconcile.activated()

    def _greeted(self, welcome: Welcome) -> None:
        self._identity.learn(welcome)
        for agent in (self._early, self._acting):
            if agent is not None:
                agent.greeted()


def compose(
    settings: AgentSettings,
    line: Line,
    identity: Identity,
    at: At = pass_by,
    *,
    activated: Callable[[], None] | None = None,
    early: bool = False,
) -> Agent:
    """Return the agent's parts, not started; the line is the caller's. ``at`` is called at each crash point.

    An ``early`` one is never started, so it refuses slow calls at once: they have waited for the acting one already.
    """
    clock = SystemClock()
    commands = Commands(clock)
    log = logs.get("agent")
    notebook = SqliteNotebook(Path(settings.run_dir), Path(settings.state_dir), _boot_id(), log)
    limits = _limits(settings, early=early)
    parts = Parts(
        service=line,
        devices=LinuxDevices(clock, identity.vm_or_none),
        filesystems=LinuxFilesystems(commands),
        mounts=LinuxMounts(Path(settings.run_dir) / "mnt", clock),
        notebook=notebook,
        lanes=Lanes(clock, "volume"),
        clock=clock,
        arrivals=Arrivals(clock),
        vm=identity.vm,
        new_id=uuid4,
        log=log,
        limits=limits,
        at=at,
    )
    catalogue = Catalogue(parts, lambda: line.up)
    reconcile = Reconcile(parts, lambda: random.uniform(0.9, 1.1), [catalogue.refresh])
    mounting = Mounting(parts, reconcile.wake)
    driver = Driver(parts, catalogue, mounting, reconcile.release, reconcile.wake)
    gate = Gate(clock, slots=settings.slow_threads, waiting=(settings.threads - settings.slow_threads) // 2)
    app = create_app(
        driver,
        gate,
        clock=clock,
        limits=limits,
        new_id=uuid4,
        log=log,
        bound=logs.bound,
        activated=activated or reconcile.activated,
    )
    return Agent(app, gate, parts, catalogue, reconcile, notebook, commands)


def _limits(settings: AgentSettings, *, early: bool) -> Limits:
    """Return the limits that follow from the settings: each part's own error comes before the whole's."""
    limits = Limits(
        create_s=settings.slow_limit_s,
        mount_s=settings.slow_limit_s,
        unmount_s=settings.short_limit_s,
        remove_s=settings.short_limit_s,
        get_s=settings.get_limit_s / 4,
        list_s=settings.get_limit_s / 2,
        ask_s=settings.slow_limit_s * 0.9,
        release_s=settings.short_limit_s * 0.8,
        linger_s=settings.linger_s,
        reconcile_s=settings.reconcile_s,
    )
    return replace(limits, create_s=0.0, mount_s=0.0, unmount_s=0.0, remove_s=0.0) if early else limits


def _make_directories(settings: AgentSettings) -> None:
    try:
        _make_each_directory(settings)
    except OSError as error:
        kind = NoSpace if error.errno == errno.ENOSPC else NotPermitted
        remedy = "check the file systems of run_dir and state_dir"
        raise kind(f"the agent's directory cannot be used: {error}", remedy=remedy) from error


def _make_each_directory(settings: AgentSettings) -> None:
    # Containers of any uid pass through what is above a mount point (field case C09); names are nobody else's business.
    for directory, mode in ((Path(settings.run_dir), 0o711), (Path(settings.state_dir), 0o700)):
        # One by one: mkdir's own parents would get what gunicorn's umask leaves, and nobody but root could pass.
        for parent in [each for each in reversed(directory.parents) if not each.exists()]:
            _make_directory(parent, 0o711)
        _make_directory(directory, mode)


def _make_directory(directory: Path, mode: int) -> None:
    directory.mkdir(exist_ok=True)
    if stat.S_IMODE(directory.stat().st_mode) != mode:
        directory.chmod(mode)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
