"""Field case C09: an engine whose containers' root is another user reaches the volumes all the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.engine.bench import Bench, Docker, bench, engine_for

pytestmark = [pytest.mark.integration, pytest.mark.engine]
FIRST = 100000


@pytest.fixture(scope="module")
def site() -> Iterator[Bench]:
    with bench() as made:
        # In the machine's own /etc: nothing is written to the real one.
        for name in ("passwd", "group", "subuid", "subgid"):
            source = made.machine.root / name
            made.machine.run("cp", f"/etc/{name}", str(source), check=False)
            line = (
                f"remap:{FIRST}:65536"
                if name.startswith("sub")
                else f"remap:x:{FIRST}:" + ("100000::/:/bin/false" if name == "passwd" else "")
            )
            with source.open("a") as file:
                file.write(line + "\n")
            made.machine.run("touch", f"/etc/{name}")
            made.machine.run("mount", "--bind", str(source), f"/etc/{name}")
        yield made
        made.wait_idle()


@pytest.fixture(scope="module")
def docker(site: Bench) -> Docker:
    return engine_for(site, "a", None, "--userns-remap=remap:remap")


def test_a_container_of_a_remapped_engine_starts_on_a_volume(docker: Docker) -> None:
    docker.create("remapped", size="20mb")

    assert docker.sh("remapped", "ls -d /data && cat /proc/self/uid_map | tr -s ' '") == f"/data\n 0 {FIRST} 65536"
    docker.rm("remapped")


def test_a_volume_of_the_remapped_root_can_be_written(docker: Docker) -> None:
    docker.create("remapped", size="20mb", uid=str(FIRST), gid=str(FIRST))

    assert docker.sh("remapped", "echo mine > /data/x; stat -c '%u' /data/x") == "0"
    docker.rm("remapped")
