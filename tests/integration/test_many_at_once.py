"""Many volumes at one time, and one after the other, through the real daemons and the kernel: all succeed, nothing stays.

The disks have 8 MB, so that what is judged is the bookkeeping and not the file system.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.held import grown_since, held, settled
from tests.daemons.site import Site, eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

ID = "a" * 64
AT_ONCE = 64
CYCLES = 40
# A machine that is busy with other tests.
_PATIENCE_S = 120.0
# What ends a moment after its call, such as a thread.
_MOMENT_S = 20.0
_AS_MUCH_AGAIN = 5


@pytest.fixture(scope="module")
def started() -> Iterator[tuple[Site, dict[str, int]]]:
    """One site for all tests of this file, and what it holds at rest: each leaves it so, which is what they are about."""
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-many-"))
    made = Site(root)
    try:
        made.start()
        # The pools of threads and the caches are full afterwards: as many calls as there are ever at once.
        together(AT_ONCE, partial(cycle, made))
        wait_detached(made)
        yield made, settled(made)
    finally:
        made.close()
        shutil.rmtree(root)


@pytest.fixture
def site(started: tuple[Site, dict[str, int]]) -> Iterator[Site]:
    """Afterwards nothing is held that was not held before the test, or that grows when as much is done again."""
    made, before = started
    yield made
    wait_detached(made)
    assert (made.host.names(), made.files()) == ([], [])
    if not any(left_after_a_moment(made, before).values()):
        return
    # More calls came together than ever before, and a pool of threads got one more: it is full some time. What leaks grows with
    # each time that as much is done.
    left: dict[str, int] = {}
    for _ in range(_AS_MUCH_AGAIN):
        now = settled(made)
        together(AT_ONCE, partial(cycle, made))
        wait_detached(made)
        left = left_after_a_moment(made, now)
        if not any(left.values()):
            before.update(now)
            return
    pytest.fail(f"grows each time: {left}")


def left_after_a_moment(site: Site, before: dict[str, int]) -> dict[str, int]:
    """Return by how much what is held is still more than before."""
    end = time.monotonic() + _MOMENT_S
    while any((left := grown_since(before, held(site))).values()) and time.monotonic() < end:
        time.sleep(0.2)
    return left


def together(count: int, call: Callable[[str], Any]) -> list[Any]:
    """Call for ``count`` names at one time; return the answers. Raises what one of them raised."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, [f"v{number}" for number in range(count)]))


def create(site: Site, name: str) -> None:
    site.host.told("Create", Name=name, Opts={"size": "8mb"})


def mount(site: Site, name: str) -> Path:
    return Path(site.host.told("Mount", Name=name, ID=ID)["Mountpoint"])


def unmount(site: Site, name: str) -> None:
    site.host.told("Unmount", Name=name, ID=ID)


def remove(site: Site, name: str) -> None:
    """Another test's new mount namespace may have a copy of the mount for a moment: that alone is waited for."""
    end = time.monotonic() + _PATIENCE_S
    while (said := site.host.call("Remove", Name=name)["Err"]).endswith("[volume-in-use]") and time.monotonic() < end:
        time.sleep(0.5)
    assert said == ""


def cycle(site: Site, name: str) -> None:
    for step in (create, mount, unmount, remove):
        step(site, name)


def wait_detached(site: Site) -> None:
    eventually(lambda: not site.loops(), "every disk was given back", _PATIENCE_S)


def numbers(paths: Sequence[Path]) -> set[int]:
    return {path.stat().st_dev for path in paths}


def test_64_volumes_are_mounted_at_once_each_on_its_own_disk(site: Site) -> None:
    together(AT_ONCE, partial(create, site))

    paths = together(AT_ONCE, partial(mount, site))
    for number, path in enumerate(paths):
        (path / "mark").write_text(str(number))

    assert (len(numbers(paths)), len(site.loops()), len(site.mounted())) == (AT_ONCE, AT_ONCE, AT_ONCE)
    assert [(path / "mark").read_text() for path in paths] == [str(number) for number in range(AT_ONCE)]

    together(AT_ONCE, partial(unmount, site))
    wait_detached(site)
    assert site.mounted() == []
    together(AT_ONCE, partial(remove, site))


@pytest.mark.parametrize("count", [8, 32])
def test_that_many_creates_mounts_unmounts_and_removes_at_once_all_succeed(site: Site, count: int) -> None:
    together(count, partial(create, site))
    assert len(site.host.names()) == count
    together(count, partial(mount, site))
    assert len(site.loops()) == len(site.mounted()) == count
    together(count, partial(unmount, site))
    wait_detached(site)
    together(count, partial(remove, site))


def test_32_whole_cycles_beside_each_other_all_succeed(site: Site) -> None:
    """One's Create meets another's Remove, as a host with many short jobs has it."""
    together(32, partial(cycle, site))


def test_cycles_one_after_the_other_leave_nothing(site: Site) -> None:
    for number in range(CYCLES):
        cycle(site, f"c{number}")

    wait_detached(site)


def test_the_counting_sees_what_is_left(site: Site, started: tuple[Site, dict[str, int]]) -> None:
    """Else a count that is always the same would pass everything above."""
    _, at_rest = started
    create(site, "stays")
    mount(site, "stays")

    left = grown_since(at_rest, held(site))

    assert {what for what in ("loops", "mounts", "directories") if left[what]} == {"loops", "mounts", "directories"}
    unmount(site, "stays")
    remove(site, "stays")
    wait_detached(site)
