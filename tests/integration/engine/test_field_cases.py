"""Cases from other products' bug reports that need a real engine. The names are those of the list of field cases."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.engine.bench import Bench, Docker, bench, engine_for

pytestmark = [pytest.mark.integration, pytest.mark.engine]
MIB = 1 << 20


@pytest.fixture(scope="module")
def site() -> Iterator[Bench]:
    with bench() as made:
        yield made
        assert made.files() == []
        made.wait_idle()


@pytest.fixture(scope="module")
def docker(site: Bench) -> Docker:
    return engine_for(site)


def extent(site: Bench) -> Path:
    (found,) = [path for path in site.files() if path.name.endswith("-flat.vmdk")]
    return found


@pytest.mark.timeout(800)
def test_c17_a_name_can_be_used_again_at_once_100_times(site: Bench, docker: Docker) -> None:
    docker.create("v", size="2mb")
    slowest = 0.0
    for _ in range(100):
        listed: list[list[str]] = []
        reader = threading.Thread(target=lambda seen: seen.append(docker.volumes()), args=(listed,))
        reader.start()
        began = time.monotonic()
        docker.rm("v")
        slowest = max(slowest, time.monotonic() - began)
        reader.join()
        assert listed[0] in ([], ["v"])
        assert "v" not in [volume["Name"] for volume in site.host().told("List")["Volumes"] or ()]
        docker.create("v", size="2mb")
    docker.rm("v")

    # A whole `docker` command, on a machine that does other things too.
    assert slowest < 5.0


@pytest.mark.timeout(800)
def test_c18_volume_ls_while_volumes_are_removed(site: Bench, docker: Docker) -> None:
    host = site.host()
    names = [f"v{number}" for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: host.told("Create", Name=name, Opts={"size": "2mb"}), names))
    removing = threading.Thread(target=lambda: [host.told("Remove", Name=name) for name in names])
    removing.start()
    counts = []
    while removing.is_alive():
        rows = json.loads(site.vmdkvol("volume", "ls", "-o", "json"))
        assert all(row["name"] and row["size_bytes"] and row["state"] for row in rows)
        counts.append(len(rows))
        assert "-" not in {line.split()[1] for line in site.vmdkvol("volume", "ls").splitlines()}
    removing.join()

    assert counts == sorted(counts, reverse=True)
    assert site.volumes() == []


def test_c19_a_volume_whose_head_was_overwritten_is_refused_each_time_and_left_alone(site: Bench, docker: Docker) -> None:
    docker.create("hurt", size="20mb")
    docker.sh("hurt", "echo data > /data/x")
    host = site.host()
    site.wait_idle()
    noise = os.urandom(MIB)
    with extent(site).open("r+b") as file:
        file.write(noise)
    after = extent(site).read_bytes()
    # Through the plugin, as `docker run` does it, and a few times with the engine itself.
    for number in range(17):
        said = host.call("Mount", Name="hurt", ID=f"{number:064x}")["Err"]
        assert "[check-failed]" in said or "[foreign-content]" in said, said
    for _ in range(3):
        said = docker.fails("hurt")
        assert "[check-failed]" in said or "[foreign-content]" in said, said

    site.wait_idle()
    assert extent(site).read_bytes() == after
    docker.rm("hurt")


def test_a_volume_whose_extent_is_missing_is_refused_and_named(site: Bench, docker: Docker) -> None:
    docker.create("lost", size="20mb")
    path = extent(site)
    kept = path.rename(path.with_suffix(".away"))

    said = docker.fails("lost")

    assert "lost" in said
    assert any(code in said for code in ("[metadata-damaged]", "[volume-lost]", "[truth-unknown]")), said
    kept.rename(path)
    assert docker.sh("lost", "echo back > /data/x; cat /data/x") == "back"
    docker.rm("lost")


def test_a_disk_in_the_place_of_another_is_refused(site: Bench, docker: Docker) -> None:
    docker.create("one", size="20mb")
    docker.sh("one", "echo one > /data/x")
    site.wait_idle()
    one = next(path for path in site.files() if path.name.endswith(".vmdk") and "-flat" not in path.name)
    text = one.read_text()
    # Another disk's identity at this path.
    one.write_text(text.replace(text.split('ddb.uuid = "')[1][:8], "6F 00 C2"))

    said = docker.fails("one")

    assert any(code in said for code in ("[wrong-disk]", "[metadata-damaged]")), said
    one.write_text(text)
    assert docker.sh("one", "cat /data/x") == "one"
    docker.rm("one")
