"""The commands of the page about adopting a disk, as an administrator types them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.integration.api_site import ApiSite, api_site
from tests.integration.identity_site import ask
from tests.integration.typed_page import Page, machine, names
from vmdkvol.vmgroup_messages import CreateVmgroup
from vmdkvol.volume import VmId, new_disk_uuid
from vmdkvol_esx.local import vmdk

pytestmark = pytest.mark.integration
WEB1 = VmId(UUID(int=0xA))
MIB = 1 << 20
PLACE = "[ds1] databases/orders.vmdk"


@pytest.fixture
def site() -> Iterator[ApiSite]:
    with api_site(tls=False, hosts={"web1": WEB1}, datastores=("ds1",), trash_retention_s=1000.0) as made:
        yield made


def put(folder: Path, name: str) -> None:
    """A disk that somebody else made."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}-flat.vmdk").write_bytes(b"\1" * MIB)
    (folder / f"{name}.vmdk").write_bytes(vmdk.write(vmdk.Descriptor(MIB, f"{name}-flat.vmdk", new_disk_uuid(uuid4()))))


def sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_each_command_of_the_page_does_what_the_page_says(site: ApiSite) -> None:
    put(site.root / "ds1" / "databases", "orders")
    put(site.root / "ds1" / "web", "web")
    (site.root / "ds1" / "web" / "web.vmx").touch()
    before = sums(site.root / "ds1" / "databases")
    page, web1, admin = Page("adopt.md", site), machine(site, "web1"), machine(site, "admin")
    try:
        ask(admin, CreateVmgroup(name="shop", default_datastore="ds1", vms=("web1",)))
        said = page.next()
        assert all(word in said for word in (PLACE, "[ds1] web/web.vmdk", "virtual machine (web.vmx)"))
        said = page.next()
        assert PLACE in said
        assert "web.vmdk" not in said
        said = page.next()
        assert all(word in said for word in ("adopt-disk", "volume orders of vmgroup shop, 1mb", "volume orders is ready"))
        assert names(web1) == ["orders"]
        said = page.next()
        assert all(word in said for word in (PLACE, "team=shop"))
        said = page.next()
        assert all(word in said for word in ("release-volume", PLACE, "volume orders is released"))
        assert names(web1) == []
        assert sums(site.root / "ds1" / "databases") == before
        assert page.ended()
    finally:
        for line in (web1, admin):
            line.close()
