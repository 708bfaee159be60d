"""Disks that somebody else made: which lie on a datastore, and how one becomes a volume where it lies. Pure."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from vmdkvol.adoption_messages import AdoptDisk, ScanDisks
from vmdkvol.errors import BadRequest, DatastoreNotFound, NotFound
from vmdkvol.options import ACCESS, FSTYPES
from vmdkvol.vmgroup_messages import DEFAULT_NAME, ListVmgroups
from vmdkvol_esx.web.pages.again import DIGEST, Again
from vmdkvol_esx.web.pages.changing import Change
from vmdkvol_esx.web.pages.form import Form
from vmdkvol_esx.web.pages.visit import Drawn, Page, Unknown, Visit

# Each is read by itself, so that a page of them does not take longer than whoever asks waits.
ROWS = 50


def show(visit: Visit, name: str) -> Drawn:
    """Show the disks on a datastore that are not ours, fifty at a time, and what stands against adopting each. Only looks."""
    folder, after = (visit.query.maybe("folder") or "").strip("/"), visit.query.maybe("after")
    place = f"/ui/datastores/{quote(name, safe='')}/disks"
    kept = {"folder": folder} if folder else {}
    values = {"store": name, "place": place, "folder": folder, "slip": None, "found": None, "next": None, "first": None}
    try:
        found = visit.ask(ScanDisks(datastore=name, folder=folder, after=after, limit=ROWS))
    except DatastoreNotFound:
        raise
    except (BadRequest, NotFound) as error:
        return Drawn("disks.html", {**values, "slip": Again(visit.query, error, "folder")}, status=422, refused=error)
    following = None if found["next"] is None else f"{place}?{urlencode({**kept, 'after': found['next']})}"
    first = None if after is None else f"{place}?{urlencode(kept)}"
    return Drawn("disks.html", {**values, "found": found["disks"], "next": following, "first": first})


def adopt(visit: Visit) -> Drawn:
    """Show the form by which the disk at this place becomes a volume, and what it leaves alone."""
    place = visit.form.maybe("disk") or visit.query.text("disk")
    groups = visit.try_ask(ListVmgroups())
    values = {
        "disk": place,
        "store": place.removeprefix("[").partition("]")[0],
        "stem": place.rpartition("/")[2].removesuffix(".vmdk"),
        "vmgroups": [] if isinstance(groups, Unknown) else [group["name"] for group in groups["vmgroups"]],
        "default": DEFAULT_NAME,
        "fstypes": FSTYPES,
        "access": ACCESS,
    }
    return Drawn("adopt.html", values)


def _order(form: Form) -> AdoptDisk:
    chosen = ((key, form.maybe(key)) for key in ("fstype", "access"))
    options = (*((key, value) for key, value in chosen if value is not None), *form.pairs("options"))
    return AdoptDisk(
        disk=form.text("disk"),
        vmgroup=form.text("vmgroup"),
        name=form.text("name"),
        options=options,
        over_quota=form.flag("over_quota"),
        digest=form.maybe(DIGEST),
    )


def _at(form: Form) -> str:
    return f"/ui/volumes/{quote(form.text('name'), safe='')}?{urlencode({'vmgroup': form.text('vmgroup')})}"


PAGES = (Page("/ui/datastores/<name>/disks", show), Page("/ui/adopt", adopt))
CHANGES = (
    Change(
        "adopt-disk",
        AdoptDisk,
        _order,
        lambda form: f"Adopt {form.text('disk')} as volume {form.text('name')}",
        lambda form: f"volume {form.text('name')} is ready, and its disk lies where it lay",
        _at,
        adopt,
    ),
)
