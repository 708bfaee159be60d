"""The page about a storage policy: an administrator types, and a machine of the vmgroup makes volumes in between."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.integration.api_site import ApiSite, api_site
from tests.integration.identity_site import ask
from tests.integration.typed_page import Page, create, machine
from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import A
from vmdkvol.errors import BadRequest, InvalidOption, PolicyNotFound, VolumeError
from vmdkvol.line import Line
from vmdkvol.orders import Order
from vmdkvol.policy_messages import CreatePolicy, SetVolumePolicy
from vmdkvol.vmgroup_messages import CreateVmgroup
from vmdkvol.volume import VmId
from vmdkvol.volume_orders import InspectVolume, VolumeDetail

pytestmark = pytest.mark.integration
WEB1 = VmId(UUID(int=0xA))


@pytest.fixture
def site() -> Iterator[ApiSite]:
    with api_site(tls=False, hosts={"web1": WEB1}, trash_retention_s=1000.0) as made:
        yield made


def refusal(line: Line, error: type[VolumeError], **options: str) -> str:
    with pytest.raises(error) as found:
        create(line, "refused", size="50mb", **options)
    return str(found.value)


@pytest.fixture
def vcenter() -> AdminSite:
    """A service whose policies are a vCenter's; no machine has ``db``."""
    made = AdminSite()
    made.hypervisor.policies = ("gold", "silver")
    made.create("db", A, policy="gold")
    return made


def refusal_on_vsphere(vcenter: AdminSite, order: Order) -> str:
    with pytest.raises(BadRequest) as found:
        vcenter.order(order)
    return str(found.value)


def trouble(vcenter: AdminSite) -> str:
    detail: VolumeDetail = vcenter.order(InspectVolume(volume="db"))
    (line,) = [line for line in detail.trouble if "policy" in line]
    return line


def test_each_command_of_the_page_does_what_the_page_says(site: ApiSite, vcenter: AdminSite) -> None:
    page, web1, admin = Page("policy.md", site), machine(site, "web1"), machine(site, "admin")
    try:
        ask(admin, CreateVmgroup(name="shop", default_datastore="ds1", vms=("web1",)))
        create(web1, "app", size="50mb")
        for _ in range(2):
            page.shows(page.next())
        create(web1, "db", size="50mb", policy="gold", diskformat="zeroedthick")
        page.shows(refusal(web1, InvalidOption, policy="gold"))
        page.shows(refusal(web1, PolicyNotFound, policy="bronze"))
        for _ in range(2):
            page.shows(page.next())
        page.shows(refusal(web1, PolicyNotFound, policy="gold", diskformat="zeroedthick"))
        create(web1, "web", size="50mb")
        for _ in range(8):
            page.shows(page.next())
        page.shows(page.next(code=2))
        for _ in range(2):
            page.shows(page.next())
        page.shows(page.next(code=5))
        page.shows(page.next())
        page.shows(refusal_on_vsphere(vcenter, CreatePolicy(name="tin")))
        vcenter.order(SetVolumePolicy(volume="db", policy="silver"))
        page.shows(trouble(vcenter))
        vcenter.hypervisor.wishes = False
        vcenter.attach(vcenter.get("db").id)
        page.shows(trouble(vcenter))
        assert page.ended()
    finally:
        for line in (web1, admin):
            line.close()
