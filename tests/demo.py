"""The main job, shown: a container's data on a VMDK that outlives the container. Run by `make demo`.

Everything happens in a mount and PID namespace of its own with a Docker engine of its own, so that no engine of the
user's learns the driver (corrections 40). Exit 0 only if each step gave what it must, and nothing is left behind.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.integration.engine import loops
from tests.integration.engine.engine import Engine
from tests.integration.engine.machine import CommandFailed, Machine

Expectation = Callable[[str], bool]
# What is shown in a machine with this root; returns what went wrong, or nothing.
Inside = Callable[[Machine, Path], str]


PROGRAMS: Mapping[str, Sequence[str]] = {"vmdkvol": [str(Path(sys.executable).with_name("vmdkvol"))]}


class Unexpected(Exception):
    """A step did not give what it must."""


class Show:
    """Prints each command and its output, and stops at the first that is not as expected."""

    def __init__(self, machine: Machine, env: Mapping[str, str], programs: Mapping[str, Sequence[str]] = PROGRAMS) -> None:
        """``programs``: what is run where a command begins with this word."""
        self._machine = machine
        self._env = env
        self._programs = programs

    def step(self, *argv: str, says: Expectation = lambda _: True, why: str = "", code: int = 0) -> str:
        """Run a command that must exit with ``code`` and whose output must satisfy ``says``; return the output."""
        if why:
            print(f"\n# {why}")
        print("$ " + " ".join(_quoted(word) for word in argv), flush=True)
        done = self._run(argv)
        print((done.stdout + done.stderr).rstrip("\n"), flush=True)
        if done.returncode != code:
            raise Unexpected(f"exit code {done.returncode}")
        if not says(done.stdout):
            raise Unexpected("that is not the expected output")
        return done.stdout

    def until(self, *argv: str, says: Expectation, why: str = "", within_s: float = 60.0) -> None:
        """Run a command until it says so, then as ``step``: what follows of itself comes a moment later."""
        end = time.monotonic() + within_s
        while not says(self._run(argv).stdout) and time.monotonic() < end:
            time.sleep(0.2)
        self.step(*argv, says=says, why=why)

    def _run(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = [*self._programs.get(argv[0], argv[:1]), *argv[1:]]
        return self._machine.run(*command, env=self._env, check=False, timeout_s=150)


def _quoted(word: str) -> str:
    return f"'{word}'" if any(letter in word for letter in " >&;$") else word


def _is_one_gib_volume(output: str) -> bool:
    (volume,) = json.loads(output)
    return volume["Name"] == "db" and volume["Driver"] == "vsphere" and "1073741824" in json.dumps(volume["Status"])


def show_the_main_job(show: Show) -> None:
    """Create, inspect, write, throw the container away, read in another one, list, remove."""
    show.step("vmdkvol", "sandbox", "up", why="A service and a Docker plugin; two directories stand for datastores.")
    made = show.step("docker", "volume", "create", "-d", "vsphere", "db", "-o", "size=1gb", why="A disk of 1 GiB.")
    if made.strip() != "db":
        raise Unexpected("docker did not print the volume's name")
    show.step("docker", "volume", "inspect", "db", says=_is_one_gib_volume)
    write = "echo kept on a VMDK > /data/note; df -h /data"
    first = ("docker", "run", "--name", "first", "--network", "none", "-v", "db:/data", "busybox", "sh", "-c", write)
    show.step(*first, says=lambda text: "/data" in text, why="A container writes. The file system is made at this first mount.")
    show.step("docker", "rm", "first", why="The container is thrown away ...")
    second = ("docker", "run", "--rm", "--network", "none", "-v", "db:/data", "busybox", "cat", "/data/note")
    show.step(*second, says=lambda text: text == "kept on a VMDK\n", why="... and a second one finds the data.")
    show.step("docker", "volume", "ls", says=lambda text: "vsphere   db" in text)
    show.step("vmdkvol", "volume", "ls", says=lambda text: "db" in text.split(), why="The same, as the service sees it.")
    show.step("docker", "volume", "rm", "db", says=lambda text: text.strip() == "db")
    show.step("docker", "volume", "ls", says=lambda text: "db" not in text.split(), why="It is gone.")


def left_behind(root: Path, before: set[str]) -> list[str]:
    """Return what of the demo is still on this machine; ``before`` are the plugin sockets that were there."""
    found = [f"loop device {device} over {file}" for device, file in loops.under(root).items()]
    mountinfo = Path("/proc/self/mountinfo").read_text()
    found += [f"mount {line.split()[4]}" for line in mountinfo.splitlines() if str(root) in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(root).encode() in command and int(process.name) != os.getpid():
            found.append(f"process {process.name}: {command.replace(bytes(1), b' ').decode(errors='replace')[:100]}")
    found += [f"plugin socket {socket}" for socket in sorted(plugin_sockets() - before)]
    if root.exists():
        found.append(str(root))
    return found


def plugin_sockets() -> set[str]:
    """Return the sockets of the demo's driver on the machine itself, which it must not touch; others have other drivers."""
    return {str(path) for path in Path("/run/docker/plugins").glob("vsphere.*")}


def main(inside: Inside | None = None) -> int:
    """Run the demo, or another one of its kind, ``inside``; return the exit code."""
    if os.geteuid() != 0:
        print("demo: must be root: it makes namespaces, mounts and loop devices; run it with sudo", file=sys.stderr)
        return 2
    began = time.monotonic()
    sockets = plugin_sockets()
    # Short: the paths of sockets below it have at most 107 bytes.
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-demo-"))
    trouble = ""
    try:
        with Machine(root) as machine:
            trouble = (inside or _inside)(machine, root)
    except (CommandFailed, AssertionError) as error:
        trouble = str(error)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    rest = left_behind(root, sockets)
    if trouble or rest:
        print(
            "\ndemo: FAILED: " + "; ".join(filter(None, [trouble, *(f"left behind: {what}" for what in rest)])), file=sys.stderr
        )
        return 1
    print(f"\ndemo: every step as expected, nothing left behind, {time.monotonic() - began:.0f} s")
    return 0


def _inside(machine: Machine, root: Path) -> str:
    """Return what went wrong, or nothing."""
    print("# A Docker engine of its own, in a mount and PID namespace of its own; Debian's busybox as the image.")
    engine = Engine(machine)
    engine.start()
    engine.import_busybox()
    sandbox = root / "sandbox"
    show = Show(machine, {"DOCKER_HOST": engine.host, "VMDKVOL_DIR": str(sandbox)})
    try:
        show_the_main_job(show)
        show.step("vmdkvol", "sandbox", "down", "--purge", says=lambda text: "down" in text)
        engine.stop()
    except Unexpected as error:
        show_logs(sandbox)
        return str(error)
    rest = [f"{device} over {file}" for device, file in loops.under(root).items()]
    rest += [f"process {pid}" for pid in machine.processes(str(sandbox))]
    rest += [path for path in machine.mounts() if path.startswith("/run/vmdkvol")]
    rest += [str(path) for path in machine.path("/run/docker/plugins").glob("*")]
    rest += [str(path) for path in [sandbox, machine.path("/run/vmdkvol")] if path.exists()]
    return f"`sandbox down` left {', '.join(rest)}" if rest else ""


def show_logs(root: Path) -> None:
    for log in sorted((root / "logs").glob("*.log")):
        print(f"\n--- the last lines of {log.name}", file=sys.stderr)
        print("\n".join(log.read_text(errors="replace").splitlines()[-15:]), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
