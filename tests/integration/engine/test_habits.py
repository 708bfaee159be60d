"""What Docker and its users do besides create, run and rm: implied and anonymous volumes, prune, bystanders, absences."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.engine.bench import Bench, Docker, bench, engine_for
from tests.integration.engine.machine import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.engine]
RUN = ("run", "--rm", "--network", "none")


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
def db(docker: Docker) -> Iterator[str]:
    docker.create("db", size="20mb")
    yield "db"
    docker.rm("db")


def test_a_run_creates_the_volume_that_it_names(docker: Docker) -> None:
    docker.engine.said(*RUN, "--volume-driver", docker.driver, "-v", "new:/x", "busybox", "sh", "-c", "echo kept > /x/note")

    assert docker.sh("new", "cat /data/note") == "kept"
    docker.rm("new")


def test_the_options_of_a_mount_are_those_of_the_volume(site: Bench, docker: Docker) -> None:
    mount = f"type=volume,source=m,target=/x,volume-driver={docker.driver},volume-opt=size=64mb,volume-opt=mode=0700"
    assert docker.engine.said(*RUN, "--mount", mount, "busybox", "stat", "-c", "%a", "/x") == "700"

    assert site.volume("m")["size_bytes"] == 64 << 20
    docker.rm("m")


def test_a_mount_with_a_wrong_option_starts_no_container(docker: Docker) -> None:
    mount = f"type=volume,source=m,target=/x,volume-driver={docker.driver},volume-opt=size=64"

    assert "[invalid-size]" in docker.engine.refused(*RUN, "--mount", mount, "busybox", "true")
    assert "m" not in docker.volumes()


def test_an_anonymous_volume_ends_with_its_container(site: Bench, docker: Docker) -> None:
    device = docker.engine.said(*RUN, "--volume-driver", docker.driver, "-v", "/x", "busybox", "sh", "-c", "df /x | tail -n1")

    assert device.startswith("/dev/loop1")
    assert (docker.volumes(), site.files()) == ([], [])


def test_prune_takes_none_of_our_volumes(docker: Docker, db: str) -> None:
    docker.sh(db, "echo kept > /data/note")

    docker.engine.said("volume", "prune", "--force")
    docker.engine.said("system", "prune", "--force", "--volumes")

    assert docker.sh(db, "cat /data/note") == "kept"


def test_one_volume_at_two_places_of_a_container(docker: Docker, db: str) -> None:
    both = ("-v", f"{db}:/x", "-v", f"{db}:/y")

    assert docker.engine.said(*RUN, *both, "busybox", "sh", "-c", "echo once > /x/note; cat /y/note") == "once"


def test_a_read_only_mount_of_a_volume_that_another_container_writes(docker: Docker, db: str) -> None:
    docker.start("writer", db, "echo written > /data/note; sleep 10000")
    script = "cat /x/note; touch /x/y 2> /dev/null || echo refused"

    assert docker.engine.said(*RUN, "-v", f"{db}:/x:ro", "busybox", "sh", "-c", script) == "written\nrefused"
    assert docker.sh_in("writer", "echo more >> /data/note; tail -n1 /data/note") == "more"
    docker.remove("writer")


def test_a_container_whose_program_is_missing_holds_nothing(docker: Docker) -> None:
    docker.create("free", size="20mb")
    docker.engine.refused("run", "--name", "broken", "--network", "none", "-v", "free:/x", "busybox", "no-such-program")
    docker.remove("broken")

    docker.rm("free")

    assert "free" not in docker.volumes()


def test_corrections_29_another_spelling_goes_round_no_check_of_the_engine(site: Bench, docker: Docker, db: str) -> None:
    """A container that does not run has no mount: only the engine's own count protects its volume, and that goes by name."""
    docker.sh(db, "echo kept > /data/note")
    docker.engine.said("create", "--name", "waiting", "--network", "none", "-v", f"{db}:/x", "busybox", "true")

    assert "volume is in use" in docker.engine.refused("volume", "rm", db)
    docker.engine.refused("volume", "rm", f"{db}@ds1")
    said = site.host().call("Remove", Name=f"{db}@ds1")["Err"]

    assert f"the one on ds1 is named {db}" in said
    assert said.endswith("[volume-not-found]")
    docker.remove("waiting")
    assert docker.sh(db, "cat /data/note") == "kept"


def test_a_bystander_s_copy_of_the_mount_keeps_the_disk(site: Bench, docker: Docker, db: str) -> None:
    """Docker-facts 2.9: it copied all mounts, the host's umount succeeds, and a detach would pull a mounted disk."""
    docker.start("user", db, "echo kept > /data/note; sync; sleep 10000")
    docker.engine.said("run", "-d", "--name", "bystander", "--network", "none", "-v", "/run:/host", "busybox", "sleep", "10000")
    docker.remove("user")
    (note,) = docker.engine.said("exec", "bystander", "sh", "-c", "ls /host/vmdkvol/*/mnt/*/data/note").split()

    said = docker.engine.refused("volume", "rm", db)

    assert said.rstrip().endswith("[volume-in-use]")
    assert docker.sh_in("bystander", f"echo more >> {note}; sync; cat {note}") == "kept\nmore"
    assert site.volume(db)["attached_to"] == "vsphere"
    docker.remove("bystander")
    assert docker.sh(db, "cat /data/note") == "kept\nmore"


@pytest.mark.parametrize("absent", ["service", "vsphere"])
def test_f10_an_engine_that_starts_before_us_keeps_what_it_knows_of_volumes(site: Bench, docker: Docker, absent: str) -> None:
    """It asks for every volume when it starts; "absent" would purge labels, and let a used volume be removed."""
    docker.engine.said("volume", "create", "-d", docker.driver, "--label", "keep=me", "-o", "size=20mb", "labelled")
    docker.engine.said("create", "--name", "waiting", "--network", "none", "-v", "labelled:/x", "busybox", "true")
    site.kill9(absent)

    with ThreadPoolExecutor(1) as pool:
        tries = unanswered(docker)
        restart = pool.submit(docker.engine.restart)
        # Without an agent the engine's start waits for one; without a service the agent answers.
        wait_until(lambda: restart.done() or unanswered(docker) > tries, "the engine started, or asks for the volume", 60)
        site.up()
        restart.result()

    assert docker.engine.said("volume", "inspect", "-f", "{{.Labels.keep}}", "labelled") == "me"
    assert "volume is in use" in docker.engine.refused("volume", "rm", "labelled")
    docker.remove("waiting")
    docker.rm("labelled")


def unanswered(docker: Docker) -> int:
    """Return how often the engine has called a plugin that was not there, and will again."""
    return docker.engine.log().count("Unable to ")
