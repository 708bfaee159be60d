"""The storage policies: which there are, who uses them, and how disks stand to them. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

from vmdkvol.errors import BadRequest, quoted
from vmdkvol.policy_messages import (
    Compliance,
    CreatePolicy,
    GetPolicy,
    ListPolicies,
    ListPolicyVolumes,
    PolicyKind,
    RemovePolicy,
    UpdatePolicy,
)
from vmdkvol.volume import VolumeId
from vmdkvol_esx.web.pages.changing import Change, Differing
from vmdkvol_esx.web.pages.form import Form
from vmdkvol_esx.web.pages.visit import Drawn, Page, Unknown, Visit

ROWS = 100
_LOOK = {Compliance.COMPLIANT: "good", Compliance.NOT_COMPLIANT: "bad", Compliance.OUT_OF_DATE: "warn"}


def show(visit: Visit) -> Drawn:
    """Show the policies in the order of their names, a hundred at a time."""
    after = visit.query.maybe("after")
    page = visit.ask(ListPolicies(after=after, limit=ROWS))
    values = {
        "policies": page["policies"],
        "next": None if page["next"] is None else f"/ui/policies?{urlencode({'after': page['next']})}",
        "first": None if after is None else "/ui/policies",
    }
    return Drawn("policies.html", values)


def inspect(visit: Visit, name: str) -> Drawn:
    """Show one policy, the vmgroups that name it, and how each volume under it stands."""
    found = visit.ask(GetPolicy(name=name))
    after = visit.query.maybe("after")
    volumes = visit.try_ask(ListPolicyVolumes(name=name, after=None if after is None else _id(after), limit=ROWS))
    following = None if isinstance(volumes, Unknown) else volumes["next"]
    values = {
        "policy": found["policy"],
        "vmgroups": found["vmgroups"],
        "volumes": volumes,
        "next": None if following is None else f"/ui/policies/{quote(name, safe='')}?{urlencode({'after': following})}",
        "unknown": Unknown,
        "is_local": found["policy"]["kind"] == PolicyKind.LOCAL,
        "look": _LOOK,
    }
    return Drawn("policy.html", values)


def _id(text: str) -> VolumeId:
    try:
        return VolumeId(UUID(text))
    except ValueError:
        raise BadRequest(f"{quoted(text, 40)} is no volume's id", remedy="go on by the links of the page") from None


# --- what may be changed of one that was made here -------------------------------------------------------------------


def _create(form: Form) -> CreatePolicy:
    return CreatePolicy(
        name=form.text("name"), description=form.maybe("description") or "", diskformat=form.maybe("diskformat")
    )


def _update(form: Form) -> UpdatePolicy:
    """Return the order: what the form does not say, the policy does not say any more."""
    given = {name: form.maybe(name) for name in ("description", "diskformat")}
    unset = tuple(name for name, value in given.items() if value is None)
    return UpdatePolicy(name=form.text("name"), description=given["description"], diskformat=given["diskformat"], unset=unset)


def _differing(visit: Visit) -> Differing:
    policy: Any = visit.ask(GetPolicy(name=visit.form.text("name")))["policy"]
    rows = [
        (label, policy[name] or "", visit.form.maybe(name) or "")
        for label, name in (("Description", "description"), ("Disk format", "diskformat"))
    ]
    return Differing(rows, policy["revision"] or 0)


def _at(form: Form) -> str:
    return f"/ui/policies/{quote(form.text('name'), safe='')}"


def _one(visit: Visit) -> Drawn:
    return inspect(visit, visit.form.text("name"))


PAGES = (Page("/ui/policies", show, "Policies"), Page("/ui/policies/<name>", inspect))
CHANGES = (
    Change(
        "create-policy",
        CreatePolicy,
        _create,
        lambda form: f"Create the policy {form.text('name')}",
        lambda form: f"policy {form.text('name')} is there",
        _at,
        show,
    ),
    Change(
        "update-policy",
        UpdatePolicy,
        _update,
        lambda form: f"Change policy {form.text('name')}",
        lambda form: f"policy {form.text('name')} is changed; disks stay as they are",
        _at,
        _one,
        _differing,
    ),
    Change(
        "remove-policy",
        RemovePolicy,
        lambda form: RemovePolicy(name=form.text("name")),
        lambda form: f"Remove the policy {form.text('name')}",
        lambda form: f"policy {form.text('name')} is removed",
        lambda form: "/ui/policies",
        _one,
    ),
)
