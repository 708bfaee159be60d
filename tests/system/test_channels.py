"""Who is who when service and guests are on different machines: the first host calls over vsock, the second over tcp."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.system.agents import CODE
from tests.system.container_images import BUSYBOX
from tests.system.docker import wait_until
from tests.system.told import bring
from tests.system.world import PORT, Host, World

pytestmark = [pytest.mark.integration, pytest.mark.system]


@contextmanager
def wearing(host: Host, identity: str) -> Iterator[None]:
    """The host's agent has another key and certificate meanwhile, its own afterwards."""
    host.agent.kill9()
    host.put_identity(identity)
    host.agent.start()
    try:
        yield
    finally:
        host.agent.kill9()
        host.put_identity(host.identity)
        host.agent.start()
        wait_until(host.connected, f"{host.name} is itself again:\n{host.agent.log()}")


def wait_logged(world: World, *words: str) -> None:
    """Return when one line of the service's log has all of the words."""

    def logged() -> bool:
        return any(all(word in line for word in words) for line in world.service.log().splitlines())

    wait_until(logged, f"the service's log says {words}:\n{world.service.log()[-3000:]}")


def test_both_channels_carry_a_volume_and_the_machines_are_told_apart(docker_hosts: World, a: Host, b: Host) -> None:
    for host in (a, b):
        host.docker.create(f"of-{host.name}", size="8mb")
    listed = {host.name: host.docker.said("volume", "ls", "-q").split() for host in (a, b)}
    standing = docker_hosts.service.standing()

    assert [listed[host.name] for host in (a, b)] == [["of-a", "of-b"]] * 2
    assert {row["name"]: (row["standing"], row["connected"]) for row in standing.values()} == {
        host.name: ("enrolled", True) for host in (a, b)
    }
    for host in (a, b):
        host.docker.said("volume", "rm", f"of-{host.name}")


def test_a_machine_that_shows_another_ones_key_on_vsock_is_refused_and_reported(docker_hosts: World, a: Host, b: Host) -> None:
    """The key was stolen, and its machine is off: only the number that the hypervisor gives tells the two apart."""
    b.agent.kill9()
    try:
        with wearing(a, b.identity):
            wait_logged(docker_hosts, "a machine shows another one's key", '"b"')
            said = a.docker.refused("volume", "create", "-d", "vsphere", "stolen")
            assert "identity-conflict" in said
            assert not b.connected()
    finally:
        b.agent.start()
    wait_until(b.connected, "the second host is back")


def test_a_copy_of_a_machine_is_refused_while_the_first_one_is_served(docker_hosts: World, a: Host, b: Host) -> None:
    with wearing(b, a.identity):
        wait_logged(docker_hosts, "two machines have one identity", '"a"')
        assert "identity-conflict" in b.docker.refused("volume", "create", "-d", "vsphere", "copied")
        a.docker.create("goes-on", size="8mb")

    a.docker.said("volume", "rm", "goes-on")


def test_a_container_cannot_speak_as_its_machine(a: Host) -> None:
    """It has the machine's vsock, which no namespace divides, and not its key (faults 1.9, T2)."""
    program = bring(a.guest, "stranger.py")
    shared = [word for path in ("/usr", "/lib", "/lib64", CODE, program) for word in ("-v", f"{path}:{path}:ro")]
    words = ["run", "--rm", "--network", "none", *shared, "-e", f"PYTHONPATH={CODE}", BUSYBOX]

    said = a.docker.said(*words, "/usr/bin/python3", program, f"vsock://2:{PORT}")

    assert said.splitlines() == ["Introduce Authority", "Hello not-enrolled", "ListAttached bad-frame"]
