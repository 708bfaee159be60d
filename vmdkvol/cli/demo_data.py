"""What `vmdkvol sandbox up --demo-data` fills a sandbox with: three tenants, their rights and quotas, and two dozen volumes.

All of it is ordered at the REST API, as an administrator would. What is there already stays as it is, whoever changed it: the
same again adds only what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vmdkvol.cli.paths import path_of
from vmdkvol.errors import Conflict, Denied
from vmdkvol.sizes import parse_size

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

# Being emptied: no new volume is made there.
ARCHIVE = "demo-archive"
_CORDON = "demo: its array is replaced in March, move what is here"


@dataclass(frozen=True, slots=True)
class Right:
    """``datastore`` is the number of one of the sandbox's datastores, or a name."""

    datastore: int | str
    create: bool = True
    largest: str | None = None
    total: str | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """A vmgroup; its default datastore is the sandbox's first."""

    name: str
    description: str
    rights: tuple[Right, ...]
    defaults: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A volume. ``clone`` is the one that it is a copy of; ``trashed``: it was removed, and can be restored."""

    vmgroup: str
    name: str
    datastore: int | str
    size: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    clone: str | None = None
    trashed: bool = False


SHOP, REPORTS, STAGING = "demo-shop", "demo-reports", "demo-staging"
TENANTS = (
    Tenant(
        SHOP,
        "The web shop: orders, payments, pictures",
        (Right(0, largest="200gb", total="500gb"), Right(1, largest="100gb", total="200gb"), Right(ARCHIVE, create=False)),
        (("size", "20gb"), ("fstype", "xfs")),
    ),
    Tenant(
        REPORTS, "Nightly reports and what they are made from", (Right(0, total="150gb"), Right(1, total="1tb"), Right(ARCHIVE))
    ),
    Tenant(
        STAGING, "Where the next release is tried", (Right(0, largest="20gb", total="64gb"), Right("_ALL_DS", create=False))
    ),
)


# Name, what for, and the disk format that it demands.
GOLD, BULK, FULL = "demo-gold", "demo-bulk", "demo-written-in-full"
POLICIES = (
    (GOLD, "Backed up every hour", None),
    (BULK, "What may be slow", "thin"),
    (FULL, "No surprise when the datastore is full", None),
)
# It demands that only since there were volumes under it: they do not comply.
LATER = {FULL: "thick"}


def _labels(*pairs: str) -> tuple[tuple[str, str], ...]:
    return (("label", ",".join(pairs)),)


VOLUMES = (
    Wanted(SHOP, "orders-db", 0, "120gb", (*_labels("app=orders", "tier=gold"), ("policy", GOLD))),
    Wanted(SHOP, "orders-wal", 0, "40gb", (*_labels("app=orders", "tier=gold"), ("policy", GOLD))),
    Wanted(SHOP, "payments-db", 0, "80gb", (*_labels("app=payments", "tier=gold"), ("policy", FULL))),
    Wanted(SHOP, "customers-db", 0, "100gb", _labels("app=customers", "owner=mei")),
    Wanted(SHOP, "search-index", 0, "60gb", (("diskformat", "thin"), *_labels("app=search", "rebuild=yes"))),
    Wanted(SHOP, "pictures", 1, "95gb", (*_labels("app=catalogue"), ("access", "read-only"))),
    Wanted(SHOP, "sessions", 1, "8gb", (*_labels("app=web", "lose=yes"), ("fstype", "ext4"))),
    Wanted(SHOP, "mail-queue", 1, "12gb", _labels("app=mail")),
    Wanted(SHOP, "catalogue-cache", 1, "30gb", (*_labels("app=catalogue", "lose=yes"), ("fstype", "ext4"))),
    Wanted(SHOP, "prices-2024", 0, "5gb", _labels("app=prices"), trashed=True),
    Wanted(SHOP, "cart-old", 1, "10gb", _labels("app=web"), trashed=True),
    Wanted(REPORTS, "warehouse", 1, "600gb", _labels("app=warehouse", "tier=silver")),
    Wanted(REPORTS, "warehouse-temp", 1, "250gb", (*_labels("app=warehouse", "lose=yes"), ("policy", BULK))),
    Wanted(REPORTS, "notebooks", 0, "50gb", _labels("team=data", "owner=jonas")),
    Wanted(REPORTS, "models", 0, "80gb", (*_labels("team=data"), ("fstype", "xfs"))),
    Wanted(REPORTS, "exports", 1, "40gb", _labels("app=exports")),
    Wanted(REPORTS, "logs-2025", ARCHIVE, "300gb", _labels("keep=2027")),
    Wanted(REPORTS, "logs-2024", ARCHIVE, "280gb", _labels("keep=2026")),
    Wanted(REPORTS, "scratch", 1, "20gb", trashed=True),
    Wanted(STAGING, "orders-db", 0, "20gb", _labels("app=orders", "release=next")),
    Wanted(STAGING, "payments-db", 0, "10gb", _labels("app=payments", "release=next")),
    Wanted(STAGING, "search-index", 0, "10gb", _labels("app=search", "release=next")),
    Wanted(STAGING, "orders-db-before", 0, options=_labels("app=orders", "release=last"), clone="orders-db"),
    Wanted(STAGING, "Prüfstand", 0, "1gb", _labels("owner=zoë")),
    Wanted(STAGING, "try-17", 0, "2gb", trashed=True),
)


def fill(client: Client, datastores: Sequence[str]) -> Iterator[str]:
    """Make what is missing, and yield a line for each; ``datastores`` are the sandbox's, and ``ARCHIVE`` is another one."""
    made = {each["name"] for each in client.pages(path_of("policies"), "policies") if each["kind"] == "local"}
    for name, description, diskformat in POLICIES:
        if name not in made:
            client.order("POST", path_of("policies"), {"name": name, "description": description, "diskformat": diskformat})
            yield f"policy {name} is made"
    there = {each["name"]: each for each in client.pages(path_of("vmgroups"), "vmgroups")}
    for tenant in TENANTS:
        if tenant.name not in there:
            _found(client, tenant, datastores[0])
            yield f"vmgroup {tenant.name} is made"
        _give_rights(client, tenant, there.get(tenant.name), datastores)
    known = {(row["vmgroup"], row["name"]) for row in client.pages(path_of("volumes"), "rows", {"trash": True})}
    cordoned = client.get(path_of("datastores", ARCHIVE))["cordon"] is not None
    for wanted in VOLUMES:
        if (wanted.vmgroup, wanted.name) in known or (wanted.datastore == ARCHIVE and cordoned):
            continue
        _make(client, wanted, datastores)
        yield f"volume {wanted.name} of {wanted.vmgroup} is made{' and removed' if wanted.trashed else ''}"
    yield from _demand_more(client)
    if not cordoned:
        yield from _try_in_vain(client, datastores[0])
        client.order("POST", path_of("datastores", ARCHIVE, "cordon"), {"reason": _CORDON})
        yield f"datastore {ARCHIVE} is cordoned"


def _demand_more(client: Client) -> Iterator[str]:
    for name, diskformat in LATER.items():
        policy = client.get(path_of("policies", name))["policy"]
        if policy["diskformat"] is None:
            client.order("PATCH", path_of("policies", name), {"diskformat": diskformat}, expect=policy["revision"])
            yield f"policy {name} demands {diskformat} disks"


def _try_in_vain(client: Client, datastore: str) -> Iterator[str]:
    """Order what cannot be, so that the audit has refusals in it: beyond a limit, onto a name, a policy in use."""
    much = [["size", "400gb"], ["datastore", datastore]]
    for method, path, body in (
        ("POST", path_of("volumes"), {"vmgroup": STAGING, "name": "all-of-it", "options": much}),
        ("POST", path_of("volumes", "search-index", "rename"), {"vmgroup": STAGING, "new_name": "orders-db"}),
        ("DELETE", path_of("policies", GOLD), None),
    ):
        try:
            client.order(method, path, body)
        except (Conflict, Denied) as error:
            yield f"refused, for the audit: {error.text}"


def _found(client: Client, tenant: Tenant, datastore: str) -> None:
    body = {
        "name": tenant.name,
        "default_datastore": datastore,
        "description": tenant.description,
        "defaults": [list(pair) for pair in tenant.defaults],
    }
    client.order("POST", path_of("vmgroups"), body)


def _give_rights(client: Client, tenant: Tenant, found: Mapping[str, Any] | None, datastores: Sequence[str]) -> None:
    """Set each right that has no row yet; the default datastore's, which is made with the vmgroup, while it has no limit."""
    rows = {} if found is None else {row["datastore"]: row for row in found["rights"]}
    for right in tenant.rights:
        name = _datastore(right.datastore, datastores)
        row = rows.get(name)
        untouched = row is None or (name == datastores[0] and row["max_bytes"] is None and row["total_bytes"] is None)
        if untouched:
            limits = {"max_bytes": right.largest, "total_bytes": right.total}
            said = {limit: parse_size(text) for limit, text in limits.items() if text is not None}
            client.order("PATCH", path_of("vmgroups", tenant.name, "rights", name), {"allow_create": right.create, **said})


def _make(client: Client, wanted: Wanted, datastores: Sequence[str]) -> None:
    options = [["datastore", _datastore(wanted.datastore, datastores)], *(list(pair) for pair in wanted.options)]
    options += [["size", wanted.size]] if wanted.size is not None else []
    options += [["clone-from", wanted.clone]] if wanted.clone is not None else []
    body = {"vmgroup": wanted.vmgroup, "name": wanted.name, "options": options}
    made = client.order("POST", path_of("volumes"), body)
    if wanted.trashed:
        client.order("DELETE", path_of("volumes", made["subject"]))


def _datastore(which: int | str, datastores: Sequence[str]) -> str:
    return which if isinstance(which, str) else datastores[min(which, len(datastores) - 1)]
