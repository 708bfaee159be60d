"""The commands of the page about a full datastore, as an administrator types them."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.integration.api_site import ApiSite, api_site
from tests.integration.identity_site import ask
from tests.integration.typed_page import Page, create, machine, names
from vmdkvol.errors import NotPermitted
from vmdkvol.vmgroup_messages import CreateVmgroup
from vmdkvol.volume import VmId

pytestmark = pytest.mark.integration
WEB1 = VmId(UUID(int=0xA))


@pytest.fixture
def site() -> Iterator[ApiSite]:
    with api_site(tls=False, hosts={"web1": WEB1}, datastores=("ds1", "ds2"), trash_retention_s=1000.0) as made:
        yield made


def test_each_command_of_the_page_does_what_the_page_says(site: ApiSite) -> None:
    page, web1, admin = Page("full-datastore.md", site), machine(site, "web1"), machine(site, "admin")
    try:
        ask(admin, CreateVmgroup(name="shop", default_datastore="ds1", vms=("web1",)))
        create(web1, "old", size="100mb")
        create(web1, "large", size="200mb", diskformat="zeroedthick")
        said = page.next()
        assert all(word in said for word in ("ds1", "ds2", "300mb"))
        lines = page.next().splitlines()
        assert [line.split()[0] for line in lines[1:]] == ["large", "old"]
        assert "datastore ds1 is cordoned" in page.next()
        with pytest.raises(NotPermitted, match="takes no new volumes"):
            create(web1, "new", size="100mb")
        said = page.next()
        assert all(word in said for word in ("shop", "_DEFAULT", "vmgroup shop is changed"))
        assert create(web1, "new", size="100mb").datastore == "ds2"
        assert names(web1) == ["large", "new", "old"]
        assert "trash-volume" in page.next()
        assert names(web1) == ["large", "new"]
        said = page.next()
        assert "datastore ds1 takes new volumes" in said
        assert "200mb" in said
        assert create(web1, "more@ds1", size="100mb").datastore == "ds1"
        assert page.ended()
    finally:
        for line in (web1, admin):
            line.close()
