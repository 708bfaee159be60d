"""A database moves between virtual machines with its data, shown. Run by `make demo-vm`.

Real are the service, the agents, their channel (one over vsock, one over tcp, each with a certificate), the Docker engines, the
disks on PVSCSI and PostgreSQL. The machines are QEMU's, emulated where the computer has no KVM: times are many times a real
machine's. Exit 0 only if each step gave what it must.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.system import ready
from tests.system.container_images import POSTGRES, POSTGRES_UID
from tests.system.lines import Gone
from tests.system.site import Site
from tests.system.world import Host, World, world

ROOT = Path(__file__).parents[1]
OWNER = f"{POSTGRES_UID}:{POSTGRES_UID}"
ROWS = 10_000
RUN = (
    "docker",
    "run",
    "-d",
    "--name",
    "db",
    "--network",
    "none",
    "--user",
    OWNER,
    "-v",
    "pg:/data",
    POSTGRES,
    "start-postgres",
)
READY = "i=0; until pg_isready -q -h /tmp; do [ $((i += 1)) -lt 480 ] || exit 1; sleep 0.5; done; echo ready"
FILL = f"CREATE TABLE parts AS SELECT i, md5(i::text) AS name FROM generate_series(1, {ROWS}) i"
COUNT = "SELECT count(*), count(DISTINCT name) FROM parts"


class Unexpected(Exception):
    """A step did not give what it must."""


class Show:
    """Prints each command, its output and what it took; keeps the times for the end."""

    def __init__(self) -> None:
        self.took: list[tuple[float, str]] = []

    def on(self, host: Host, *words: str, says: str = "", why: str = "") -> None:
        """Run a command in the guest; its output must have ``says`` in it."""
        if why:
            print(f"\n# {why}")
        print(f"{host.name}$ {' '.join(quoted(word) for word in words)}", flush=True)
        begun = time.monotonic()
        ran = host.guest.run(" ".join(quoted(word) for word in words), 300)
        took = time.monotonic() - begun
        print(f"{ran.output.rstrip()}\n({took:.1f} s)", flush=True)
        if ran.code or says not in ran.output:
            raise Unexpected(f"{host.name}: {' '.join(words)}: exit code {ran.code}")

    def timed(self, what: str, work: Callable[[], object]) -> None:
        begun = time.monotonic()
        work()
        self.took.append((time.monotonic() - begun, what))


def quoted(word: str) -> str:
    return f"'{word}'" if not word or any(letter in word for letter in " >&;$*()") else word


def psql(query: str) -> Sequence[str]:
    return ("docker", "exec", "db", "psql", "-h", "/tmp", "-U", "postgres", "-c", query)


def start(show: Show, host: Host, why: str) -> None:
    """Start the database, and return when it takes connections."""
    show.on(host, *RUN, why=why)
    show.on(host, "docker", "exec", "db", "sh", "-c", READY, says="ready")


def show_it(show: Show, site: World) -> None:
    a, b = site.hosts
    show.timed("both machines on, their agents enrolled", lambda: [host.on() for host in (a, b)])
    print(site.service.vm("ls"), flush=True)
    create = ("docker", "volume", "create", "-d", "vsphere", "pg", "-o", "size=1gb", "-o", f"uid={POSTGRES_UID}")
    show.on(a, *create, says="pg", why="A disk of 1 GiB, for a database.")
    show.timed("first start on a: attach, mkfs, mount, a new cluster", lambda: start(show, a, "PostgreSQL starts on a."))
    show.on(a, *psql(FILL), says=f"SELECT {ROWS}", why=f"{ROWS} rows.")

    def move() -> None:
        show.on(a, "docker", "rm", "-f", "db", why="It is stopped on a ...")
        start(show, b, "... and started on b: the disk leaves a and comes to b.")

    show.timed("moved from a to b: stop, detach, attach, mount, start", move)
    show.on(b, *psql(COUNT), says=f"{ROWS}", why="All of it is there.")

    def survive() -> None:
        print("\n# The power of b is cut while the database runs; nobody unmounts anything.", flush=True)
        b.guest.cut_power()
        start(show, a, "Started on a: the service sees that b is off, and takes the disk from it.")

    show.timed("b died; started on a again, with recovery", survive)
    show.on(a, *psql(COUNT), says=f"{ROWS}", why="All of it is there.")
    show.on(a, "docker", "rm", "-f", "db")
    site.wait_idle()
    show.on(a, "docker", "volume", "rm", "pg", says="pg")
    if site.service.files():
        raise Unexpected(f"left on the datastore: {site.service.files()}")


def main() -> int:
    image = subprocess.run(["packaging/dev/guest.sh"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    print("# Two virtual machines with a Docker engine each, and the service outside of them.", flush=True)
    ready.make(Path(image))
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-demo-"))
    show = Show()
    try:
        with world(Site(root), Path(image), "a", "b") as site:
            show_it(show, site)
    except (Unexpected, AssertionError, Gone) as error:
        print(f"\nthe demo failed: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print("\n# What it took, on this computer, with emulated processors:")
    for seconds, what in show.took:
        print(f"{seconds:7.1f} s  {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
