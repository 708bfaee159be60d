"""The demo's data, at a real API: all of it, once, and whatever broke off before."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api_site import ApiSite, api_site
from vmdkvol.addresses import UnixAddress
from vmdkvol.cli.client import Client
from vmdkvol.cli.demo_data import ARCHIVE, FULL, LATER, POLICIES, TENANTS, VOLUMES, fill
from vmdkvol.cli.endpoint import Endpoint
from vmdkvol.clock import SystemClock
from vmdkvol.errors import ServiceUnreachable

pytestmark = pytest.mark.integration
REFUSED = {"quota-exceeded": "create-volume-for", "name-conflict": "rename-volume", "policy-in-use": "remove-policy"}
DATASTORES = ("ds1", "ds2")
WEEK_S = 7 * 86400.0


class Breaking(Client):
    """Is cut off after so many orders."""

    def __init__(self, socket: Path, orders: int) -> None:
        super().__init__(Endpoint(UnixAddress(socket)), SystemClock())
        self._left = orders

    def order(self, *args: Any, **kwargs: Any) -> Any:
        if not self._left:
            raise ServiceUnreachable("cut off")
        self._left -= 1
        return super().order(*args, **kwargs)


@pytest.fixture
def site() -> Iterator[ApiSite]:
    with api_site(tls=False, datastores=(*DATASTORES, ARCHIVE), trash_retention_s=WEEK_S) as made:
        yield made


def filled(site: ApiSite, orders: int = 1000) -> list[str]:
    """Fill it; return what was made, as far as it came."""
    client, made = Breaking(site.socket, orders), []
    try:
        for line in fill(client, DATASTORES):
            made.append(line)
    except ServiceUnreachable:
        pass
    finally:
        client.close()
    return made


def volumes(site: ApiSite) -> dict[tuple[str, str], dict[str, Any]]:
    rows = site.unix("GET", "/v1/volumes?trash=true&limit=500").json["rows"]
    return {(row["vmgroup"], row["name"]): row for row in rows}


def vmgroups(site: ApiSite) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in site.unix("GET", "/v1/vmgroups").json["vmgroups"]}


def test_all_of_it_is_there_and_the_same_again_makes_nothing(site: ApiSite) -> None:
    made = filled(site)

    assert len(made) == len(POLICIES) + len(TENANTS) + len(VOLUMES) + len(LATER) + len(REFUSED) + 1
    assert {name: len(each["rights"]) for name, each in vmgroups(site).items() if name != "_DEFAULT"} == {
        tenant.name: len(tenant.rights) for tenant in TENANTS
    }
    found = volumes(site)
    assert {key: row["state"] for key, row in found.items()} == {
        (each.vmgroup, each.name): "trashed" if each.trashed else "ready" for each in VOLUMES
    }
    assert {row["datastore"] for row in found.values()} == {*DATASTORES, ARCHIVE}
    assert site.unix("GET", f"/v1/datastores/{ARCHIVE}").json["cordon"]["by"] == "root"
    assert filled(site) == []


def test_some_volumes_do_not_comply_and_some_orders_were_refused(site: ApiSite) -> None:
    filled(site)

    counts = site.unix("GET", f"/v1/policies/{FULL}").json["policy"]["compliance"]
    assert (counts["compliant"], counts["not_compliant"]) == (0, 1)
    entries = site.unix("GET", "/v1/audit?limit=500").json["entries"]
    assert {each["result"]: each["verb"] for each in entries if each["result"] != "done"} == REFUSED


def test_a_demand_that_somebody_made_stays(site: ApiSite) -> None:
    filled(site)
    assert site.unix("PATCH", f"/v1/policies/{FULL}", {"diskformat": "thin"}).status == 200

    assert filled(site) == []
    assert site.unix("GET", f"/v1/policies/{FULL}").json["policy"]["diskformat"] == "thin"


def test_what_broke_off_is_completed(site: ApiSite) -> None:
    """After 1, 2, 3, 4, 5 ... orders, one after the other, until there is nothing left to order."""
    for orders in itertools.count(1):
        if filled(site, orders)[-1:] == [f"datastore {ARCHIVE} is cordoned"]:
            break
        assert orders < 20, "it comes to no end"

    groups = vmgroups(site)
    for tenant in TENANTS:
        rows = {row["datastore"]: row for row in groups[tenant.name]["rights"]}
        assert len(rows) == len(tenant.rights)
        assert rows["ds1"]["total_bytes"] is not None
    assert len(volumes(site)) == len(VOLUMES)


def test_what_somebody_changed_stays(site: ApiSite) -> None:
    filled(site)
    found = volumes(site)[("demo-shop", "sessions")]
    assert site.unix("POST", f"/v1/volumes/{found['id']}/rename", {"new_name": "mine"}).status == 200
    assert site.unix("PATCH", "/v1/vmgroups/demo-shop/rights/ds1", {"total_bytes": 7 << 30, "max_bytes": 1 << 30}).status == 200
    assert site.unix("PATCH", "/v1/vmgroups/demo-shop", {"description": "ours now"}).status == 200

    assert filled(site) == ["volume sessions of demo-shop is made"]

    group = vmgroups(site)["demo-shop"]
    assert group["description"] == "ours now"
    assert {row["datastore"]: row["total_bytes"] for row in group["rights"]}["ds1"] == 7 << 30
    assert ("demo-shop", "mine") in volumes(site)
