"""The agent in gunicorn's worker: everything with a thread or a connection is made after the fork.

A worker that is not yet alone on this host answers what changes nothing; everything else waits until it is
(corrections 15).
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmdkvol import __version__, logs
from vmdkvol.addresses import parse_address
from vmdkvol.channel import connect
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.dialing import checked
from vmdkvol.errors import NoSpace, NotPermitted, VolumeError
from vmdkvol.lanes import unmeasured
from vmdkvol.line import Line
from vmdkvol.messages import Welcome
from vmdkvol.tls import AgentSide
from vmdkvol_guest.composing import Agent, At, Identity, MakeDevices, boot_id, compose
from vmdkvol_guest.guards import is_alone, open_instance, wait_alone
from vmdkvol_guest.linux.devices import LinuxDevices
from vmdkvol_guest.settings import AgentSettings

if TYPE_CHECKING:
    from vmdkvol_guest.watching import Watching

_NAME = f"vmdkvol-agent {__version__}"
_SLOW = frozenset(f"/VolumeDriver.{name}" for name in ("Create", "Remove", "Mount", "Unmount"))


class Worker:
    """What one gunicorn worker serves: a door that lets through what may be answered before the agent may act."""

    def __init__(self, settings: AgentSettings, at: At, devices: MakeDevices = LinuxDevices) -> None:
        self._settings = settings
        self._at = at
        self._devices = devices
        self._clock = SystemClock()
        self._identity = Identity(self._clock)
        self._changed = threading.Condition()
        self._acting: Agent | None = None
        self._early: Agent | None = None
        self._activated = False
        self._waiting = 0
        _make_directories(settings)
        # Read at each try: an identity that comes while the agent runs is used at once.
        side = AgentSide(settings.identity_file, settings.authority_file) if settings.remote else None
        self._line = Line(
            parse_address(settings.service),
            self._clock,
            agent=_NAME,
            boot_id=boot_id(),
            secure=side,
            connect=connect if side is None else checked(side.check),
            on_up=self._greeted,
            on_down=self._lost,
        )
        self._watching = self._open_watching()
        self._app = self._answer if self._watching is None else self._watching.figures.around(self._answer)
        self._served_early = 0
        self._lock = open_instance(Path(settings.run_dir) / "instance.lock")
        if is_alone(self._lock):
            self._acting = self._compose()
            self._act(self._acting)
        else:
            # It reads what the other worker still writes, so another one is made when this one may act.
            self._early = self._compose(activated=self._note_activate, early=True)
            self._clock.start("instance", self._act_when_alone)
        self._line.start()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return self._app(environ, start_response)

    def _open_watching(self) -> Watching | None:
        if self._settings.metrics is None:
            return None
        # Its library costs the start some 0.1 s, and most agents need none.
        from vmdkvol_guest.watching import Watching

        return Watching(self._settings.metrics, self._line, self._clock, lambda: self._acting is not None)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        acting = self._acting or self._await(environ["PATH_INFO"])
        return self._serve_early(environ, start_response) if acting is None else acting.app(environ, start_response)

    def _compose(self, *, activated: Callable[[], None] | None = None, early: bool = False) -> Agent:
        return compose(
            self._settings,
            self._line,
            self._identity,
            self._at,
            activated=activated,
            early=early,
            devices=self._devices,
            waited=unmeasured if self._watching is None else self._watching.figures.waited,
        )

    def stop(self) -> None:
        """Let go of everything but mounts and attached disks; containers go on."""
        if not self._line.up:
            # Who asks an absent service is told so now: a stop must not wait until each question's time is over.
            self._line.close()
        if self._watching is not None:
            self._watching.stop()
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
            wait_alone(self._lock)
            agent = self._compose()
            self._act(agent)
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

    def _act(self, agent: Agent) -> None:
        agent.start()
        if self._watching is not None:
            self._watching.start()
        logs.get("agent").info("serving", driver=self._settings.driver, version=__version__)

    def _note_activate(self) -> None:
        with self._changed:
            self._activated = True
            acting = self._acting
        if acting is not None:
            acting.reconcile.activated()

    def _greeted(self, welcome: Welcome) -> None:
        self._identity.learn(welcome)
        if self._watching is not None:
            self._watching.figures.connected()
        for agent in (self._early, self._acting):
            if agent is not None:
                agent.greeted()

    def _lost(self, _: VolumeError) -> None:
        for agent in (self._early, self._acting):
            if agent is not None:
                agent.catalogue.lost()


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
