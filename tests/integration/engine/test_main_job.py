"""What the conformance suite does not ask of any plugin: file systems, sizes, clones, callers, and who holds a disk."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.engine.bench import Bench, Docker, bench, engine_for

pytestmark = [pytest.mark.integration, pytest.mark.engine]


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


def test_owner_group_and_mode_are_set_at_format(docker: Docker) -> None:
    docker.create("owned", size="50mb", uid="999", gid="998", mode="0750")

    assert docker.sh("owned", "stat -c '%u:%g %a' /data") == "999:998 750"
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
