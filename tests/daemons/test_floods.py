"""More calls than anybody sends, calls that never end, peers that never read: the others are served, and nothing is left."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.daemons.site import Site, eventually
from vmdkvol.cli import processes

pytestmark = pytest.mark.integration
# `make storm` makes it 10,000.
CALLS = int(os.environ.get("VMDKVOL_STORM_CALLS", "2000"))
ID = "a" * 64
# For one answer behind all of them, on a machine that does other things too.
PATIENCE_S = 300.0


@pytest.fixture
def site() -> Iterator[Site]:
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-site-"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[1], CALLS + 1000), limits[1]))
    made = Site(root)
    made.start()
    made.host.told("Create", Name="db", Opts={"size": "8mb"})
    yield made
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    made.close()
    shutil.rmtree(root)


@pytest.fixture
def peers() -> Iterator[ExitStack]:
    """Closes what was opened through it."""
    with ExitStack() as opened:
        yield opened


def connect(path: Path, peers: ExitStack) -> socket.socket:
    peer = peers.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    # Without a time limit it waits in the kernel for a place in the backlog.
    peer.connect(str(path))
    peer.settimeout(PATIENCE_S)
    return peer


def request(endpoint: str, **body: str) -> bytes:
    content = json.dumps(body).encode()
    return f"POST {endpoint} HTTP/1.1\r\nHost: plugin\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


GET = request("/VolumeDriver.Get", Name="db")


def answer(peer: socket.socket) -> bytes:
    """Return all that comes until the agent closes."""
    found = b""
    while piece := peer.recv(65536):
        found += piece
    peer.close()
    return found


def worker(site: Site) -> int:
    """Return the process id of gunicorn's worker."""
    pids = {process.pid for process in processes.with_config(site.host.agent.config)}
    return next(pid for pid in pids if number(pid, "PPid") in pids)


def number(pid: int, key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None, key
    return int(found[1])


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def works(site: Site) -> bool:
    """A whole round for a volume: nothing of what was done before stands in its way."""
    path = Path(site.host.told("Mount", Name="db", ID=ID)["Mountpoint"])
    (path / "file").write_text("data")
    site.host.told("Unmount", Name="db", ID=ID)
    return site.host.names() == ["db"]


# --- the plugin's socket ----------------------------------------------------------------------------------------


def test_thousands_of_calls_at_once_are_all_answered_and_nothing_is_left(site: Site, peers: ExitStack) -> None:
    agent = worker(site)
    before, memory = descriptors(agent), number(agent, "VmRSS")
    callers = [connect(site.host.plugin, peers) for _ in range(CALLS)]
    for caller in callers:
        caller.sendall(GET)

    meanwhile = site.host.call("/Plugin.Activate")
    answers = Counter(answer(caller).split(b"\r\n", 1)[0] for caller in callers)

    assert meanwhile == {"Implements": ["VolumeDriver"]}
    assert answers == {b"HTTP/1.1 200 OK": CALLS}
    eventually(lambda: descriptors(agent) <= before + 2, "the connections are closed")
    assert number(agent, "VmRSS") - memory < 128 << 10
    assert works(site)


def test_mounts_beyond_all_places_are_refused_at_once_and_the_rest_is_mounted(site: Site, peers: ExitStack) -> None:
    callers = [connect(site.host.plugin, peers) for _ in range(600)]
    for count, caller in enumerate(callers):
        caller.sendall(request("/VolumeDriver.Mount", Name="db", ID=f"{count:064}"))

    answers = [answer(caller) for caller in callers]

    good = [count for count, text in enumerate(answers) if b'"Mountpoint"' in text]
    assert good
    assert all(b'"Mountpoint"' in text or b"[busy]" in text for text in answers)
    holders = site.host.told("Get", Name="db")["Volume"]["Status"]["holders"]
    assert len(holders) == len(good)
    for count in good:
        site.host.told("Unmount", Name="db", ID=f"{count:064}")
    eventually(lambda: site.loops() == [], "the disk was given back")


HALVES = (
    b"",
    b"POST /VolumeDriver.Get HT",
    b"POST /VolumeDriver.Get HTTP/1.1\r\nHost: plu",
    GET[:-5],
    request("/VolumeDriver.Mount", Name="db", ID=ID)[:-5],
)


def test_calls_that_never_end_are_cut_off_and_the_others_are_served(site: Site, peers: ExitStack) -> None:
    """More than there are threads: without an end each would keep one for ever."""
    halves = [connect(site.host.plugin, peers) for _ in range(60 * len(HALVES))]
    for count, half in enumerate(halves):
        half.sendall(HALVES[count % len(HALVES)])

    assert site.host.told("Get", Name="db")["Volume"]["Name"] == "db"

    endings = {answer(half).partition(b"\r\n\r\n")[2] for half in halves}
    assert all(ending == b"" or b"[empty-request]" in ending for ending in endings)
    assert site.host.told("Get", Name="db")["Volume"]["Status"]["holders"] == []
    assert works(site)


def test_connections_that_say_nothing_take_no_thread(site: Site, peers: ExitStack) -> None:
    agent = worker(site)
    for _ in range(300):
        connect(site.host.plugin, peers)

    eventually(lambda: descriptors(agent) > 300, "they are accepted")

    assert site.host.call("/Plugin.Activate") == {"Implements": ["VolumeDriver"]}
    assert number(agent, "Threads") < 100


NOISE = (
    b"\0" * 4096,
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /VolumeDriver.Get HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /VolumeDriver.Get HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
    b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
)


def test_what_is_no_http_is_refused_and_the_others_are_served(site: Site, peers: ExitStack) -> None:
    speakers = [connect(site.host.plugin, peers) for _ in range(20 * len(NOISE))]
    for count, speaker in enumerate(speakers):
        speaker.sendall(NOISE[count % len(NOISE)])
        speaker.shutdown(socket.SHUT_WR)

    assert not any(b"200 OK" in _until_end(speaker) for speaker in speakers)
    assert works(site)


def _until_end(peer: socket.socket) -> bytes:
    try:
        return answer(peer)
    except ConnectionResetError:
        return b""


def test_peers_that_do_not_close_after_their_answer_hold_nobody_up(site: Site, peers: ExitStack) -> None:
    """gunicorn would wait 2 s for each of them, on the thread that accepts everybody's connections."""
    readers = [connect(site.host.plugin, peers) for _ in range(60)]
    for reader in readers:
        reader.sendall(GET)
        assert reader.recv(15) == b"HTTP/1.1 200 OK"

    late = connect(site.host.plugin, peers)
    late.settimeout(30.0)
    late.sendall(GET)

    assert answer(late).startswith(b"HTTP/1.1 200 OK")


def test_without_free_descriptors_the_agent_waits_and_then_goes_on(site: Site, peers: ExitStack) -> None:
    agent = worker(site)
    limits = resource.prlimit(agent, resource.RLIMIT_NOFILE)
    resource.prlimit(agent, resource.RLIMIT_NOFILE, (descriptors(agent) + 30, limits[1]))
    callers = [connect(site.host.plugin, peers) for _ in range(100)]

    eventually(lambda: "Too many open files" in site.host.agent.tail(), "the agent has none left")
    for caller in callers:
        caller.close()
    resource.prlimit(agent, resource.RLIMIT_NOFILE, limits)

    assert worker(site) == agent
    eventually(lambda: works(site), "the agent serves")


# --- the service's sockets --------------------------------------------------------------------------------------


def test_connections_of_one_host_keep_no_other_host_from_the_service(peers: ExitStack) -> None:
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-site-"))
    site = Site(root, hosts=("vsphere", "other"))
    try:
        site.start()
        service = site.service.process
        assert service is not None
        before = descriptors(service.pid)
        other = site.hosts[1]
        flooding = [connect(site.service_socket("vsphere"), peers) for _ in range(500)]

        other.told("Create", Name="db", Opts={"size": "8mb"})
        other.told("Mount", Name="db", ID=ID)
        other.told("Unmount", Name="db", ID=ID)

        for peer in flooding:
            peer.close()
        eventually(lambda: descriptors(service.pid) <= before + 4, "the connections are closed")
        assert site.host.patiently("Get", Name="db")["Volume"]["Name"] == "db"
    finally:
        site.close()
        shutil.rmtree(root)
