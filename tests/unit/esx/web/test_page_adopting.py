"""The pages of disks that somebody else made, of machines, and of what stands against maintenance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.unit.esx.web.page_site import DISK, VM, VOLUME, Browser, Site, detail, forms, heading
from tests.unit.esx.web.test_page_again import of, refused
from vmdkvol.admin_errors import NotAdoptable, VmgroupNotFound
from vmdkvol.admin_messages import EnrollVm, Invitation, ListVms, RevokeVm, Standing, VmPage
from vmdkvol.adoption_messages import AdoptDisk, FoundDisks, ReleaseVolume, ScanDisks
from vmdkvol.advice_messages import AdviseMaintenance, TargetKind
from vmdkvol.errors import BadRequest, Conflict, DatastoreNotFound, HypervisorUnreachable, NameConflict, NotFound
from vmdkvol.orders import Actor, Plan, Role, Step
from vmdkvol.policy_messages import AWAIT_ATTACH, SetVolumePolicy
from vmdkvol.vmgroup_messages import ListVmgroups
from vmdkvol.volume import VmId
from vmdkvol.volume_orders import InspectVolume

SCAN = "/ui/datastores/ds1/disks"
ADOPT = "/ui/adopt?disk=%5Bds1%5D+databases%2Forders.vmdk"
ONE = f"/ui/volumes/{VOLUME.id}"
ROOT = Actor("root", Role.ADMIN, "unix")
# Whoever reads it can become the machine.
SECRET = "vmdkvol1.not-for-a-page"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def browser(site: Site) -> Browser:
    return site.entered()


def last(site: Site, kind: type) -> Any:
    return [each for each in site.asked if isinstance(each, kind)][-1]


def ordered(site: Site) -> list[Any]:
    """Return the orders without who gave them and whether they were only planned."""
    return [replace(each, by=ROOT, dry_run=False, expect=None) for each in site.orders()]


# --- what lies on a datastore ----------------------------------------------------------------------------------------


def test_the_disks_of_others_are_listed_and_what_can_be_adopted_leads_on(browser: Browser) -> None:
    text = browser.get(SCAN).text

    for said in ("databases/orders.vmdk", "40gb", "a machine&#39;s", "nothing is written into a disk or beside it"):
        assert said in text
    assert text.count("/ui/adopt?disk=") == 1
    assert 'href="/ui/adopt?disk=%5Bds1%5D%20databases/orders.vmdk"' in text


def test_a_folder_and_the_next_page_are_asked_of_the_core(site: Site, browser: Browser) -> None:
    site.answers[ScanDisks] = FoundDisks((DISK,), DISK.place)

    text = browser.get(f"{SCAN}?folder=%2Fa%26b%2F&after=x").text

    asked = last(site, ScanDisks)
    assert (asked.datastore, asked.folder, asked.after, asked.limit) == ("ds1", "a&b", "x", 50)
    assert "folder=a%26b&amp;after=%5Bds1%5D+databases%2Forders.vmdk" in text


@pytest.mark.parametrize("error", [NotFound("there is no folder x"), BadRequest("more than 10,000 disks lie there")])
def test_a_folder_that_is_none_is_said_beside_its_field(site: Site, browser: Browser, error: Exception) -> None:
    site.answers[ScanDisks] = error

    found = browser.get(f"{SCAN}?folder=x")

    assert found.status_code == 422
    assert 'value="x"' in found.text
    assert f'id="f-folder-wrong">{error.args[0]}' in found.text
    assert "No disk of others" not in found.text


@pytest.mark.parametrize(("error", "status"), [(DatastoreNotFound("no ds9"), 404), (HypervisorUnreachable("silent"), 503)])
def test_what_cannot_be_looked_at_is_an_error_and_not_empty(
    site: Site, browser: Browser, error: Exception, status: int
) -> None:
    site.answers[ScanDisks] = error

    assert browser.get(SCAN).status_code == status


def test_who_may_not_adopt_sees_the_disks_and_no_way_to(site: Site) -> None:
    browser = site.entered(Role.OPERATOR, "some-operator")

    assert DISK.place in browser.get(SCAN).text
    assert "/ui/adopt" not in browser.get(SCAN).text
    assert [form.action for form in forms(browser.get(ADOPT))] == ["/ui/logout"]


# --- adopting and releasing ------------------------------------------------------------------------------------------


def test_the_form_says_what_is_not_touched_and_offers_the_file_s_name(browser: Browser) -> None:
    found = browser.get(ADOPT)

    for said in ("Not a byte of it is written", "never formatted, never moved, and never deleted"):
        assert said in found.text
    form = of(found, "adopt-disk")
    assert {name: form.fields[name] for name in ("name", "vmgroup", "fstype", "access")} == {
        "name": "orders", "vmgroup": "_DEFAULT", "fstype": "ext4", "access": "read-write",
    }  # fmt: skip


def test_adopting_is_planned_first_and_leads_to_the_volume(site: Site, browser: Browser) -> None:
    fields = {"name": "a b", "vmgroup": "g", "fstype": "xfs", "options": "label=team=shop", "over_quota": "yes"}

    planned = browser.send(ADOPT, "adopt-disk", **fields)

    assert heading(planned) == "Adopt [ds1] databases/orders.vmdk as volume a b?"
    assert browser.confirm(planned).headers["Location"].startswith("/ui/volumes/a%20b?vmgroup=g&said=")
    options = (("fstype", "xfs"), ("label", "team=shop"))
    order = AdoptDisk(disk=DISK.place, vmgroup="g", name="a b", options=options, over_quota=True)
    assert ordered(site) == [order, order]


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (NameConflict("volume orders is there"), "a-name-wrong"),
        (VmgroupNotFound("no vmgroup g"), "a-group-wrong"),
        (NotAdoptable("it is a part of a snapshot"), "head"),
    ],
)
def test_what_stands_against_it_is_said_in_the_form(site: Site, browser: Browser, error: Exception, field: str) -> None:
    site.outcome = error

    found = refused(browser, ADOPT, "adopt-disk", name="orders", vmgroup="g")

    assert heading(found) == "Adopt [ds1] databases/orders.vmdk"
    assert list(of(found, "adopt-disk").wrong) == [field]


def test_it_can_be_adopted_also_while_the_vmgroups_cannot_be_read(site: Site, browser: Browser) -> None:
    site.answers[ListVmgroups] = HypervisorUnreachable("silent")

    assert browser.send(ADOPT, "adopt-disk").status_code == 200


def test_without_a_disk_there_is_nothing_to_adopt(browser: Browser) -> None:
    assert browser.get("/ui/adopt").status_code == 400


def test_an_adopted_volume_can_be_released_and_no_policy_is_laid_on_it(site: Site, browser: Browser) -> None:
    site.answers[InspectVolume] = detail(adopted=DISK.place)

    found = browser.get(ONE)

    assert DISK.place in found.text
    assert "set-volume-policy" not in found.text
    planned = browser.send(ONE, "release-volume")
    assert heading(planned) == "Release db?"
    assert browser.confirm(planned).headers["Location"].startswith("/ui/volumes?said=")
    assert ordered(site)[0] == ReleaseVolume(volume=str(VOLUME.id))


def test_a_volume_of_ours_is_not_released(browser: Browser) -> None:
    assert "release-volume" not in browser.get(ONE).text


@pytest.mark.parametrize(
    ("fields", "policy", "over", "asked"),
    [
        ({"policy": "silver"}, "silver", False, "Put db under the policy silver?"),
        ({"policy": " ", "over_allowed": "yes"}, None, True, "Put db under its datastore&#39;s own policy?"),
    ],
)
def test_a_volume_is_put_under_another_policy(
    site: Site, browser: Browser, fields: dict[str, str], policy: str | None, over: bool, asked: str
) -> None:
    planned = browser.send(ONE, "set-volume-policy", **fields)

    assert heading(planned) == asked
    assert ordered(site) == [SetVolumePolicy(volume=str(VOLUME.id), policy=policy, over_allowed=over)]


def test_a_policy_that_waits_for_an_attach_is_not_told_as_laid_on(site: Site, browser: Browser) -> None:
    site.outcome = replace(site.outcome, plan=Plan((Step(AWAIT_ATTACH, "db", "gold", "silver"),)))

    done = browser.confirm(browser.send(ONE, "set-volume-policy", policy="silver"))

    assert "volume db is under the policy silver from its next attach on." in browser.get(done.headers["Location"]).text


# --- machines --------------------------------------------------------------------------------------------------------


def test_the_machines_are_shown_with_their_standing_in_the_order_of_their_names(site: Site, browser: Browser) -> None:
    other = replace(VM, vm=VmId(UUID(int=9)), name="zeta", standing=Standing.EXPIRED, connected=False, running=None)
    site.answers[ListVms] = VmPage((other, VM))

    text = browser.get("/ui/machines").text

    assert text.index(">docker1<") < text.index(">zeta<")
    for said in ("enrolled", "expired", "not seen now", "1970-01-24 03:33:20"):
        assert said in text


def test_many_machines_are_on_several_pages(site: Site, browser: Browser) -> None:
    site.answers[ListVms] = VmPage((VM,), VM.vm)

    assert f'href="/ui/machines?after={VM.vm}"' in browser.get("/ui/machines").text
    assert browser.get("/ui/machines?after=x").status_code == 400


def test_an_invited_machine_gets_its_token_itself_and_the_page_never_shows_it(site: Site, browser: Browser) -> None:
    step = Plan((Step("invite", "docker1"),))
    site.outcome = Invitation(plan=step, done=True, token=SECRET, vm=VM.vm, vm_name="docker1", expires_at=2.0, given=True)

    planned = browser.send("/ui/machines", "enroll-vm")
    done = browser.confirm(planned)
    after = browser.get(done.headers["Location"])

    assert ordered(site)[0] == EnrollVm(by=ROOT, vm=str(VM.vm), give=True)
    assert "docker1 has a token in its guestinfo" in after.text
    for answer in (planned, done, after):
        assert SECRET not in answer.text + str(answer.headers)
    assert SECRET not in str(site.log.events)


def test_the_enrolment_of_a_machine_is_ended(site: Site, browser: Browser) -> None:
    planned = browser.send("/ui/machines", "revoke-vm")

    assert heading(planned) == "End the enrolment of docker1?"
    assert ordered(site) == [RevokeVm(vm=str(VM.vm))]


@pytest.mark.parametrize(
    ("standing", "offered"),
    [
        (Standing.REGISTERED, set()),
        (Standing.NONE, {"enroll-vm"}),
        (Standing.REVOKED, {"enroll-vm"}),
        (Standing.EXPIRED, {"enroll-vm"}),
        (Standing.INVITED, {"enroll-vm", "revoke-vm"}),
        (Standing.ENROLLED, {"enroll-vm", "revoke-vm"}),
    ],
)
def test_what_is_offered_for_a_machine_is_what_makes_sense(
    site: Site, browser: Browser, standing: Standing, offered: set[str]
) -> None:
    site.answers[ListVms] = VmPage((replace(VM, standing=standing),))

    found = {form.action.split("/")[3] for form in forms(browser.get("/ui/machines")) if "change" in form.action}

    assert found == offered


def test_a_viewer_sees_the_machines_and_changes_none(site: Site) -> None:
    assert [form.action for form in forms(site.entered(Role.VIEWER).get("/ui/machines"))] == ["/ui/logout"]


# --- maintenance -----------------------------------------------------------------------------------------------------


def test_what_blocks_maintenance_is_listed_with_what_to_do(site: Site, browser: Browser) -> None:
    text = browser.get("/ui/maintenance?target=ds1&kind=datastore").text

    asked = last(site, AdviseMaintenance)
    assert (asked.target, asked.kind) == ("ds1", TargetKind.DATASTORE)
    for said in ("not ready", "blocks", "docker1 has it", "docker stop db", "And 2 more"):
        assert said in text


def test_nothing_is_asked_before_something_is_named(site: Site, browser: Browser) -> None:
    assert browser.get("/ui/maintenance").status_code == 200
    assert [each for each in site.asked if isinstance(each, AdviseMaintenance)] == []


@pytest.mark.parametrize(
    ("query", "error", "at"),
    [
        ("target=x", NotFound("there is no x"), "m-target"),
        ("target=x", Conflict("several are called x"), "m-kind"),
        ("target=x&kind=rack", None, "m-target"),
    ],
)
def test_what_is_not_there_or_not_clear_is_said_beside_its_field(
    site: Site, browser: Browser, query: str, error: Exception | None, at: str
) -> None:
    if error is not None:
        site.answers[AdviseMaintenance] = error

    found = browser.get(f"/ui/maintenance?{query}")

    assert found.status_code == 422
    assert f'id="{at}-wrong"' in found.text
    assert 'value="x"' in found.text


# --- the filter of the audit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [("since", "yesterday"), ("until", "9" * 20), ("request", "x")])
def test_a_filter_that_cannot_be_read_is_said_beside_its_field(site: Site, browser: Browser, name: str, value: str) -> None:
    found = browser.get(f"/ui/audit?{name}={value}&actor=ann")

    assert found.status_code == 422
    assert f'id="f-{name}-wrong"' in found.text
    assert 'value="ann"' in found.text
    assert "No record fits" not in found.text
