"""The vSphere simulator as a process of a test: built once, started with a folder of its own, ended by its pid."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from select import select
from typing import Any, Literal

ROOT = Path(__file__).parents[2]
Model = Literal["vcenter", "esxi"]
Inside = Callable[[Sequence[str]], list[str]]

# What a VM is told by the library's own API.
LIBRARY_S = frozenset({"on", "off", "suspend", "destroy"})

BUILD_S = 900
# A busy machine has other things to do than to start a process.
START_S = 60.0
END_S = 10.0


@cache
def program() -> Path:
    """Return the built simulator; a RuntimeError that says what to install, if it cannot be built."""
    command = [str(ROOT / "packaging/dev/simulator.sh")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=BUILD_S + 10)
    if done.returncode:
        raise RuntimeError(f"the vSphere simulator cannot be built: {done.stderr.strip()}")
    return Path(done.stdout.strip())


@dataclass(frozen=True, slots=True)
class Pair:
    cert: str
    key: str


@dataclass(frozen=True, slots=True)
class Certificates:
    """All of one authority, see tests/vsphere/simulator/certificates.go."""

    ca: str
    good: Pair
    other: Pair
    elsewhere: Pair
    expired: Pair


def certificates() -> Certificates:
    """Return certificates that nobody had before."""
    done = subprocess.run([str(program()), "-certificates"], capture_output=True, check=True, timeout=60)
    made = json.loads(done.stdout)
    return Certificates(made.pop("ca"), **{name: Pair(**pair) for name, pair in made.items()})


@dataclass(slots=True)
class Simulator:
    """A running simulator. ``password`` is made up for it; ``port`` stays the same when it is started ``again``."""

    model: Model
    folder: Path
    password: str
    process: subprocess.Popen[bytes]
    port: int
    account: str
    ca: str
    pair: Pair
    flags: tuple[str, ...] = ()
    # How often something was asked of our own additions, which no test does that is marked vcsim_pure.
    injected: int = 0

    def calls(self) -> Mapping[str, int]:
        """Return how often each method was asked for."""
        found: Mapping[str, int] = json.loads(self._get("/ctl/calls"))
        return found

    def operations(self, method: str) -> Sequence[str]:
        """Return the ``operationID`` of each call of ``method`` that had one, in their order."""
        self.injected += 1
        found: list[dict[str, str]] = json.loads(self._get("/ctl/operations")) or []
        return [each["id"] for each in found if each["method"] == method]

    def answer_next_with(self, status: int) -> None:
        """Let the next call be answered with this HTTP status, and not be carried out."""
        self._get(f"/ctl/next-status?code={status}")

    def new_task(self) -> str:
        """Return the id of a task that goes on until ``steer`` ends it."""
        self.injected += 1
        return self._get("/ctl/task").decode()

    def steer(self, task: str, do: str, percent: int = 0) -> None:
        """``do``: progress (to ``percent``), succeed, fail, or forget."""
        self.injected += 1
        self._get(f"/ctl/task?id={task}&do={do}&percent={percent}")

    def machine(self, vm: str, do: str, **more: str) -> None:
        """Do to the VM (``vm-42``) what happens to one, see steerMachine in tests/vsphere/simulator/machines.go."""
        self.injected += do not in LIBRARY_S
        self._get("/ctl/vm?" + urllib.parse.urlencode({"vm": vm, "do": do, **more}))

    def datastore(self, name: str, do: str, **more: str | int) -> None:
        """Do to the datastore what happens to one, see steerDatastore in tests/vsphere/simulator/datastores.go."""
        self.injected += 1
        self._get("/ctl/datastore?" + urllib.parse.urlencode({"name": name, "do": do, **more}))

    def policy(self, vm: str, path: str, do: str, to: str = "") -> None:
        """Do to a disk's policy what vCenter does of itself or in its client, see steerPolicy in .../simulator/profiles.go."""
        self.injected += 1
        self._get("/ctl/policy?" + urllib.parse.urlencode({"vm": vm, "path": path, "do": do, "to": to}))

    def next(self, method: str, do: str, **more: str | int) -> None:
        """Let something happen to the next calls of ``method``, see the rules in tests/vsphere/simulator/rules.go."""
        self.injected += 1
        self._get("/ctl/rule?" + urllib.parse.urlencode({"method": method, "do": do, **more}))

    def clear(self) -> None:
        """Take away what ``next`` has said."""
        self._get("/ctl/rule?do=clear")

    def _get(self, path: str) -> bytes:
        context = ssl.create_default_context(cadata=self.ca)
        try:
            with urllib.request.urlopen(f"https://localhost:{self.port}{path}", context=context, timeout=30) as answer:
                content: bytes = answer.read()
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{path}: {error.read().decode().strip()}") from error
        return content

    def end(self) -> None:
        """End the process, by its pid; afterwards nothing of it is left, not its datastores' folders either."""
        _end(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """End it as a power failure does: nobody is told, the folders stay."""
        self.process.kill()
        _end(self.process)

    def again(self, *, same_certificate: bool = True) -> None:
        """Start it anew on the same port: the same machines, no session."""
        listen = f"127.0.0.1:{self.port}"
        said = _start(self.model, self.folder, self.password, listen, self.flags, self.pair if same_certificate else None)
        self.process = said.process
        if not same_certificate:
            self.ca, self.pair = said.ca, said.pair


@contextmanager
def simulator(model: Model, folder: Path, *flags: str, inside: Inside = list) -> Iterator[Simulator]:
    """Run a simulator whose files lie in ``folder``, which goes with it; ``flags`` are those of its program.

    ``inside`` makes of a command one that runs in some namespace, where alone it is then reached.
    """
    found = _start(model, folder, secrets.token_urlsafe(12), "127.0.0.1:0", flags, inside=inside)
    try:
        yield found
    finally:
        found.end()


def _start(
    model: Model,
    folder: Path,
    password: str,
    listen: str,
    flags: tuple[str, ...],
    pair: Pair | None = None,
    *,
    inside: Inside = list,
) -> Simulator:
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(program()), "-model", model, "-listen", listen, *flags]
    if pair is not None:
        file = folder / "pair.pem"
        file.write_text(pair.cert + pair.key)
        command += ["-pair", str(file)]
    # Its standard input is a pipe of ours: it ends when we do, however that happens.
    process = subprocess.Popen(
        inside(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(folder / "log").open("ab"),
        env={**os.environ, "TMPDIR": str(folder), "SIMULATOR_PASSWORD": password},
    )
    try:
        said = _first_line(process)
    except BaseException:
        _end(process)
        raise
    port = int(said["url"].rsplit(":", 1)[1])
    own = Pair(said["cert"], said["key"])
    return Simulator(model, folder, password, process, port, said["account"], said["ca"], own, flags)


def _first_line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    ready, _, _ = select([process.stdout], [], [], START_S)
    line = process.stdout.readline() if ready else b""
    if not line:
        raise RuntimeError(f"the simulator said nothing within {START_S:g} s; its exit code is {process.poll()}")
    said: dict[str, Any] = json.loads(line)
    return said


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END_S)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
