"""kill -9 of agent, service and engine under a running container loses nothing and leaks nothing; nor do restarts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.engine.bench import Bench, Docker, bench, engine_for
from tests.integration.engine.machine import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.engine]
# Each line is on the disk before the next is begun, so what is there is a prefix without a gap.
WRITER = "i=0; while true; do i=$((i+1)); echo $i >> /data/lines; sync /data/lines; echo $i; done"


@pytest.fixture(scope="module")
def site() -> Iterator[Bench]:
    with bench() as made:
        yield made
        assert made.files() == []
        made.wait_idle()


@pytest.fixture(scope="module")
def docker(site: Bench) -> Docker:
    return engine_for(site)


@pytest.fixture
def db(site: Bench, docker: Docker) -> Iterator[str]:
    site.up()
    docker.create("db", size="100mb")
    yield "db"
    site.up()
    docker.rm("db")


def writing(docker: Docker, volume: str) -> None:
    docker.start("writer", volume, WRITER)
    wait_until(lambda: told(docker) > 10, "the container writes")


def told(docker: Docker) -> int:
    """Return the last number that the container said to be on the disk."""
    words = docker.engine.docker("logs", "--tail", "1", "writer", check=False).stdout.split()
    return int(words[-1]) if words else 0


def assert_nothing_lost(docker: Docker, volume: str, last: int) -> None:
    lines = [int(line) for line in docker.sh(volume, "cat /data/lines").split()]
    assert lines == list(range(1, len(lines) + 1))
    assert len(lines) >= last


def goes_on(docker: Docker) -> None:
    before = told(docker)
    wait_until(lambda: told(docker) > before + 5, "the container goes on writing")


@pytest.mark.parametrize("victim", ["vsphere", "service"])
def test_a_container_writes_on_while_a_daemon_is_killed_and_comes_back(
    site: Bench, docker: Docker, db: str, victim: str
) -> None:
    writing(docker, db)
    site.kill9(victim)
    goes_on(docker)
    site.up()
    goes_on(docker)
    last = told(docker)
    docker.remove("writer")

    assert_nothing_lost(docker, db, last)


@pytest.mark.parametrize("victim", ["vsphere", "service"])
def test_a_container_writes_on_while_a_daemon_is_restarted(site: Bench, docker: Docker, db: str, victim: str) -> None:
    writing(docker, db)
    site.restart(victim)
    goes_on(docker)
    last = told(docker)
    docker.remove("writer")

    assert_nothing_lost(docker, db, last)


def test_both_daemons_killed_together(site: Bench, docker: Docker, db: str) -> None:
    writing(docker, db)
    site.kill9("vsphere")
    site.kill9("service")
    goes_on(docker)
    site.up()
    last = told(docker)
    docker.remove("writer")

    assert_nothing_lost(docker, db, last)


def test_a_container_that_ended_while_the_agent_was_dead_leaks_nothing(site: Bench, docker: Docker, db: str) -> None:
    """Its Unmount was lost; the disk is used again, and given back in the end."""
    docker.start("user", db, "echo kept > /data/x; sleep 10000")
    site.kill9("vsphere")
    pid = docker.engine.said("inspect", "-f", "{{.State.Pid}}", "user")
    site.machine.kill(int(pid))
    site.up()
    docker.remove("user")

    assert docker.sh(db, "cat /data/x") == "kept"


def test_a_volume_can_be_created_and_mounted_right_after_a_kill_of_the_service(site: Bench, docker: Docker, db: str) -> None:
    site.kill9("service")
    site.up()

    assert docker.sh(db, "echo yes > /data/x; cat /data/x") == "yes"


def test_without_the_service_containers_that_run_can_be_stopped_and_volumes_are_still_listed(
    site: Bench, docker: Docker, db: str
) -> None:
    docker.start("user", db)
    site.kill9("service")

    assert docker.volumes() == [db]
    docker.remove("user")
    assert docker.volumes() == [db]


def test_metadata_of_the_engine_survives_the_service_s_absence(site: Bench, docker: Docker) -> None:
    """A Get that says "absent" would purge labels and references (docker-facts 2.6)."""
    docker.engine.said("volume", "create", "-d", "vsphere", "--label", "keep=me", "-o", "size=20mb", "labelled")
    site.kill9("service")
    docker.engine.docker("volume", "inspect", "labelled", check=False)
    site.up()

    shown = docker.engine.said("volume", "inspect", "-f", "{{.Labels.keep}} {{.Options.size}}", "labelled")
    assert shown == "me 20mb"
    docker.rm("labelled")


def test_the_engine_is_killed_and_its_containers_with_it(site: Bench, docker: Docker, db: str) -> None:
    """Without live-restore the new engine ends the containers, and sends no Unmount (docker-facts 2.7)."""
    writing(docker, db)
    docker.engine.kill9()
    docker.engine.start()
    docker.remove("writer")

    assert_nothing_lost(docker, db, 10)
    assert docker.volumes() == [db]
    release_lost_holder(site, docker, db)


def release_lost_holder(site: Bench, docker: Docker, volume: str) -> None:
    """The Unmount that the killed engine never sent is shown, guards the volume, and is what an operator may send."""
    (holder,) = site.host().told("Get", Name=volume)["Volume"]["Status"]["holders"]
    assert f"held by Docker's mount {holder[:12]}" in docker.engine.refused("volume", "rm", volume)
    site.host().told("Unmount", Name=volume, ID=holder)


def test_the_engine_is_killed_and_its_containers_live_on(site: Bench, docker: Docker, db: str) -> None:
    docker.engine.restart(live_restore=True)
    writing(docker, db)
    docker.engine.kill9()
    docker.engine.start(live_restore=True)
    goes_on(docker)
    last = told(docker)
    docker.remove("writer")

    assert_nothing_lost(docker, db, last)
    docker.engine.restart()


def test_the_engine_is_restarted_with_live_restore(site: Bench, docker: Docker, db: str) -> None:
    docker.engine.restart(live_restore=True)
    writing(docker, db)
    docker.engine.restart(live_restore=True)
    goes_on(docker)
    last = told(docker)
    docker.remove("writer")

    assert_nothing_lost(docker, db, last)
    docker.engine.restart()


def test_engine_agent_and_service_are_killed_together_and_restart_always_comes_back(
    site: Bench, docker: Docker, db: str
) -> None:
    options = ["--network", "none", "--restart", "always", "--stop-signal", "KILL", "-v", f"{db}:/data"]
    docker.engine.said("run", "-d", "--name", "always", *options, "busybox", "sh", "-c", "echo run >> /data/runs; sleep 10000")
    site.kill9("vsphere")
    site.kill9("service")
    docker.engine.kill9()
    site.up()
    docker.engine.start()

    wait_until(lambda: runs(docker) == 2, "the container runs again, on its data", 60)
    docker.remove("always")


def runs(docker: Docker) -> int:
    shown = docker.engine.docker("exec", "always", "grep", "-c", "run", "/data/runs", check=False).stdout
    return int(shown.strip() or 0)


def test_the_engine_s_stop_gives_the_disks_back(site: Bench, docker: Docker, db: str) -> None:
    docker.start("user", db)
    docker.engine.restart()

    site.wait_idle()
    docker.remove("user")
