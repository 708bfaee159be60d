"""The virtual machines that are Docker hosts or could be: who is enrolled, who is connected. Pure."""

from __future__ import annotations

from urllib.parse import urlencode
from uuid import UUID

from vmdkvol.admin_messages import EnrollVm, ListVms, RevokeVm, Standing
from vmdkvol.errors import BadRequest, quoted
from vmdkvol.volume import VmId
from vmdkvol_esx.web.pages.changing import Change
from vmdkvol_esx.web.pages.form import Form
from vmdkvol_esx.web.pages.visit import Drawn, Page, Visit

ROWS = 100
# A registered one is known by its socket: there is nothing to invite it to, and nothing to revoke.
_REVOCABLE = frozenset({Standing.ENROLLED, Standing.INVITED})
_LOOK = {Standing.REGISTERED: "good", Standing.ENROLLED: "good", Standing.INVITED: "warn", Standing.EXPIRED: "bad"}


def show(visit: Visit) -> Drawn:
    """Show the machines, a hundred at a time: in the order of their names if they are all here, else in that of their ids."""
    after = visit.query.maybe("after")
    page = visit.ask(ListVms(after=None if after is None else _id(after), limit=ROWS))
    whole = after is None and page["next"] is None
    values = {
        "vms": sorted(page["vms"], key=lambda vm: (vm["name"], vm["vm"])) if whole else page["vms"],
        "next": None if page["next"] is None else f"/ui/machines?{urlencode({'after': page['next']})}",
        "first": None if after is None else "/ui/machines",
        "look": _LOOK,
        "revocable": _REVOCABLE,
        "registered": Standing.REGISTERED,
    }
    return Drawn("machines.html", values)


def _id(text: str) -> VmId:
    try:
        return VmId(UUID(text))
    except ValueError:
        raise BadRequest(f"{quoted(text, 40)} is no machine's id", remedy="go on by the links of the page") from None


def _name(form: Form) -> str:
    return form.maybe("name") or form.text("vm")


PAGES = (Page("/ui/machines", show, "Machines"),)
CHANGES = (
    # The token goes into the machine and nowhere else: on a page it would stay in a browser, and in a picture of a screen.
    Change(
        "enroll-vm",
        EnrollVm,
        lambda form: EnrollVm(vm=form.text("vm"), give=True),
        lambda form: f"Invite the machine {_name(form)}",
        lambda form: f"{_name(form)} has a token in its guestinfo, and its agent enrols with that within the hour",
        lambda form: "/ui/machines",
        show,
    ),
    Change(
        "revoke-vm",
        RevokeVm,
        lambda form: RevokeVm(vm=form.text("vm")),
        lambda form: f"End the enrolment of {_name(form)}",
        lambda form: f"{_name(form)} is not enrolled any more; its disks stay as they are",
        lambda form: "/ui/machines",
        show,
    ),
)
