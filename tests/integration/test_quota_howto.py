"""The page about a quota: an administrator types, and a machine of the vmgroup runs into the limits in between."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.integration.api_site import ApiSite, api_site
from tests.integration.identity_site import ask
from tests.integration.typed_page import Page, create, machine, names
from vmdkvol.errors import QuotaExceeded
from vmdkvol.line import Line
from vmdkvol.vmgroup_messages import CreateVmgroup
from vmdkvol.volume import VmId

pytestmark = pytest.mark.integration
WEB1 = VmId(UUID(int=0xA))


@pytest.fixture
def site() -> Iterator[ApiSite]:
    with api_site(tls=False, hosts={"web1": WEB1}, trash_retention_s=1000.0) as made:
        yield made


def refusal(line: Line, name: str, size: str) -> str:
    with pytest.raises(QuotaExceeded) as found:
        create(line, name, size=size)
    return str(found.value)


def test_each_command_of_the_page_does_what_the_page_says(site: ApiSite) -> None:
    page, web1, admin = Page("quota.md", site), machine(site, "web1"), machine(site, "admin")
    try:
        ask(admin, CreateVmgroup(name="shop", default_datastore="ds1", vms=("web1",)))
        page.next()
        page.shows(page.next())
        page.shows(refusal(web1, "large", "300mb"))
        for name in ("db1", "db2", "db3"):
            create(web1, name, size="160mb")
        page.shows(refusal(web1, "db4", "100mb"))
        page.shows(page.next(code=7))
        for _ in range(3):
            page.shows(page.next())
        create(web1, "db4", size="100mb")
        page.shows(page.next())
        create(web1, "large", size="300mb")
        page.shows(page.next())
        assert refusal(web1, "db5", "10mb")
        page.shows(page.next())
        page.shows(page.next())
        assert names(web1) == ["archive", "db1", "db2", "db4", "large"]
        assert refusal(web1, "db5", "10mb")
        assert page.ended()
    finally:
        for line in (web1, admin):
            line.close()
