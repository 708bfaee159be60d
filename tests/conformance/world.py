"""One engine and one volume plugin, and how a case speaks to both. Which plugin it is, no case knows."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.conformance.wire import Wire, post
from tests.integration.engine.bench import Bench, Docker
from tests.integration.engine.engine import IMAGE, Engine
from tests.integration.engine.machine import Machine, wait_until

# What a start or an exit may take on a loaded machine.
PATIENCE_S = 60.0
ID = "{:064x}"


class Daemon(Protocol):
    """The plugin's process, for plugins that the suite itself has started."""

    def kill(self) -> None:
        """kill -9."""

    def stop(self) -> None:
        """End it as an administrator does."""

    def start(self) -> None:
        """Return when it serves; nothing if it does already."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: nothing at all (``status`` None) if the plugin ended the connection."""

    status: int | None
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        try:
            data = json.loads(self.body)
        except ValueError:
            raise AssertionError(f"the answer is not JSON: {self.body[:300]!r}") from None
        assert isinstance(data, dict), f"the answer is no JSON object: {self.body[:300]!r}"
        return data

    @property
    def error(self) -> str:
        """Return the ``Err`` text; "" for success."""
        return str(self.json.get("Err") or "")

    @property
    def refused(self) -> bool:
        """Tell whether the plugin said no, or hung up; success is neither."""
        return self.status is None or self.status != 200 or self.error != ""


@dataclass
class World:
    """``options`` are given to each create. ``bench`` is there for our own plugin only."""

    machine: Machine
    engine: Engine
    driver: str
    socket: Path
    options: Mapping[str, str] = field(default_factory=dict)
    daemon: Daemon | None = None
    bench: Bench | None = None
    start_second: Callable[[], Docker] | None = None
    in_swarm: bool = False
    _wire: Wire | None = None
    _second: Docker | None = None
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    # --- Docker's commands -------------------------------------------------------------------------------------------

    @property
    def docker(self) -> Docker:
        return Docker(self.engine, self.driver)

    def said(self, *argv: str) -> str:
        return self.engine.said(*argv)

    def create(self, name: str | None = None, *words: str, driver: str | None = None) -> str:
        """Create a volume that must be made; return its name."""
        name = name or self.fresh()
        self.said(*self.create_command(name, *words, driver=driver))
        return name

    def create_command(self, name: str, *words: str, driver: str | None = None) -> list[str]:
        options = [word for key, value in self.options.items() for word in ("-o", f"{key}={value}")]
        return ["volume", "create", "-d", driver or self.driver, *options, *words, "--", name]

    def fresh(self, stem: str = "v") -> str:
        """Return a name that no case had before."""
        return f"{stem}{next(self._numbers)}"

    def sh(self, volume: str, script: str, *options: str) -> str:
        """Run ``script`` in a new container that has the volume at /data; return what it prints."""
        mount = ("--mount", f"type=volume,source={volume},target=/data")
        return self.said("run", "--rm", "--network", "none", *mount, *options, IMAGE, "sh", "-c", script)

    def container(self, name: str, *options: str, script: str = "sleep 10000") -> str:
        """Start a container that stays until it is removed."""
        self.said(
            "run", "-d", "--name", name, "--network", "none", "--stop-signal", "KILL", *options, IMAGE, "sh", "-c", script
        )
        return name

    def inside(self, container: str, script: str) -> str:
        return self.said("exec", container, "sh", "-c", script)

    def count(self, container: str, *command: str) -> int:
        """Return the number that a command prints first in a container; 0 while that does not run, or prints none."""
        done = self.engine.docker("exec", container, *command, check=False)
        # An engine says on standard output, too, why it ran nothing.
        number = re.match(r"\d+", done.stdout)
        return int(number[0]) if number else 0

    def inspect(self, name: str) -> dict[str, Any]:
        (volume,) = json.loads(self.said("volume", "inspect", "--", name))
        return dict(volume)

    def volumes(self) -> list[str]:
        """Return the names that `docker volume ls` shows of this driver."""
        return self.said("volume", "ls", "-q", "--filter", f"driver={self.driver}").splitlines()

    def state(self, container: str) -> str:
        return self.said("inspect", "-f", "{{.State.Status}}", container)

    # --- the plugin's socket -----------------------------------------------------------------------------------------

    def raw(self, endpoint: str, body: bytes, *, method: str = "POST") -> Answer:
        """Send bytes to the plugin as Docker does; ``endpoint`` with a slash is a whole path."""
        path = endpoint if endpoint.startswith("/") else f"/VolumeDriver.{endpoint}"
        try:
            return Answer(*post(self.socket, path, body, method=method))
        except (ConnectionError, http.client.HTTPException):
            return Answer(None, b"")

    def call(self, endpoint: str, **body: Any) -> Answer:
        return self.raw(endpoint, json.dumps(body).encode())

    def told(self, endpoint: str, **body: Any) -> dict[str, Any]:
        """Call the plugin; the answer must be a success."""
        answer = self.call(endpoint, **body)
        assert answer.status == 200, f"{endpoint} {body}: {answer}"
        assert answer.error == "", f"{endpoint} {body}: {answer.error}"
        return answer.json

    def make(self, name: str | None = None) -> str:
        """Create a volume at the socket."""
        name = name or self.fresh()
        self.told("Create", Name=name, Opts=dict(self.options))
        return name

    def mount(self, name: str, number: int = 1) -> str:
        """Mount at the socket for container ``number``; return the path."""
        path = str(self.told("Mount", Name=name, ID=ID.format(number))["Mountpoint"])
        assert path.startswith("/"), f"Mountpoint {path!r} is not an absolute path: a container would get something else"
        assert self.machine.path(path).is_dir(), f"Mountpoint {path} is not a directory"
        return path

    def unmount(self, name: str, number: int = 1) -> None:
        self.told("Unmount", Name=name, ID=ID.format(number))

    def listed(self) -> list[str]:
        """Return the names in the plugin's own List."""
        return sorted(volume["Name"] for volume in self.told("List").get("Volumes") or ())

    def write(self, path: str, text: str) -> None:
        """Write a file of the mounted volume, as a container does."""
        self.machine.run("sh", "-c", f"cat > {shlex.quote(path)}/note && sync {shlex.quote(path)}/note", stdin=text.encode())

    def read(self, path: str) -> str:
        return self.machine.run("sh", "-c", f"cat {shlex.quote(path)}/note").stdout

    # --- other engines, other lines ----------------------------------------------------------------------------------

    @property
    def second(self) -> Docker:
        """Return another host of the same plugin, with an engine of its own."""
        assert self.start_second is not None
        self._second = self._second or self.start_second()
        return self._second

    @property
    def wire(self) -> Wire:
        """Return a broken line to the plugin; ``wire_driver`` is the engine's name for it.

        It stays until the end: an engine that has met a driver waits 15 s for it again and again (docker-facts 2.1).
        """
        if self._wire is None:
            self._wire = Wire(self.socket.with_name(f"{self.wire_driver}.sock"), self.socket)
        return self._wire

    @property
    def wire_driver(self) -> str:
        return f"{self.driver}-wire"

    @property
    def ours(self) -> Bench:
        assert self.bench is not None
        return self.bench

    @property
    def process(self) -> Daemon:
        assert self.daemon is not None
        return self.daemon

    # --- between cases -----------------------------------------------------------------------------------------------

    def prepare(self, group: str) -> None:
        """Put away what only the groups before needed."""
        if group != "swarm" and self.in_swarm:
            self.said("swarm", "leave", "--force")
            self.in_swarm = False

    def clean(self) -> None:
        """Afterwards there is no container and no volume; what cannot be removed fails the case that made it."""
        if self._wire is not None:
            self._wire.reset()
        if self.in_swarm:
            services = self.said("service", "ls", "-q").split()
            if services:
                self.said("service", "rm", *services)
                wait_until(lambda: not self.said("ps", "-aq").split(), "the tasks' containers are gone", PATIENCE_S)
        hosts = [docker.engine for docker in (self._second, self.docker) if docker is not None]
        # A volume cannot be removed on one host while a container of another has it.
        for empty in (_remove_containers, _remove_volumes):
            for engine in hosts:
                empty(engine)
        left = self.listed()
        for name in left:
            # Made at the socket: the engine may have another driver's name for it.
            self.told("Remove", Name=name)
        if self.bench is not None:
            assert self.bench.files() == [], "no volume is left, and files of one are"

    def recover(self) -> None:
        """After a failed case: bring everything up again, whatever it left, as far as that can be done."""
        if self.daemon is not None:
            self.daemon.start()
        self.engine.kill9()
        self.engine.start()
        self.prepare("")
        for docker in filter(None, (self._second, self.docker)):
            engine = docker.engine
            for container in engine.said("ps", "-aq").split():
                engine.docker("rm", "-f", container, check=False)
            for name in engine.said("volume", "ls", "-q").splitlines():
                engine.docker("volume", "rm", "-f", "--", name, check=False)
        for name in self.listed():
            for number in range(1, 100):
                self.call("Unmount", Name=name, ID=ID.format(number))
            for holder in (self.told("Get", Name=name)["Volume"].get("Status") or {}).get("holders", ()):
                self.call("Unmount", Name=name, ID=holder)
            self.call("Remove", Name=name)

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()


def _remove_containers(engine: Engine) -> None:
    containers = engine.said("ps", "-aq").split()
    if containers:
        engine.said("rm", "-f", "-v", *containers)


def _remove_volumes(engine: Engine) -> None:
    # Once each: an engine that was restarted asks every plugin that it finds, and more than one of them may be the driver's.
    volumes = dict.fromkeys(engine.said("volume", "ls", "-q").splitlines())
    if volumes:
        engine.said("volume", "rm", "--", *volumes)
