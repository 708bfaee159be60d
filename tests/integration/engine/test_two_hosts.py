"""Two simulated hosts, an engine on each: one disk has one user at a time, and moves with its data."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.engine.bench import Bench, Docker, bench, engine_for
from tests.integration.engine.machine import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.engine]


@pytest.fixture(scope="module")
def site() -> Iterator[Bench]:
    with bench("vsphere", "vsphere-b") as made:
        yield made
        assert made.files() == []
        made.wait_idle()


@pytest.fixture(scope="module")
def first(site: Bench) -> Docker:
    return engine_for(site, "a", "vsphere")


@pytest.fixture(scope="module")
def second(site: Bench) -> Docker:
    return engine_for(site, "b", "vsphere-b")


@pytest.fixture
def db(first: Docker, second: Docker) -> Iterator[str]:
    first.create("db", size="50mb")
    # Known under one driver on each engine, as on two machines.
    second.create("db")
    yield "db"
    second.rm("db")


def test_the_second_host_is_told_who_has_the_volume(first: Docker, second: Docker, db: str) -> None:
    first.start("user", db)

    said = second.fails(db)

    assert "vsphere" in said
    assert "mounted on vsphere" in said
    assert "[volume-in-use]" in said
    assert first.sh_in("user", "echo unharmed > /data/x; cat /data/x") == "unharmed"
    first.remove("user")


def test_after_the_stop_the_volume_moves_with_its_data(first: Docker, second: Docker, db: str) -> None:
    first.sh(db, "echo from the first > /data/x")

    # At once: what only lingers on the first host is given back (design D11b).
    assert second.sh(db, "cat /data/x; echo from the second >> /data/x") == "from the first"
    assert first.sh(db, "tail -n1 /data/x") == "from the second"


def test_a_volume_moves_back_and_forth(first: Docker, second: Docker, db: str) -> None:
    for round_ in range(4):
        docker = (first, second)[round_ % 2]
        docker.sh(db, f"echo {round_} >> /data/x")

    assert first.sh(db, "tr '\\n' ' ' < /data/x").split() == ["0", "1", "2", "3"]


def test_owner_and_mode_move_too(first: Docker, second: Docker, db: str) -> None:
    """Field case C10."""
    first.sh(db, "chown 999:999 /data; chmod 700 /data")

    assert second.sh(db, "stat -c '%u:%g %a' /data") == "999:999 700"


def test_a_volume_is_removed_on_the_other_host_while_it_lingers_on_this_one(first: Docker, second: Docker) -> None:
    """Corrections 13."""
    first.create("gone", size="50mb")
    second.create("gone")
    first.sh("gone", "true")

    second.rm("gone")

    assert "gone" not in second.volumes()


def test_a_volume_that_is_mounted_elsewhere_cannot_be_removed(site: Bench, first: Docker, second: Docker, db: str) -> None:
    first.start("user", db)

    said = second.engine.refused("volume", "rm", db)

    assert "[volume-in-use]" in said
    assert "vsphere" in said
    assert site.volume(db)["attached_to"] == "vsphere"
    first.remove("user")


def test_both_at_once_one_runs_and_the_other_is_told(first: Docker, second: Docker, db: str) -> None:
    options = ["run", "-d", "--name", "user", "--network", "none", "-v", f"{db}:/data", "busybox", "sh", "-c"]
    script = "echo {} >> /data/who; sync; sleep 10000"
    with ThreadPoolExecutor(2) as both:
        done = list(
            both.map(lambda host: host.engine.docker(*options, script.format(host.driver), check=False), (first, second))
        )

    ran, refused = sorted(zip(done, (first, second), strict=True), key=lambda each: each[0].returncode)
    assert (ran[0].returncode, refused[0].returncode != 0) == (0, True), [each.stderr for each in done]
    assert "[volume-in-use]" in refused[0].stderr
    wait_until(lambda: ran[1].sh_in("user", "cat /data/who") == ran[1].driver, "the one that runs is alone on the disk")
    first.remove("user")
    second.remove("user")


def test_volume_ls_shows_who_has_it(site: Bench, first: Docker, second: Docker, db: str) -> None:
    second.start("user", db)

    assert site.volume(db)["attached_to"] == "vsphere-b"
    assert site.volume(db)["device"].startswith("loop")
    second.remove("user")
