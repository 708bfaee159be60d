"""The commands of the page about a tenant, as an administrator types them, between what the tenant's machines do."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.integration.api_site import ApiSite, api_site
from tests.integration.identity_site import ask
from tests.integration.typed_page import Page, create, machine, names
from vmdkvol.errors import NotPermitted, QuotaExceeded
from vmdkvol.line import Line
from vmdkvol.messages import GetVolume, RemoveVolume
from vmdkvol.names import VolumeRef
from vmdkvol.volume import DEFAULT_VMGROUP, VmId

pytestmark = pytest.mark.integration
HOSTS = {"web1": VmId(UUID(int=0xA)), "web2": VmId(UUID(int=0xB))}


@pytest.fixture(scope="module")
def site() -> Iterator[ApiSite]:
    with api_site(tls=False, hosts=HOSTS, datastores=("ds1", "ds2")) as made:
        yield made


def test_each_command_of_the_page_does_what_the_page_says(site: ApiSite) -> None:
    page, web1, web2 = Page("tenant.md", site), machine(site, "web1"), machine(site, "web2")
    try:
        create(web1, "before", size="100mb")
        create(web1, "old-data", size="100mb")
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
    assert names(web1) == names(web2) == ["before", "old-data"]
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
    said = page.next()
    assert all(word in said for word in ("move-volume", "vmgroup _DEFAULT", "old-data is in vmgroup webshop now"))
    assert names(web1) == names(web2) == ["old-data"]


def takes_it_away(page: Page, web1: Line, web2: Line) -> None:
    ask(web1, RemoveVolume(ask(web1, GetVolume(VolumeRef.parse("old-data"))).id))
    assert "vmgroup webshop is removed" in page.next()
    assert names(web1) == names(web2) == ["before"]
    ask(web1, RemoveVolume(ask(web1, GetVolume(VolumeRef.parse("before"))).id))
    said = page.next()
    assert "vmgroup _DEFAULT is removed" in said
    assert "vmgroup _DEFAULT is created" in said
