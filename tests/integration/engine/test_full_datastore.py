"""A datastore that runs full, at create, at clone and under a container: a clear error, nothing left, nothing lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.engine.bench import MARK, Bench, Docker, bench, engine_for

pytestmark = [pytest.mark.integration, pytest.mark.engine]
SMALL = 96


@pytest.fixture(scope="module")
def site() -> Iterator[Bench]:
    with bench(prepare=small_datastore) as made:
        yield made
        made.wait_idle()


def small_datastore(made: Bench) -> None:
    """The second datastore is a tmpfs of 96 MiB, in the machine's mount namespace."""
    place = made.sandbox / "datastores" / "ds2"
    place.mkdir(parents=True)
    made.machine.run("mount", "-t", "tmpfs", "-o", f"size={SMALL}m", "tmpfs", str(place))


@pytest.fixture(scope="module")
def docker(site: Bench) -> Docker:
    return engine_for(site)


def inside(site: Bench) -> Path:
    return site.machine.path(str(site.sandbox / "datastores" / "ds2"))


def files(site: Bench) -> list[str]:
    return sorted(path.name for path in inside(site).rglob("*") if path.is_file() and path.name != MARK)


def fill(site: Bench, leave_mib: int) -> None:
    free = shutil.disk_usage(inside(site)).free
    with (inside(site) / "filler").open("wb") as file:
        for _ in range(free // (1 << 20) - leave_mib):
            file.write(bytes(1 << 20))


def empty(site: Bench) -> None:
    (inside(site) / "filler").unlink()


def test_a_thick_disk_that_does_not_fit_is_refused_at_create(site: Bench, docker: Docker) -> None:
    for diskformat in ("zeroedthick", "eagerzeroedthick"):
        said = docker.refuses_to_create("big@ds2", size="200mb", diskformat=diskformat)
        assert "[no-space]" in said, said
    assert files(site) == []
    assert "big@ds2" not in docker.volumes()


def test_a_clone_into_a_full_datastore_fails_twice_and_then_works(site: Bench, docker: Docker) -> None:
    """Field case C12: there, the second try said OK and the volume was unusable."""
    docker.create("source", size="60mb")
    docker.sh("source", "head -c 30000000 /dev/urandom > /data/x; md5sum < /data/x > /data/sum; sync")
    site.wait_idle()
    fill(site, 4)
    for _ in range(2):
        assert "[no-space]" in docker.refuses_to_create("copy@ds2", clone_from="source")
        assert files(site) == ["filler"]
    empty(site)

    docker.create("copy@ds2", clone_from="source")

    mount = ["--mount", "type=volume,source=copy@ds2,target=/data"]
    run = ["run", "--rm", "--network", "none", *mount, "busybox", "sh", "-c", "md5sum < /data/x | cmp - /data/sum && echo same"]
    assert docker.engine.said(*run) == "same"
    docker.rm("copy@ds2", "source")


def test_a_datastore_that_runs_full_under_a_container_loses_nothing_that_was_synced(site: Bench, docker: Docker) -> None:
    """Corrections 22: the file system may turn read-only; what fsync confirmed is there when there is room again."""
    docker.create("thin", size="80mb", datastore="ds2")
    docker.sh("thin", "echo synced > /data/x; sync /data/x")
    site.wait_idle()
    fill(site, 6)
    docker.sh("thin", "dd if=/dev/urandom of=/data/big bs=1M count=40 conv=fsync 2>&1 | tail -n1; true")
    # With the datastore full the volume is either usable or refused for that reason, never damaged.
    done = docker.engine.docker(
        "run", "--rm", "--network", "none", "-v", "thin:/data", "busybox", "cat", "/data/x", check=False
    )
    assert done.stdout == "synced\n" or "[no-space]" in done.stderr, done.stdout + done.stderr
    empty(site)

    assert docker.sh("thin", "cat /data/x; echo more > /data/y; sync; cat /data/y") == "synced\nmore"
    assert site.volume("thin")["state"] == "ready"
    docker.rm("thin")


def test_a_read_only_datastore_takes_no_volume(site: Bench, docker: Docker) -> None:
    place = str(site.sandbox / "datastores" / "ds2")
    site.machine.run("mount", "-o", "remount,ro", place)
    try:
        said = docker.refuses_to_create("new@ds2", size="2mb")
    finally:
        site.machine.run("mount", "-o", "remount,rw", place)

    assert len(said.strip().splitlines()) == 1
    assert "ds2" in said
    assert said.rstrip().endswith("[not-permitted]")
    assert "new@ds2" not in docker.volumes()
    docker.create("new@ds2", size="2mb")
    docker.rm("new@ds2")
