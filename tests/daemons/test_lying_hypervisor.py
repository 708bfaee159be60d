"""A hypervisor that answers late, twice, never, or of the wrong object, behind a real service, wire and agent.

Whatever it says: no byte is lost, a disk is on one host at most, what is refused has a code, and it works when the lie ends.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.lying import LIES
from tests.daemons.site import Host, Site, eventually

pytestmark = pytest.mark.integration
FIRST, SECOND, LAST = "a" * 64, "b" * 64, "c" * 64


class Lied:
    """Two hosts, and a volume ``db`` with a synced file, that nobody has."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.one, self.other = site.hosts
        self.one.told("Create", Name="db", Opts={"size": "8mb"})
        path = Path(self.one.told("Mount", Name="db", ID=FIRST)["Mountpoint"])
        with (path / "file").open("w") as file:
            file.write("data")
            file.flush()
            os.fsync(file.fileno())
        self.one.told("Unmount", Name="db", ID=FIRST)
        self.free()
        self._lie = Path(f"{site.service.config}.lie")

    def free(self) -> None:
        eventually(lambda: self.site.loops() == [], "the disk was given back")

    def begins(self, lie: str) -> None:
        self._lie.with_suffix(".new").write_text(lie)
        self._lie.with_suffix(".new").replace(self._lie)

    def ends(self) -> None:
        self._lie.unlink()

    def tries(self, host: Host, mount_id: str) -> dict[str, Any]:
        """Mount, as a container's start does; what was mounted is written to and unmounted again."""
        answer = host.call("Mount", Name="db", ID=mount_id)
        if not answer["Err"]:
            assert (Path(answer["Mountpoint"]) / "file").read_text() == "data"
            host.call("Unmount", Name="db", ID=mount_id)
        return answer

    def is_whole(self) -> bool:
        """With the truth back: on the other host it has its file, and it can be removed with all its files."""
        path = Path(self.other.patiently("Mount", Name="db", ID=LAST)["Mountpoint"])
        found = (path / "file").read_text()
        assert len(self.site.loops()) == 1
        self.other.patiently("Unmount", Name="db", ID=LAST)
        self.free()
        self.other.patiently("Remove", Name="db")
        eventually(lambda: self.site.files() == [], f"no file is left: {self.site.files()}")
        return found == "data"


@pytest.fixture
def lied() -> Iterator[Lied]:
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-site-"))
    site = Site(root, hosts=("vsphere", "other"), slow_limit_s=6.0, short_limit_s=4.0)
    site.service.module = "tests.daemons.lying"
    site.start()
    yield Lied(site)
    site.close()
    shutil.rmtree(root)


# What a Mount may answer; success only where the lie changes nothing.
EXPECTED = {
    "late": ("",),
    "twice": ("", "[volume-in-use]"),
    "never": ("[still-working]", "[service-unreachable]"),
    "lost": ("", "[outcome-unknown]"),
    "not-done": ("[truth-unknown]",),
    "an-empty-list": ("[truth-unknown]",),
    "another-disk-in-the-list": ("[truth-unknown]",),
    "another-address": ("[truth-unknown]", "[wrong-disk]", "[still-working]"),
    # The device list and the kernel say which disk it is: a Mount asks nothing else.
    "another-disk": ("",),
    "another-size": ("",),
    "no-disk": ("",),
}


def test_every_lie_has_its_answer() -> None:
    assert EXPECTED.keys() == LIES


@pytest.mark.parametrize("lie", sorted(LIES))
def test_a_lie_costs_no_data_and_no_second_host(lied: Lied, lie: str) -> None:
    lied.begins(lie)

    answer = lied.tries(lied.one, FIRST)
    again = lied.tries(lied.other, SECOND)

    assert len({loop.file for loop in lied.site.loops()}) <= 1
    assert answer["Err"] == "" or answer["Err"].endswith(EXPECTED[lie]), answer
    assert answer["Err"] != "" or "" in EXPECTED[lie], answer
    assert again["Err"] == "" or again["Err"].endswith("]"), again
    lied.ends()
    assert lied.is_whole()


@pytest.mark.parametrize("lie", ["no-disk", "an-empty-list"])
def test_under_a_running_container_a_lie_detaches_and_removes_nothing(lied: Lied, lie: str) -> None:
    path = Path(lied.one.told("Mount", Name="db", ID=FIRST)["Mountpoint"])
    before = lied.site.loops()
    lied.begins(lie)
    try:
        second = lied.tries(lied.other, SECOND)
        removed = lied.other.call("Remove", Name="db")
        assert second["Err"]
        assert removed["Err"], removed
        assert lied.site.loops() == before
        (path / "file").write_text("data")
    finally:
        lied.ends()
    lied.one.patiently("Unmount", Name="db", ID=FIRST)
    lied.free()
    assert lied.is_whole()
