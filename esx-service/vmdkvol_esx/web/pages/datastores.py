"""The datastores: how full they are, and whether they take new volumes. Pure."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from vmdkvol.adoption_messages import ScanDisks
from vmdkvol.audit_messages import QueryAudit
from vmdkvol.names import DatastoreName, datastore_name
from vmdkvol.site_messages import CordonDatastore, GetDatastore, ListDatastores, UncordonDatastore
from vmdkvol_esx.web.pages.changing import Change
from vmdkvol_esx.web.pages.form import Form
from vmdkvol_esx.web.pages.visit import Drawn, Page, Visit

ROWS = 100


def show(visit: Visit) -> Drawn:
    """Show the datastores in the order of their names, a hundred at a time."""
    after = visit.query.maybe("after")
    page = visit.ask(ListDatastores(after=None if after is None else datastore_name(after), limit=ROWS))
    following: DatastoreName | None = page["next"]
    values = {
        "datastores": page["datastores"],
        "next": None if following is None else f"/ui/datastores?{urlencode({'after': following})}",
        "first": None if after is None else "/ui/datastores",
    }
    return Drawn("datastores.html", values)


def inspect(visit: Visit, name: str) -> Drawn:
    """Show one datastore."""
    store = visit.ask(GetDatastore(name=name))
    return Drawn("datastore.html", {"store": store, "scans": visit.may(ScanDisks), "told": visit.may(QueryAudit)})


def _at(form: Form) -> str:
    return f"/ui/datastores/{quote(form.text('name'), safe='')}"


def _one(visit: Visit) -> Drawn:
    return inspect(visit, visit.form.text("name"))


PAGES = (Page("/ui/datastores", show, "Datastores"), Page("/ui/datastores/<name>", inspect))
CHANGES = (
    Change(
        "cordon-datastore",
        CordonDatastore,
        lambda form: CordonDatastore(name=form.text("name"), reason=form.maybe("reason") or ""),
        lambda form: f"Have no new volumes made on {form.text('name')}",
        lambda form: f"{form.text('name')} takes no new volumes; those on it go on",
        _at,
        _one,
    ),
    Change(
        "uncordon-datastore",
        UncordonDatastore,
        lambda form: UncordonDatastore(name=form.text("name")),
        lambda form: f"Have volumes made on {form.text('name')} again",
        lambda form: f"{form.text('name')} takes new volumes",
        _at,
        _one,
    ),
)
