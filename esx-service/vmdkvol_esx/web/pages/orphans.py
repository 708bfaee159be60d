"""Disks and records that have lost each other, each with what mends it. Pure."""

from __future__ import annotations

from vmdkvol.errors import BadRequest, quoted
from vmdkvol.orphan_messages import ListOrphans, Mending, MendOrphan
from vmdkvol_esx.web.pages.changing import Change
from vmdkvol_esx.web.pages.form import Form
from vmdkvol_esx.web.pages.visit import Drawn, Page, Visit

_DOES = {
    Mending.ADOPT: "make its record again",
    Mending.TRASH: "put the disk into the trash",
    Mending.FORGET: "forget the record",
    Mending.REMOVE_SIDECAR: "remove the stray copy of the record",
}


def show(visit: Visit) -> Drawn:
    """Show what is found by a full look at every datastore, just now."""
    return Drawn("orphans.html", {"found": visit.ask(ListOrphans()), "does": _DOES})


def _mend(form: Form) -> MendOrphan:
    return MendOrphan(where=form.text("where"), action=_action(form), i_know=form.maybe("i_know") or "")


def _action(form: Form) -> Mending:
    text = form.text("action")
    if text not in list(Mending):
        raise BadRequest(f"there is no action {quoted(text, 40)}", remedy="use the forms of the page")
    return Mending(text)


PAGES = (Page("/ui/orphans", show, "Orphans", ListOrphans.needs),)
CHANGES = (
    Change(
        "mend-orphan",
        MendOrphan,
        _mend,
        lambda form: f"Mend {form.text('where')}: {_DOES[_action(form)]}",
        lambda form: f"{form.text('where')} is mended",
        lambda form: "/ui/orphans",
        show,
    ),
)
