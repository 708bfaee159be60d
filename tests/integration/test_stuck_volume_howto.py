"""The page about a stuck volume, typed while a real agent stands still; then others use the volume, and the agent wakes up."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons.site import Host, Site, eventually
from tests.daemons.test_stopped import stopped
from tests.daemons.web_process import WebProcess
from tests.integration.typed_page import Page

pytestmark = pytest.mark.integration
FIRST, SECOND, LAST = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def site() -> Iterator[Site]:
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-stuck-"))
    # The disk of a container that has just ended: still there, and nobody's mount holds it on this kernel.
    site = Site(root, hosts=("docker1", "docker2"), linger_s=600.0)
    site.start()
    yield site
    site.close()
    shutil.rmtree(root)


@pytest.fixture
def page(site: Site) -> Iterator[Page]:
    web = WebProcess(site.service.config)
    yield Page("stuck-volume.md", web)
    web.stop()


def used(host: Host) -> None:
    path = Path(host.told("Mount", Name="db", ID=FIRST)["Mountpoint"])
    (path / "file").write_text("data")
    os.sync()
    host.told("Unmount", Name="db", ID=FIRST)


def content(host: Host, mount_id: str) -> str:
    return (Path(host.patiently("Mount", Name="db", ID=mount_id)["Mountpoint"]) / "file").read_text()


def test_each_command_of_the_page_does_what_the_page_says(site: Site, page: Page) -> None:
    docker1, docker2 = site.hosts
    docker1.told("Create", Name="db", Opts={"size": "64mb"})
    used(docker1)
    with stopped(docker1.agent):
        page.begins(docker2.call("Mount", Name="db", ID=SECOND)["Err"])
        for code in (0, 5, 5, 0, 0, 0, 0):
            page.shows(page.next(code))
        assert page.ended()
        assert content(docker2, SECOND) == "data"

    refused = docker1.call("Mount", Name="db", ID=LAST)["Err"]
    assert "volume db is mounted on docker2" in refused
    docker2.told("Unmount", Name="db", ID=SECOND)
    assert content(docker1, LAST) == "data"
    docker1.told("Unmount", Name="db", ID=LAST)
    eventually(lambda: len(site.loops()) == 1, "one machine has the disk")
