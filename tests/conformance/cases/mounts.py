"""Mount and Unmount at the socket: IDs come twice, late and never, and are no count (docker-facts 2.7)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.conformance.case import Group
from tests.conformance.world import ID, World

MOUNTS = Group("mounts")


@MOUNTS.case(1, "What was written to the mount point is there at the next mount.")
def data_stays(w: World) -> None:
    name = w.make()
    w.write(w.mount(name, 1), "kept")
    w.unmount(name, 1)
    assert w.read(w.mount(name, 2)) == "kept"
    w.unmount(name, 2)


@MOUNTS.case(2, "Mount with an ID that is known already gives the same path.")
def same_id(w: World) -> None:
    name = w.make()
    assert w.mount(name) == w.mount(name)
    w.unmount(name)


@MOUNTS.case(3, "The first of two users that unmounts takes nothing from the second.")
def two_users(w: World) -> None:
    name = w.make()
    path = w.mount(name, 1)
    assert w.mount(name, 2) == path
    w.write(path, "kept")
    w.unmount(name, 1)
    assert w.read(path) == "kept"
    w.unmount(name, 2)


@MOUNTS.case(4, "An Unmount that comes twice takes nothing from another user.")
def unmount_twice(w: World) -> None:
    name = w.make()
    path = w.mount(name, 1)
    w.mount(name, 2)
    w.write(path, "kept")
    w.unmount(name, 1)
    # Success or not: it is not the other's.
    w.call("Unmount", Name=name, ID=ID.format(1))
    assert w.read(path) == "kept"
    w.unmount(name, 2)


@MOUNTS.case(5, "An Unmount with an unknown ID takes nothing from anybody.")
def unknown_id(w: World) -> None:
    name = w.make()
    path = w.mount(name)
    w.write(path, "kept")
    w.call("Unmount", Name=name, ID=ID.format(99))
    assert w.read(path) == "kept"
    w.unmount(name)


@MOUNTS.case(6, "An Unmount of what is not mounted is no harm: the engine repeats a lost one after a start.")
def not_mounted(w: World) -> None:
    name = w.make()
    w.call("Unmount", Name=name, ID=ID.format(1))
    w.write(w.mount(name), "kept")
    w.unmount(name)
    w.call("Unmount", Name=name, ID=ID.format(1))
    assert w.read(w.mount(name)) == "kept"
    w.unmount(name)


@MOUNTS.case(7, "Eight Mounts of one volume at once have one path and one data.")
def parallel_mounts(w: World) -> None:
    name = w.make()
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda number: w.mount(name, number), range(1, 9)))
    assert len(set(paths)) == 1
    w.write(paths[0], "kept")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: w.unmount(name, number), range(1, 8)))
    assert w.read(paths[0]) == "kept"
    w.unmount(name, 8)


@MOUNTS.case(8, "Two volumes never have one mount point.")
def two_volumes(w: World) -> None:
    one, two = w.make(), w.make()
    first, second = w.mount(one), w.mount(two)
    assert first != second
    w.write(first, "one")
    w.write(second, "two")
    assert w.read(first) == "one"
    w.unmount(one)
    w.unmount(two)


@MOUNTS.case(9, "Thirty mounts and unmounts leave no mount behind.")
def cycles(w: World) -> None:
    name = w.make()
    w.mount(name)
    w.unmount(name)
    before = len(w.machine.mounts())
    for number in range(2, 32):
        w.mount(name, number)
        w.unmount(name, number)
    assert len(w.machine.mounts()) <= before, "each cycle leaves a mount"


@MOUNTS.case(10, "A mounted volume is not removed, whatever the engine believes, and its data stays.")
def remove_refused(w: World) -> None:
    """After a purge the engine sends Remove with a container running (docker-facts 2.6)."""
    name = w.make()
    path = w.mount(name)
    w.write(path, "kept")
    answer = w.call("Remove", Name=name)
    assert answer.error, "a mounted volume was removed"
    assert w.read(path) == "kept"
    assert w.listed() == [name]
    w.unmount(name)
    w.told("Remove", Name=name)


@MOUNTS.case(11, "Sixteen volumes are mounted and unmounted at once.")
def many(w: World) -> None:
    names = [w.make() for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        paths = list(pool.map(w.mount, names))
        assert len(set(paths)) == 16
        list(pool.map(w.unmount, names))


@MOUNTS.case(12, "A Mount that comes while the last user unmounts is mounted afterwards.")
def mount_during_unmount(w: World) -> None:
    name = w.make()
    w.write(w.mount(name, 1), "kept")
    for number in range(1, 11):
        with ThreadPoolExecutor(2) as pool:
            ending = pool.submit(w.unmount, name, number)
            path = pool.submit(w.mount, name, number + 1).result()
            ending.result()
        assert w.read(path) == "kept"
    w.unmount(name, 11)


@MOUNTS.case(13, "A removed volume cannot be mounted, and a new one of its name has nothing of it.")
def removed(w: World) -> None:
    name = w.make()
    w.write(w.mount(name), "secret")
    w.unmount(name)
    w.told("Remove", Name=name)
    assert w.call("Mount", Name=name, ID=ID.format(1)).refused
    w.make(name)
    path = w.mount(name)
    assert list(w.machine.path(path).iterdir()) == [], "the new volume has the removed one's data"
    w.unmount(name)
