"""Where the rows are measured: subjects, an engine, a bare Flask, made when they are first asked for, ended together."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.around import PROFILE
from tests.bench.figures import Round
from tests.bench.here import Here
from tests.bench.lines import Effort
from tests.bench.subject import Subject
from tests.daemons.site import Host, eventually, listens
from tests.integration.engine.bench import Docker
from tests.integration.engine.engine import Engine
from vmdkvol_guest.settings import AgentSettings

Side = Callable[[], float]
# The outer machine forgets the control groups of engines of these names.
ENGINES = ("bench-a", "bench-b", "bench-c")
# Longer than what a command does after its Unmount.
LINGER_S = 0.5


@dataclass(slots=True)
class Flask:
    """The bare Flask application of ``flask_floor``, running."""

    process: subprocess.Popen[bytes]
    host: Host

    @property
    def pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]


@dataclass(slots=True)
class Stage:
    """``root`` is a directory of its own inside the machine. ``spoil`` is what every subject does wrong, if anything.

    ``step`` is told how far a row is: done, of so many.
    """

    root: Path
    effort: Effort
    random: random.Random
    step: Callable[[int, int], None]
    spoil: str = ""
    _subjects: dict[str, Subject] = field(default_factory=dict)
    _engine: Engine | None = None
    _flask: Flask | None = None
    _numbers: int = 0
    _engines: int = 0

    def subject(self) -> Subject:
        """The product as it is, with the local hypervisor. No detach falls into a call or a command."""
        return self._started("plain", None, linger_s=LINGER_S)

    def counted(self) -> Subject:
        """The same with a note of each call that the hypervisor gets."""
        return self._started("counted", {})

    def slow(self) -> Subject:
        """The same with a hypervisor that needs its time for every change."""
        return self._started("slow", self.delays())

    def delays(self) -> dict[str, float]:
        return {change: seconds * self.effort.delays for change, seconds in PROFILE.items()}

    def filled(self, name: str, fill: Callable[[Subject], object]) -> Subject:
        """The product with volumes that ``fill`` makes before the service is started for the first time."""
        return self._started(name, None, fill)

    def docker(self, driver: str) -> Docker:
        """One engine for all rows; it finds the subjects' sockets by their names."""
        if self._engine is None:
            # Each with a name of its own: a containerd that did not end would be in the way of the next one.
            self._engines += 1
            engine = Engine(Here(self.root.parent), ENGINES[self._engines % len(ENGINES)])
            engine.start()
            engine.import_busybox()
            self._engine = engine
        return Docker(self._engine, driver)

    def service_alone(self, name: str) -> Subject:
        """The product's service, and an agent that is not started: a row starts and stops it as it likes."""
        if name not in self._subjects:
            self._subjects[name] = Subject(self.root / name, name, spoil=self.spoil)
            self._subjects[name].service.start()
        return self._subjects[name]

    def flask_command(self, socket: Path) -> list[str]:
        return [sys.executable, "-m", "tests.bench.flask_floor", str(socket), str(AgentSettings().threads)]

    def flask(self) -> Flask:
        if self._flask is None:
            self._flask = self._start_flask()
        return self._flask

    def name(self, word: str = "v") -> str:
        """Return a name that no volume had."""
        self._numbers += 1
        return f"{word}{self._numbers}"

    def directory(self, name: str) -> Path:
        """Return an empty directory on the file system of the datastores."""
        path = self.root / "floors" / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def turns(self, rounds: int, sides: Mapping[str, Side]) -> list[dict[str, float]]:
        """Run each side once a round, in an order that is drawn anew each time."""
        found = []
        for number in range(rounds):
            order = list(sides)
            self.random.shuffle(order)
            taken = {side: sides[side]() for side in order}
            found.append(taken)
            self.step(number + 1, rounds)
        return found

    def compare(self, ours: Side, floor: Side, rounds: int | None = None) -> list[Round]:
        """Run ours, the floor, and the floor again in turns."""
        sides = {"ours": ours, "floor": floor, "again": floor}
        return [Round(**taken) for taken in self.turns(rounds or self.effort.rounds, sides)]

    def close(self) -> None:
        """End everything; what is asked for afterwards is made anew."""
        subjects, self._subjects = self._subjects, {}
        engine, self._engine = self._engine, None
        flask, self._flask = self._flask, None
        if engine is not None:
            engine.stop()
            for pid in engine.machine.processes(f"/engine-{engine.name}/containerd.toml"):
                engine.machine.kill(pid)
        for subject in subjects.values():
            subject.close()
            shutil.rmtree(subject.root)
        if flask is not None:
            flask.process.send_signal(signal.SIGTERM)
            flask.process.wait(30)

    def _started(
        self,
        name: str,
        delays: Mapping[str, float] | None,
        fill: Callable[[Subject], object] | None = None,
        **settings: Any,
    ) -> Subject:
        if name not in self._subjects:
            # Learning thousands of names may need more than one look, and none comes for the rest of the row otherwise.
            settings |= {"reconcile_s": 5.0} if fill is not None else {}
            subject = Subject(self.root / name, name, delays=delays, spoil=self.spoil, **settings)
            self._subjects[name] = subject
            if fill is not None:
                fill(subject)
            subject.start()
        return self._subjects[name]

    def _start_flask(self) -> Flask:
        socket = self.root / "flask.sock"
        with (self.root / "flask.log").open("ab") as log:
            process = subprocess.Popen(
                self.flask_command(socket), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        eventually(partial(listens, socket), "the bare Flask listens")
        host = Host("flask", self.subject().host.agent, socket, self.root)
        host.call("Get", Name="first")
        return Flask(process, host)
