"""Guests that go on from a saved one: each is a machine of its own, with an engine, and a way out that outlives it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system import ready
from tests.system.container_images import BUSYBOX
from tests.system.docker import Docker
from tests.system.guest import Guest
from tests.system.site import Site
from vmdkvol.volume import ScsiAddress

pytestmark = [pytest.mark.integration, pytest.mark.system]


@pytest.fixture(scope="module")
def pair(image: Path, site: Site) -> Iterator[tuple[Guest, Guest]]:
    with ExitStack() as guests:
        a, b = (guests.enter_context(ready.going_on(site.machine(name), image)) for name in "ab")
        yield a, b


def test_two_copies_of_one_saved_guest_are_two_machines(pair: tuple[Guest, Guest]) -> None:
    """Equal random numbers would be equal private keys; an equal boot id, one boot."""
    said = [
        guest.sh("hostname; cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | od -x").split() for guest in pair
    ]

    assert [words[0] for words in said] == ["a", "b"]
    assert not set(said[0][1:]) & set(said[1][1:]) - {"0000000", "0000020"}


def test_what_a_container_has_told_outlives_the_guest_and_qemu(pair: tuple[Guest, Guest]) -> None:
    a, _ = pair
    device = ready.acks_device(a)
    words = ("run", "--rm", "--network", "none", "--device", f"/dev/{device}:/dev/acks", BUSYBOX)

    Docker(a).said(*words, "sh", "-c", "echo one >/dev/acks; echo two >/dev/acks; printf half >/dev/acks")
    a.cut_power()

    assert ready.acks(a.machine) == "one\ntwo\n"


def test_a_copy_sees_disks_that_come_after_it_went_on(pair: tuple[Guest, Guest], site: Site) -> None:
    """QEMU 7.2 restores a controller that tells of no new disk."""
    _, b = pair
    disk = b.plug(site.vmdk(), ScsiAddress(3, 15))

    assert b.wait_disk(disk.uuid)
    b.unplug(disk)
