"""A form with a wrong field: it is there again, with all that was in it, and says beside the field what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from werkzeug.test import TestResponse

from tests.unit.esx.web.page_site import VOLUME, Browser, Site, detail, heading, store
from tests.unit.esx.web.test_page_policies import GOLD
from tests.unit.esx.web.test_page_site import ORPHAN
from tests.unit.esx.web.test_page_vmgroups import ANSWERS, GROUP
from vmdkvol import admin_errors, errors
from vmdkvol.errors import (
    BadRequest,
    DatastoreNotFound,
    InvalidName,
    InvalidOption,
    InvalidSize,
    NameConflict,
    NoSpace,
    NotPermitted,
    PolicyNotFound,
    QuotaExceeded,
    StaleRequest,
    VolumeError,
    VolumeNotFound,
)
from vmdkvol.orphan_messages import ListOrphans, Orphans
from vmdkvol.policy_messages import GetPolicy, ListPolicies, ListPolicyVolumes, PolicyDetail, PolicyPage, PolicyVolumes
from vmdkvol.site_messages import GetDatastore
from vmdkvol.vmgroup_messages import GetVmgroup
from vmdkvol.volume import State
from vmdkvol.volume_orders import InspectVolume
from vmdkvol_esx.web.pages.again import wrong_field
from vmdkvol_esx.web.pages.form import Form
from vmdkvol_esx.web.pages.tables import CHANGES

ONE = f"/ui/volumes/{VOLUME.id}"
GROUPS = "/ui/vmgroups/prod"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.answers |= ANSWERS
    made.answers |= {
        ListPolicies: PolicyPage((GOLD,)),
        GetPolicy: PolicyDetail(GOLD, ("prod",)),
        ListPolicyVolumes: PolicyVolumes(()),
        GetDatastore: store(),
        ListOrphans: Orphans((ORPHAN,)),
    }
    return made


@pytest.fixture
def browser(site: Site) -> Browser:
    return site.entered()


@dataclass
class Drawn:
    """A form as it is drawn. ``fields``: what each field has in it, ``said`` its attributes; ``wrong``: what is said of it."""

    action: str
    unfolded: bool
    fields: dict[str, str] = field(default_factory=dict)
    said: dict[str, dict[str, str | None]] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> tuple[str, str]:
        return self.action, self.fields.get("form", "")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Drawn] = []
        self._open, self._area, self._wrong, self._select = False, "", "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if tag == "details":
            self._open = "open" in said
        elif tag == "form" and said.get("method") == "post":
            self.found.append(Drawn(said.get("action") or "", self._open))
        elif said.get("class") == "wrong":
            self._wrong = said.get("id") or "head"
            self.found[-1].wrong[self._wrong] = ""
        elif self.found:
            self._field(tag, said)

    def _field(self, tag: str, said: dict[str, str | None]) -> None:
        form, name = self.found[-1], said.get("name") or ""
        if tag in ("input", "textarea", "select"):
            form.said[name] = said
        if tag == "input" and (said.get("type") != "checkbox" or "checked" in said):
            form.fields[name] = said.get("value") or ""
        self._area = name if tag == "textarea" else self._area
        self._select = name if tag == "select" else self._select
        if tag == "option" and "selected" in said:
            form.fields[self._select] = said.get("value") or ""

    def handle_data(self, data: str) -> None:
        if self._wrong:
            self.found[-1].wrong[self._wrong] += data
        elif self._area:
            self.found[-1].fields[self._area] = self.found[-1].fields.get(self._area, "") + data

    def handle_endtag(self, tag: str) -> None:
        if tag in ("span", "p"):
            self._wrong = ""
        elif tag == "textarea":
            self._area = ""
        elif tag == "details":
            self._open = False


def drawn(answer: TestResponse) -> list[Drawn]:
    """Return the forms of a page that give orders."""
    reader = _Reader()
    reader.feed(answer.text)
    return [each for each in reader.found if each.action.startswith("/ui/change/")]


def of(answer: TestResponse, verb: str) -> Drawn:
    """Return the first form of a verb."""
    return next(each for each in drawn(answer) if each.action == f"/ui/change/{verb}/plan")


def refused(browser: Browser, path: str, verb: str, **fields: str) -> TestResponse:
    """Send the first form of a verb with these fields in it; return the answer, which has to be no plan."""
    form = of(browser.get(path), verb)
    answer = browser.post(form.action, {**form.fields, **fields})
    assert answer.status_code == 422, answer.text
    return answer


# --- what is drawn ---------------------------------------------------------------------------------------------------


def test_the_form_is_there_again_unfolded_with_what_was_in_it(site: Site, browser: Browser) -> None:
    sent = {
        "name": " web ",
        "vmgroup": "prod",
        "size": "20 apples",
        "datastore": "ds2",
        "options": "a=b\nc",
        "over_quota": "yes",
    }

    found = refused(browser, "/ui/volumes", "create-volume", **sent)

    assert heading(found) == "Volumes"
    form = of(found, "create-volume")
    assert form.unfolded
    assert {name: form.fields[name] for name in sent} == sent
    assert site.orders() == []


def test_a_box_that_was_not_ticked_is_not_ticked_again(browser: Browser) -> None:
    form = of(browser.get(GROUPS), "set-right")
    assert form.fields.pop("allow_create") == "yes"

    found = browser.post(form.action, {**form.fields, "max_bytes": "much"})

    assert "allow_create" not in of(found, "set-right").fields


def test_what_is_chosen_stays_chosen(site: Site, browser: Browser) -> None:
    site.outcome = InvalidName("'?' is not a policy's name")

    found = refused(browser, "/ui/policies", "create-policy", name="?", diskformat="thick")

    assert of(found, "create-policy").fields["diskformat"] == "thick"


def test_the_error_stands_beside_its_field_which_has_the_focus(browser: Browser) -> None:
    form = of(refused(browser, ONE, "resize-volume", size="many"), "resize-volume")

    said = form.said["size"]
    assert said["aria-invalid"] == "true"
    assert "autofocus" in said
    assert (said["aria-describedby"] or "").split() == ["z-size-wrong", "z-size-hint"]
    assert form.wrong == {"z-size-wrong": f"size 'many' cannot be read; {InvalidSize.remedy}"}


def test_one_field_of_the_page_has_the_focus_and_no_other_form_says_anything(browser: Browser) -> None:
    found = refused(browser, GROUPS, "set-right", total_bytes="much")

    assert found.text.count(" autofocus") == 1
    assert [each.name[1] for each in drawn(found) if each.wrong] == ["set-right ds1"]
    assert [each.name[1] for each in drawn(found) if each.unfolded] == ["set-right ds1", "remove-right ds1"]


def test_the_page_begins_with_what_is_wrong_the_code_and_the_request(site: Site, browser: Browser) -> None:
    site.outcome = NameConflict("volume web is there already")

    found = refused(browser, ONE, "rename-volume", new_name="web")

    for text in ("Not done.", "volume web is there already", "<code>name-conflict</code>", found.headers["X-Request-Id"]):
        assert text in found.text


def test_what_is_about_no_single_field_stands_at_the_form_s_head_with_the_focus(site: Site, browser: Browser) -> None:
    site.outcome = BadRequest("that does not go together", remedy="leave one of them out")

    found = refused(browser, ONE, "set-volume", options="a=b")

    assert of(found, "set-volume").wrong == {"head": "that does not go together; leave one of them out"}
    assert found.text.count(" autofocus") == 1


def test_nothing_is_left_to_be_confirmed(site: Site, browser: Browser) -> None:
    found = refused(browser, ONE, "resize-volume", size="many")

    assert [each for each in drawn(found) if not each.action.endswith("/plan") or "key" in each.fields] == []


def test_a_proof_is_typed_anew(site: Site, browser: Browser) -> None:
    site.answers[InspectVolume] = detail(replace(VOLUME, state=State.LOST))
    site.outcome = admin_errors.ProofNeeded("'web' is not the volume's name")

    form = of(refused(browser, ONE, "destroy-volume", i_know="web"), "destroy-volume")

    assert form.fields["i_know"] == ""
    assert "autofocus" in form.said["i_know"]


def test_what_was_typed_is_text_when_it_comes_back(site: Site, browser: Browser) -> None:
    bad = '"><img src=x onerror=alert(1)></textarea><script>x</script>{{6*7777}}'
    site.outcome = InvalidOption(f"option {bad} is unknown")

    found = refused(browser, ONE, "set-volume", options=bad)

    for evil in ("<img", "<script>x", "46662"):
        assert evil not in found.text
    assert of(found, "set-volume").fields["options"] == bad


def test_what_somebody_else_changed_meanwhile_is_not_overwritten_by_the_second_try(site: Site, browser: Browser) -> None:
    form = of(browser.get(GROUPS), "update-vmgroup")
    site.answers[GetVmgroup] = replace(GROUP, revision=9, defaults=(*GROUP.defaults, ("access", "read-only")))

    found = browser.post(form.action, {**form.fields, "defaults": "size"})

    again = of(found, "update-vmgroup")
    assert (form.fields["revision"], again.fields["revision"]) == ("7", "7")
    # What the other one added was not seen, and is not taken away.
    assert 'name="had" value="access"' not in found.text


def test_the_second_try_is_planned_like_the_first(site: Site, browser: Browser) -> None:
    form = of(refused(browser, ONE, "resize-volume", size="many"), "resize-volume")

    planned = browser.post(form.action, {**form.fields, "size": "40gb"})

    assert heading(planned) == "Enlarge db to 40gb?"
    assert browser.confirm(planned).status_code == 303


def test_what_is_wrong_only_when_it_is_done_leads_back_as_well(site: Site, browser: Browser) -> None:
    planned = browser.send(ONE, "rename-volume", new_name="web")
    site.outcome = NameConflict("volume web is there already")

    found = browser.confirm(planned)

    assert found.status_code == 422
    form = of(found, "rename-volume")
    assert (form.fields["new_name"], form.unfolded) == ("web", True)
    assert "key" not in form.fields


@pytest.mark.parametrize("error", [NotPermitted("no"), VolumeNotFound("there is no volume db")])
def test_what_no_field_helps_against_is_an_error_as_ever(site: Site, browser: Browser, error: VolumeError) -> None:
    form = of(browser.get(ONE), "rename-volume")
    site.outcome = error

    found = browser.post(form.action, form.fields)

    assert found.status_code in (403, 404)
    assert drawn(found) == []


def test_a_page_that_cannot_be_drawn_now_does_not_hide_what_was_wrong(site: Site, browser: Browser) -> None:
    form = of(browser.get(ONE), "resize-volume")
    site.answers[InspectVolume] = VolumeNotFound("volume db is gone")

    found = browser.post(form.action, {**form.fields, "size": "many"})

    assert (found.status_code, heading(found)) == (400, "That cannot be meant as it was sent")
    assert "size &#39;many&#39; cannot be read" in found.text


@pytest.mark.parametrize("field", ["revision", "csrf"])
def test_a_field_that_nobody_fills_in_is_no_field_to_lead_back_to(browser: Browser, field: str) -> None:
    form = of(browser.get(ONE), "rename-volume")

    assert browser.post(form.action, {**form.fields, field: "\u0667"}).status_code in (400, 403)


def test_the_log_has_what_was_refused_and_no_order(site: Site, browser: Browser) -> None:
    planned = browser.send(ONE, "rename-volume", new_name="web")
    site.outcome = NameConflict("volume web is there already")
    browser.confirm(planned)

    assert any(event.startswith("refused") and "name-conflict" in event for event in site.log.events)
    assert [event for event in site.log.events if event.startswith("order")] == []


# --- every form ------------------------------------------------------------------------------------------------------


PAGES = (
    "/ui/volumes",
    ONE,
    "/ui/vmgroups",
    GROUPS,
    "/ui/datastores/ds1",
    "/ui/policies",
    "/ui/policies/gold",
    "/ui/orphans",
    "/ui/machines",
    "/ui/adopt?disk=[ds1]+x.vmdk",
)
_STATES = (State.READY, State.TRASHED)
# They are drawn in other states of their objects: work under way, a cordon, a lost or an adopted volume.
ELSEWHERE = {"cancel-task", "uncordon-datastore", "release-volume"}


def _every_form(site: Site, browser: Browser) -> list[tuple[str, State, Drawn]]:
    found = []
    for state in _STATES:
        site.answers[InspectVolume] = _in(state)
        found += [(path, state, form) for path in PAGES for form in drawn(browser.get(path))]
    return found


def _in(state: State) -> Any:
    return detail(replace(VOLUME, state=state))


def test_every_form_leads_back_to_itself(site: Site, browser: Browser) -> None:
    seen = set()
    for path, state, form in _every_form(site, browser):
        site.answers[InspectVolume], site.outcome = _in(state), BadRequest("that cannot be meant")
        filled = {"new_name": "x", "size": "1gb", "vms": "a", "name": "n", "datastore": "ds1", "default_datastore": "ds1"}
        given = {name: filled.get(name, "") for name in form.said} | form.fields | {"options": "a=b"}
        given |= {name: value for name, value in filled.items() if not given.get(name) and name in form.said}

        answer = browser.post(form.action, given)

        assert answer.status_code == 422, (path, form.name, answer.text)
        assert [each.name for each in drawn(answer) if each.wrong] == [form.name], path
        seen.add(form.action.split("/")[3])
    assert {row.verb for row in CHANGES} - seen == ELSEWHERE


def test_no_two_forms_of_a_page_are_taken_for_each_other(site: Site, browser: Browser) -> None:
    for path in PAGES:
        names = [form.name for form in drawn(browser.get(path))]
        assert len(names) == len(set(names)), path


# --- which field -----------------------------------------------------------------------------------------------------

CREATE, RENAME, RIGHT = (
    ("name", "vmgroup", "size", "datastore", "options"),
    ("volume", "new_name"),
    ("name", "max_bytes", "total_bytes"),
)
ROWS: list[tuple[VolumeError, tuple[str, ...], str | None]] = [
    (InvalidName("x"), CREATE, "name"),
    (InvalidName("x"), (*RENAME, "name"), "new_name"),
    (NameConflict("x"), RENAME, "new_name"),
    (NameConflict("x"), ("options",), None),
    (InvalidSize("x"), CREATE, "size"),
    (InvalidSize("x"), ("name", "defaults"), "defaults"),
    (InvalidOption("x"), CREATE, "options"),
    (InvalidOption("x"), ("volume",), ""),
    (QuotaExceeded("x"), CREATE, "size"),
    (QuotaExceeded("x"), RENAME, None),
    (NoSpace("x"), ("volume", "size"), "size"),
    (DatastoreNotFound("x"), CREATE, "datastore"),
    (DatastoreNotFound("x"), ("default_datastore",), "default_datastore"),
    (PolicyNotFound("x"), CREATE, "options"),
    (PolicyNotFound("x"), ("policies", "defaults"), "policies"),
    (admin_errors.VmgroupNotFound("x"), CREATE, "vmgroup"),
    *(
        (error("x"), ("name", "to_vmgroup"), "to_vmgroup")
        for error in (admin_errors.VmgroupNotFound, QuotaExceeded, NameConflict)
    ),
    (admin_errors.VmNotFound("x"), ("name", "vms"), "vms"),
    (admin_errors.MemberElsewhere("x"), ("name", "vms"), "vms"),
    (admin_errors.InvalidLimit("x"), RIGHT, "max_bytes"),
    (admin_errors.ProofNeeded("x"), ("i_know",), "i_know"),
    (admin_errors.ProofNeeded("x"), ("volume",), None),
    (admin_errors.VmgroupNotEmpty("x"), ("name",), "name"),
    (admin_errors.WrongMedia("x"), CREATE, None),
    (admin_errors.BodyTooLong("x"), CREATE, None),
    (BadRequest("x"), CREATE, ""),
    (BadRequest("x", form_field="defaults"), CREATE, "defaults"),
    (BadRequest("x", form_field="revision"), CREATE, None),
    (StaleRequest("x"), CREATE, None),
    (NotPermitted("x"), CREATE, None),
]


@pytest.mark.parametrize(("error", "names", "at"), ROWS, ids=lambda value: getattr(value, "code", str(value)))
def test_an_error_is_about_a_field_that_the_form_has(error: VolumeError, names: tuple[str, ...], at: str | None) -> None:
    assert wrong_field(error, Form(dict.fromkeys(names, ("x",)))) == at


@pytest.mark.parametrize("code", sorted(errors.BY_CODE))
def test_what_is_about_no_field_of_a_form_is_told_by_every_code(code: str) -> None:
    """Only what was asked in a wrong way leads back to a form in which nothing is known to be wrong."""
    error = errors.from_code(code, "x", {})

    leads_back = wrong_field(error, Form({"volume": (str(UUID(int=5)),)})) is not None

    kept_out = isinstance(error, admin_errors.WrongMedia | admin_errors.BodyTooLong)
    assert leads_back == (isinstance(error, BadRequest) and not kept_out)
