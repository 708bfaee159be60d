"""The main job: what a container wrote on a volume is there for the next one, whatever options the volume has."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.engine.bench import Bench, Docker, bench, engine_for
from tests.integration.engine.machine import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.engine]
# vDVS's Status keys (vdvs-facts), and ours.
STATUS = {"access", "attach-as", "capacity", "clone-from", "created", "created by VM", "datastore", "diskformat", "fstype"}
STATUS |= {"status", "id", "size-bytes", "holders", "state"}


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
    docker.create("db", size="100mb")
    yield "db"
    docker.rm("db")


def test_a_second_container_reads_what_the_first_wrote(docker: Docker, db: str) -> None:
    docker.sh(db, "echo hello > /data/note")

    assert docker.sh(db, "cat /data/note") == "hello"


def test_two_containers_share_a_volume_and_the_first_to_end_takes_nothing_away(docker: Docker, db: str) -> None:
    docker.start("one", db)
    docker.start("two", db)
    docker.sh_in("one", "echo shared > /data/note")
    docker.remove("one")

    assert docker.sh_in("two", "cat /data/note; echo more >> /data/note; sync; tail -n1 /data/note") == "shared\nmore"
    docker.remove("two")


def test_the_image_s_files_are_copied_into_a_new_volume(docker: Docker, db: str) -> None:
    run = ["run", "--rm", "--network", "none", "-v", f"{db}:/seeded", "busybox", "cat", "/seeded/from-the-image"]

    assert docker.engine.said(*run) == "seed"


def test_a_new_volume_is_an_empty_directory(docker: Docker, db: str) -> None:
    # initdb refuses a directory with lost+found in it (docker-facts 2.9).
    assert docker.sh(db, "ls -A /data | wc -l") == "0"


def test_inspect_shows_every_key(docker: Docker, db: str) -> None:
    (volume,) = json.loads(docker.engine.said("volume", "inspect", db))

    assert STATUS - volume["Status"].keys() == set()
    assert volume["Status"]["size-bytes"] == 104857600
    assert volume["Scope"] == "global"
    assert volume["Mountpoint"].startswith("/run/vmdkvol/vsphere/mnt/")


def test_docker_cp_on_a_running_container_leaves_its_volume_mounted(docker: Docker, db: str) -> None:
    """The engine's Unmount of the copy has the running container's own ID (docker-facts 2.7)."""
    docker.start("cp", db, "echo before >> /data/note; sleep 10000")
    docker.engine.said("cp", "cp:/data/note", "-")

    assert docker.sh_in("cp", "echo after >> /data/note; sync; tail -n1 /data/note") == "after"
    docker.engine.said("restart", "-t", "0", "cp")
    wait_until(lambda: docker.sh_in("cp", "cat /data/note") == "before\nafter\nbefore", "the container goes on, on its data")
    docker.remove("cp")


def test_docker_cp_does_not_lose_what_is_written_afterwards(docker: Docker, db: str) -> None:
    docker.start("cp", db)
    docker.engine.said("cp", "/etc/hostname", "cp:/data/copied")
    docker.sh_in("cp", "echo after > /data/note")
    docker.remove("cp")

    assert docker.sh(db, "cat /data/note; test -s /data/copied && echo copied") == "after\ncopied"


def test_restart_and_crash_loop_keep_the_data(docker: Docker, db: str) -> None:
    options = ["--network", "none", "--restart", "on-failure:3", "-v", f"{db}:/data"]
    docker.engine.said("run", "-d", "--name", "loop", *options, "busybox", "sh", "-c", "echo x >> /data/runs; exit 1")
    state = ("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "loop")
    wait_until(lambda: docker.engine.said(*state) == "3 exited", "the engine gave up after three restarts", 60)

    assert docker.sh(db, "grep -c x /data/runs") == "4"
    docker.remove("loop")


def test_owner_group_and_mode_are_set_at_format(docker: Docker) -> None:
    docker.create("owned", size="50mb", uid="999", gid="998", mode="0750")

    assert docker.sh("owned", "stat -c '%u:%g %a' /data") == "999:998 750"
    docker.rm("owned")


def test_owner_and_mode_that_a_container_sets_stay(site: Bench, docker: Docker) -> None:
    """Field case C10: the options act once, at format, never again."""
    docker.create("owned", size="50mb", uid="5", mode="0755")
    docker.sh("owned", "chown 999:999 /data; chmod 700 /data")
    assert docker.sh("owned", "stat -c '%u:%g %a' /data") == "999:999 700"
    site.restart("vsphere")

    assert docker.sh("owned", "stat -c '%u:%g %a' /data") == "999:999 700"
    docker.rm("owned")


def test_a_read_only_volume_cannot_be_written(docker: Docker) -> None:
    docker.create("fixed", size="50mb", access="read-only")

    assert docker.sh("fixed", "touch /data/x 2>/dev/null || echo refused") == "refused"
    docker.rm("fixed")


@pytest.mark.parametrize("size", [{}, {"size": "299mb"}])
def test_xfs_on_too_small_a_disk_is_refused_at_create(docker: Docker, size: dict[str, str]) -> None:
    """Field case C01: mkfs would say so only at the first `docker run`."""
    said = docker.refuses_to_create("small", fstype="xfs", **size)

    assert "300mb" in said
    assert "[invalid-size]" in said
    assert docker.volumes() == []


def test_xfs_on_300_mb_is_created_mounted_and_written(docker: Docker) -> None:
    docker.create("xfs", fstype="xfs", size="300mb")

    assert docker.sh("xfs", "echo ok > /data/x; cat /data/x; grep ' /data ' /proc/mounts | cut -d' ' -f3") == "ok\nxfs"
    docker.rm("xfs")


def test_the_smallest_size_that_is_named_works(docker: Docker) -> None:
    """Field case C02."""
    assert "2mb" in docker.refuses_to_create("tiny", size="1kb")
    docker.create("tiny", size="2mb")

    assert docker.sh("tiny", "echo fits > /data/x; cat /data/x") == "fits"
    docker.rm("tiny")


def test_a_fraction_is_one_number_everywhere(site: Bench, docker: Docker) -> None:
    """Field case C03."""
    docker.create("half", size="0.5G")
    docker.start("holder", "half")

    (device,) = site.loops()
    (volume,) = json.loads(docker.engine.said("volume", "inspect", "half"))
    extent = next(path for path in site.files() if path.name.endswith("-flat.vmdk"))
    sizes = {
        volume["Status"]["size-bytes"],
        site.volume("half")["size_bytes"],
        extent.stat().st_size,
        int(site.machine.run("blockdev", "--getsize64", device).stdout),
    }
    assert sizes == {536870912}
    docker.remove("holder")
    docker.rm("half")


@pytest.mark.parametrize("options", [{"fstype": "ext4", "size": "20mb"}, {"fstype": "xfs", "size": "300mb"}])
def test_a_name_of_100_characters_works_with_every_file_system(site: Bench, docker: Docker, options: dict[str, str]) -> None:
    """Also field case C20: it stands whole in `vmdkvol volume ls`."""
    name = "n" * 100
    docker.create(name, **options)

    assert docker.sh(name, "echo long > /data/x; cat /data/x") == "long"
    assert site.volumes() == [name]
    assert sum(name in line for line in site.vmdkvol("volume", "ls").splitlines()) == 1
    docker.rm(name)


@pytest.mark.parametrize("name", ["with space", "héllo", "*", "a+b=c", "db@ds2"])
def test_any_printable_name_is_a_name(docker: Docker, name: str) -> None:
    host_run = ["--mount", f"type=volume,source={name},target=/data,volume-driver={docker.driver}"]
    docker.create(name, size="20mb")

    assert (
        docker.engine.said(
            "run", "--rm", "--network", "none", *host_run, "busybox", "sh", "-c", "echo y > /data/x; cat /data/x"
        )
        == "y"
    )
    docker.rm(name)


def test_a_clone_has_the_source_s_data_and_both_can_be_mounted_together(docker: Docker) -> None:
    """Field case C11: the kernel refuses a second xfs with the same UUID."""
    docker.create("source", fstype="xfs", size="300mb")
    docker.sh("source", "echo original > /data/x")
    docker.engine.said("volume", "create", "-d", docker.driver, "clone", "-o", "clone-from=source")

    docker.start("one", "source")
    docker.start("two", "clone")
    docker.sh_in("two", "echo changed > /data/y")
    assert docker.sh_in("two", "cat /data/x") == "original"
    assert docker.sh_in("one", "ls /data") == "x"
    docker.remove("one", "two")
    docker.rm("source", "clone")


def test_a_mounted_volume_cannot_be_cloned(docker: Docker, db: str) -> None:
    docker.start("holder", db)

    assert "[volume-in-use]" in docker.refuses_to_create("clone", clone_from=db)
    docker.remove("holder")


def test_a_mounted_volume_cannot_be_removed_and_the_error_names_the_holder(site: Bench, docker: Docker, db: str) -> None:
    """Past Docker's own count: a purge makes it forget that a container runs (docker-facts 2.6)."""
    docker.start("holder", db)
    try:
        said = site.host().call("Remove", Name=db)["Err"]
        pid = docker.engine.said("inspect", "-f", "{{.State.Pid}}", "holder")

        assert said.endswith("[volume-in-use]")
        assert f"process {pid} " in said
    finally:
        docker.remove("holder")


def test_a_volume_of_this_name_with_other_options_is_not_touched(site: Bench, docker: Docker, db: str) -> None:
    """The CLI never sends it (corrections 42)."""
    assert site.host().call("Create", Name=db, Opts={"size": "2gb"})["Err"].endswith("[name-conflict]")
    assert site.host().call("Create", Name=db, Opts={"size": "100mb"})["Err"] == ""


def test_bad_input_is_one_line_with_a_code_and_leaves_nothing(site: Bench, docker: Docker) -> None:
    for options, code in (
        ({"size": "abc"}, "invalid-size"),
        ({"size": "1gb,fstype=xfs"}, "invalid-size"),
        ({"sise": "1gb"}, "invalid-option"),
        ({"fstype": "btrfs"}, "invalid-option"),
        ({"datastore": "nowhere"}, "datastore-not-found"),
        ({"clone_from": "nothing"}, "volume-not-found"),
        ({"uid": "www"}, "invalid-option"),
    ):
        said = docker.refuses_to_create("bad", **options)
        assert f"[{code}]" in said, said
        assert len(said.strip().splitlines()) == 1, said
    assert site.files() == []


def test_only_root_can_use_the_plugin_socket(site: Bench, docker: Docker) -> None:
    shown = site.machine.run("stat", "-c", "%a %u", "/run/docker/plugins/vsphere.sock").stdout.split()
    assert shown == ["600", "0"]
    try_it = "import os, socket; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
    try_it += "s.connect('/run/docker/plugins/vsphere.sock')"

    done = site.machine.run("python3", "-c", try_it, check=False)

    assert "PermissionError" in done.stderr


def test_a_process_of_another_user_is_refused_even_if_it_can_open_the_socket(site: Bench, docker: Docker) -> None:
    site.machine.run("chmod", "666", "/run/docker/plugins/vsphere.sock")
    ask = "import os, socket; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
    ask += "s.connect('/run/docker/plugins/vsphere.sock');"
    ask += "s.sendall(b'POST /VolumeDriver.List HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 2\\r\\n\\r\\n{}');"
    # Until it closes: head and body may come in two pieces.
    ask += "print(s.makefile('rb').read())"

    done = site.machine.run("python3", "-c", ask)

    site.machine.run("chmod", "600", "/run/docker/plugins/vsphere.sock")
    assert "[unknown-caller]" in done.stdout


def test_doctor_finds_nothing_wrong(site: Bench, docker: Docker) -> None:
    findings = json.loads(site.vmdkvol("doctor", "-o", "json"))

    assert [finding for finding in findings if finding["status"] != "OK"] == []
    assert "service for vsphere" in {finding["check"] for finding in findings}
