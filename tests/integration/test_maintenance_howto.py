"""The commands of the page about maintenance, as an administrator types them, and the screens that it shows."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.integration.api_site import ApiSite, api_site
from tests.integration.identity_site import ask
from tests.integration.typed_page import Page, create, machine
from vmdkvol.errors import NotPermitted
from vmdkvol.messages import Attach, Detach
from vmdkvol.volume import VmId

pytestmark = pytest.mark.integration
WEB1 = VmId(UUID(int=0xA))


@pytest.fixture
def site() -> Iterator[ApiSite]:
    with api_site(tls=False, hosts={"web1": WEB1}, datastores=("ds1", "ds2")) as made:
        yield made


def test_each_command_of_the_page_does_what_the_page_says(site: ApiSite) -> None:
    page, web1 = Page("maintenance.md", site), machine(site, "web1")
    try:
        volume = create(web1, "db", size="100mb").id
        attachment = ask(web1, Attach(volume))
        page.shows(page.next(code=5))
        assert "datastore ds1 is cordoned" in page.next()
        with pytest.raises(NotPermitted, match="takes no new volumes"):
            create(web1, "new", size="100mb")
        ask(web1, Detach(volume, attachment.generation))
        assert "it was so already" in page.next()
        page.shows(page.next())
        page.next()
        page.shows(page.next())
        assert page.ended()
    finally:
        web1.close()
