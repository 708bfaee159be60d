"""The pages of storage policies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.unit.esx.web.page_site import Browser, Site, forms, heading
from vmdkvol.errors import HypervisorUnreachable, PolicyNotFound, StaleRequest
from vmdkvol.names import DatastoreName
from vmdkvol.orders import Role
from vmdkvol.policy_messages import (
    Compliance,
    ComplianceCounts,
    CreatePolicy,
    GetPolicy,
    ListPolicies,
    ListPolicyVolumes,
    PolicyDetail,
    PolicyInfo,
    PolicyKind,
    PolicyPage,
    PolicyVolume,
    PolicyVolumes,
    RemovePolicy,
    UpdatePolicy,
)
from vmdkvol.volume import State, VolumeId

GOLD = PolicyInfo("gold", PolicyKind.LOCAL, "the <b>best", "thin", 1, 3, 2, ComplianceCounts(not_compliant=1), 4)
VOLUME = PolicyVolume(
    VolumeId(UUID(int=5)), "db", "g", DatastoreName("ds1"), State.READY, Compliance.NOT_COMPLIANT, None, 1.0, "it is thick"
)
PATH = "/ui/policies/gold"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.answers |= {
        ListPolicies: PolicyPage((GOLD, replace(GOLD, name="a b", kind=PolicyKind.MISSING)), "x&y"),
        GetPolicy: PolicyDetail(GOLD, ("prod",)),
        ListPolicyVolumes: PolicyVolumes((VOLUME,)),
    }
    return made


@pytest.fixture
def browser(site: Site) -> Browser:
    return site.entered()


def test_the_list_leads_to_each_and_says_which_are_missing(browser: Browser) -> None:
    text = browser.get("/ui/policies").text

    assert 'href="/ui/policies/a%20b"' in text
    assert 'href="/ui/policies?after=x%26y"' in text
    assert '<span class="mark bad">missing</span>' in text
    assert "<b>" not in text


def test_one_is_shown_with_how_its_volumes_stand_and_why(browser: Browser) -> None:
    found = browser.get(PATH)

    assert heading(found) == "Policy gold"
    for text in ("not-compliant", "it is thick", 'href="/ui/vmgroups/prod"', "And 1 more"):
        assert text in found.text


def test_what_cannot_be_read_is_said_and_the_rest_is_there(site: Site, browser: Browser) -> None:
    site.answers[ListPolicyVolumes] = HypervisorUnreachable("nobody answers")

    found = browser.get(PATH)

    assert found.status_code == 200
    assert "Not known: nobody answers" in found.text


def test_one_that_there_is_not_is_said(site: Site, browser: Browser) -> None:
    site.answers[GetPolicy] = PolicyNotFound("there is no policy x")

    assert browser.get("/ui/policies/x").status_code == 404
    assert browser.get(f"{PATH}?after=x").status_code == 404


@pytest.mark.parametrize("kind", [PolicyKind.SPBM, PolicyKind.MISSING])
def test_what_was_not_made_here_has_no_form(site: Site, browser: Browser, kind: PolicyKind) -> None:
    site.answers[GetPolicy] = PolicyDetail(replace(GOLD, kind=kind), ())

    assert [form.action for form in forms(browser.get(PATH))] == ["/ui/logout"]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_who_may_not_change_it_has_no_form(site: Site, role: Role) -> None:
    browser = site.entered(role, f"some-{role}")

    for path in ("/ui/policies", PATH):
        assert [form.action for form in forms(browser.get(path))] == ["/ui/logout"]


@pytest.mark.parametrize(
    ("path", "verb", "fields", "order"),
    [
        ("/ui/policies", "create-policy", {"name": "new"}, CreatePolicy(name="new")),
        ("/ui/policies", "create-policy", {"name": "n", "diskformat": "thin"}, CreatePolicy(name="n", diskformat="thin")),
        (
            PATH,
            "update-policy",
            {"description": "x"},
            UpdatePolicy(name="gold", description="x", unset=("diskformat",), expect=4),
        ),
        (PATH, "remove-policy", {}, RemovePolicy(name="gold", expect=4)),
    ],
)
def test_every_form_means_its_order(
    site: Site, browser: Browser, path: str, verb: str, fields: dict[str, str], order: Any
) -> None:
    [form] = [each for each in forms(browser.get(path)) if verb in each.action]

    assert browser.post(form.action, {**form.fields, **fields}).status_code == 200

    given = site.orders()[-1]
    assert given == replace(order, by=given.by, dry_run=True)


def test_the_second_of_two_is_shown_both(site: Site, browser: Browser) -> None:
    [form] = [each for each in forms(browser.get(PATH)) if "update-policy" in each.action]
    site.outcome = StaleRequest("policy gold was changed meanwhile")
    site.answers[GetPolicy] = PolicyDetail(replace(GOLD, description="theirs", revision=5), ())

    found = browser.post(form.action, {**form.fields, "description": "mine"})

    assert found.status_code == 412
    assert [text for text in ("theirs", "mine", 'value="5"') if text not in found.text] == []
