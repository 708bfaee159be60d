"""The commands of the page about a tenant, as an administrator types them, between what the tenant's machines do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.integration.api_site import ApiSite
from tests.integration.identity_site import CLOCK, ask
from tests.reference import DOCS
from vmdkvol.addresses import UnixAddress
from vmdkvol.errors import NotPermitted, QuotaExceeded
from vmdkvol.line import Line
from vmdkvol.messages import CreateVolume, GetVolume, ListVolumes, RemoveVolume
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import DEFAULT_VMGROUP, VmId, VolumeInfo

pytestmark = pytest.mark.integration
BLOCKS = re.findall(r"```sh\n(.*?)```", (DOCS / "how-to" / "tenant.md").read_text(encoding="utf-8"), re.DOTALL)
HOSTS = {"web1": VmId(UUID(int=0xA)), "web2": VmId(UUID(int=0xB))}


@pytest.fixture(scope="module")
def site() -> Iterator[ApiSite]:
    with tempfile.TemporaryDirectory(prefix="vmdkvol-tenant-") as folder:
        made = ApiSite(Path(folder), tls=False, hosts=HOSTS, datastores=("ds1", "ds2"))
        try:
            yield made
        finally:
            made.close()


class Page:
    """The blocks of the page, one after the other."""

    def __init__(self, site: ApiSite) -> None:
        self._left = iter(BLOCKS)
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "VMDKVOL_API": f"unix://{site.socket}",
        }

    def next(self) -> str:
        """Type the next block; return all that is said."""
        block = next(self._left)
        done = subprocess.run(
            ["bash", "-euc", block], env=self._environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        return done.stdout + done.stderr

    def ended(self) -> bool:
        return next(self._left, None) is None


def machine(site: ApiSite, name: str) -> Line:
    return Line(UnixAddress(site.root / f"{name}.sock"), CLOCK, agent="test", boot_id=name, first_pause_s=0.01).start()


def create(line: Line, name: str, **options: str) -> VolumeInfo:
    return ask(line, CreateVolume(VolumeRef.parse(name), CreateOptions.parse(options)))


def names(line: Line) -> list[str]:
    return sorted(each.name for each in ask(line, ListVolumes()).volumes)


def test_each_command_of_the_page_does_what_the_page_says(site: ApiSite) -> None:
    page, web1, web2 = Page(site), machine(site, "web1"), machine(site, "web2")
    try:
        create(web1, "before", size="100mb")
        makes_it(page, web1, web2)
        limits_it(page, web1, web2)
        changes_it(page, web1, web2)
        takes_it_away(page, web1, web2)
        assert page.ended()
        assert create(web1, "after", size="100mb").vmgroup == DEFAULT_VMGROUP
    finally:
        for line in (web1, web2):
            line.close()


def makes_it(page: Page, web1: Line, web2: Line) -> None:
    said = page.next()
    assert all(word in said for word in ("web1", "web2", "ds1", "ds2"))
    said = page.next()
    assert all(word in said for word in ("create-vmgroup", "add-member", "web2"))
    assert names(web1) == names(web2) == ["before"]
    assert "vmgroup shop is created" in page.next()
    assert names(web1) == names(web2) == []
    with pytest.raises(NotPermitted):
        create(web1, "elsewhere@ds2", size="100mb")


def limits_it(page: Page, web1: Line, web2: Line) -> None:
    page.next()
    with pytest.raises(QuotaExceeded):
        create(web1, "huge", size="201gb")
    page.next()
    with pytest.raises(NotPermitted):
        create(web1, "elsewhere@ds2", size="100mb")
    said = page.next()
    assert all(word in said for word in ("shop", "200gb", "1tb", "fstype=xfs"))


def changes_it(page: Page, web1: Line, web2: Line) -> None:
    page.next()
    volume = create(web1, "db", size="300mb")
    assert names(web2) == ["db"]
    assert "300mb on ds1; nothing new fits there" in page.next()
    said = page.next()
    assert "vmgroup webshop no longer has web2" in said
    ask(web1, RemoveVolume(volume.id))


def takes_it_away(page: Page, web1: Line, web2: Line) -> None:
    assert "vmgroup webshop is removed" in page.next()
    assert names(web1) == names(web2) == ["before"]
    ask(web1, RemoveVolume(ask(web1, GetVolume(VolumeRef.parse("before"))).id))
    said = page.next()
    assert "vmgroup _DEFAULT is removed" in said
    assert "vmgroup _DEFAULT is created" in said
