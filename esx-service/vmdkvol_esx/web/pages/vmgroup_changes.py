"""What a person may change of a vmgroup, by a form each; and what is shown to who was not the first. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote

from vmdkvol.errors import BadRequest
from vmdkvol.names import datastore_name
from vmdkvol.orders import OrderFor
from vmdkvol.sizes import format_size, parse_size
from vmdkvol.vmgroup_messages import (
    AddMembers,
    CreateVmgroup,
    GetVmgroup,
    RemoveMembers,
    RemoveRight,
    RemoveVmgroup,
    SetRight,
    UpdateVmgroup,
)
from vmdkvol_esx.web.pages import vmgroups
from vmdkvol_esx.web.pages.again import DIGEST
from vmdkvol_esx.web.pages.changing import Change, Differing
from vmdkvol_esx.web.pages.form import Form, about
from vmdkvol_esx.web.pages.visit import Drawn, Visit

_NO_LIMIT = "no limit"
_ANY = "any"


def _create(form: Form) -> CreateVmgroup:
    return CreateVmgroup(
        name=form.text("name"),
        default_datastore=form.text("default_datastore"),
        description=form.maybe("description") or "",
        vms=form.lines("vms"),
        defaults=form.pairs("defaults"),
        policies=form.lines("policies"),
        digest=form.maybe(DIGEST),
    )


def _update(form: Form) -> UpdateVmgroup:
    """Return the order: what the form says is all that the vmgroup says then. ``had`` are the defaults that it was drawn with.

    Those that it does not say any more go.
    """
    given = form.pairs("defaults")
    gone = tuple((key, "") for key in form.several("had") if key not in dict(given))
    description, policies = form.maybe("description"), form.lines("policies")
    unset = (*(() if description else ("description",)), *(() if policies else ("policies",)))
    new_name = form.text("new_name")
    return UpdateVmgroup(
        name=form.text("name"),
        new_name=None if new_name == form.text("name") else new_name,
        description=description,
        default_datastore=form.text("default_datastore"),
        defaults=(*given, *gone) or None,
        policies=policies or None,
        unset=unset,
    )


def _set_right(form: Form) -> SetRight:
    """Return the order: an empty limit is none."""
    policies = form.lines("policies")
    empty = [name for name in ("max_bytes", "total_bytes") if form.maybe(name) is None]
    return SetRight(
        name=form.text("name"),
        datastore=datastore_or_word(form.text("datastore")),
        allow_create=form.flag("allow_create"),
        max_bytes=_size(form, "max_bytes"),
        total_bytes=_size(form, "total_bytes"),
        policies=policies or None,
        unset=(*empty, *(() if policies else ("policies",))),
    )


def _size(form: Form, name: str) -> int | None:
    text = form.maybe(name)
    with about(name):
        return None if text is None else parse_size(text)


def datastore_or_word(text: str) -> str:
    """Return the name of a datastore, or one of the words in its place; raises what is wrong with it."""
    return text if text in ("_VM_DS", "_ALL_DS") else datastore_name(text)


def _vms(form: Form) -> tuple[str, ...]:
    found = form.lines("vms")
    if not found:
        raise BadRequest("no machine is named", remedy="write their names or ids, one a line", form_field="vms")
    return found


# --- what differs, for who was not the first -------------------------------------------------------------------------


def _own_differing(visit: Visit) -> Differing:
    """Return the vmgroup's own fields as they are now beside what the form says."""
    form = visit.form
    group = visit.ask(GetVmgroup(name=form.text("name")))
    rows = (
        ("Name", group["name"], form.maybe("new_name")),
        ("Description", group["description"], form.maybe("description") or ""),
        ("Default datastore", group["default_datastore"], form.maybe("default_datastore")),
        ("Defaults", _lines(f"{key}={value}" for key, value in group["defaults"]), _lines(form.lines("defaults"))),
        ("Policies", _lines(group["policies"]) or _ANY, _lines(form.lines("policies")) or _ANY),
    )
    # What the other one added would be taken away without a word.
    had = tuple(("had", key) for key, _ in group["defaults"])
    return Differing(rows, group["revision"], had)


def _right_gone_differing(visit: Visit) -> Differing:
    return _right_beside(visit, ("taken away",) * 4)


def _right_differing(visit: Visit) -> Differing:
    form = visit.form
    limits = (form.maybe("max_bytes") or _NO_LIMIT, form.maybe("total_bytes") or _NO_LIMIT)
    return _right_beside(visit, (_may(form.flag("allow_create")), *limits, _lines(form.lines("policies")) or _ANY))


def _right_beside(visit: Visit, mine: tuple[str, ...]) -> Differing:
    form = visit.form
    group = visit.ask(GetVmgroup(name=form.text("name")))
    place = form.text("datastore")
    right = next((each for each in group["rights"] if each["datastore"] == place), None)
    if right is None:
        now: tuple[Any, ...] = ("there is no such right",) * 4
    else:
        limits = (_limit(right["max_bytes"]), _limit(right["total_bytes"]))
        now = (_may(right["allow_create"]), *limits, _lines(right["policies"]) or _ANY)
    names = ("May create", "Largest volume", "Quota", "Policies")
    return Differing(tuple(zip(names, now, mine, strict=True)), group["revision"])


def _members_differing(visit: Visit, what: str) -> Differing:
    """Return who is in it now beside those that join or leave, which does not hang on what else was changed."""
    group = visit.ask(GetVmgroup(name=visit.form.text("name")))
    names = _lines(member["name"] for member in group["members"])
    return Differing((("Machines", names or "none", f"{what}: {_lines(visit.form.lines('vms'))}"),), group["revision"])


def _gone_differing(visit: Visit) -> Differing:
    group = visit.ask(GetVmgroup(name=visit.form.text("name")))
    now = f"{group['member_count']} machines, {group['volumes']} volumes"
    return Differing((("Vmgroup", now, "removed"),), group["revision"])


def _lines(texts: Any) -> str:
    return ", ".join(texts)


def _limit(size_bytes: int | None) -> str:
    return _NO_LIMIT if size_bytes is None else format_size(size_bytes)


def _may(create: bool) -> str:
    return "yes" if create else "no, mount only"


# --- the table -------------------------------------------------------------------------------------------------------


def _at(field: str) -> Callable[[Form], str]:
    return lambda form: f"/ui/vmgroups/{quote(form.text(field), safe='')}"


def _one(visit: Visit) -> Drawn:
    return vmgroups.inspect(visit, visit.form.text("name"))


def _row(
    verb: str,
    message: type[OrderFor[Any]],
    read: Callable[[Form], OrderFor[Any]],
    title: str,
    said: str,
    differing: Callable[[Visit], Differing] | None,
    back: Callable[[Form], str] | None = None,
    page: Callable[[Visit], Drawn] = _one,
) -> Change:
    """Return a row whose words have ``{name}`` and ``{datastore}`` of the form in them."""

    def worded(text: str) -> Callable[[Form], str]:
        return lambda form: text.replace("{datastore}", form.maybe("datastore") or "").replace(
            "{name}", form.maybe("name") or ""
        )

    return Change(verb, message, read, worded(title), worded(said), back or _at("name"), page, differing)


CHANGES = (
    _row(
        "create-vmgroup",
        CreateVmgroup,
        _create,
        "Create the vmgroup {name}",
        "vmgroup {name} is there",
        None,
        page=vmgroups.show,
    ),
    _row(
        "update-vmgroup",
        UpdateVmgroup,
        _update,
        "Change vmgroup {name}",
        "vmgroup {name} is changed",
        _own_differing,
        _at("new_name"),
    ),
    _row(
        "remove-vmgroup",
        RemoveVmgroup,
        lambda form: RemoveVmgroup(
            name=form.text("name"),
            remove_volumes=form.flag("remove_volumes"),
            empty_trash=form.flag("empty_trash"),
            force=form.flag("force"),
            digest=form.maybe(DIGEST),
        ),
        "Remove vmgroup {name}",
        "vmgroup {name} is removed",
        _gone_differing,
        lambda form: "/ui/vmgroups",
    ),
    _row(
        "add-members",
        AddMembers,
        lambda form: AddMembers(name=form.text("name"), vms=_vms(form), digest=form.maybe(DIGEST)),
        "Put machines into vmgroup {name}",
        "they are in vmgroup {name}",
        partial(_members_differing, what="those that join"),
    ),
    _row(
        "remove-members",
        RemoveMembers,
        lambda form: RemoveMembers(name=form.text("name"), vms=_vms(form), digest=form.maybe(DIGEST)),
        "Take a machine out of vmgroup {name}",
        "it is out of vmgroup {name}",
        partial(_members_differing, what="those that leave"),
    ),
    _row(
        "set-right",
        SetRight,
        _set_right,
        "Set the rights of vmgroup {name} on {datastore}",
        "the rights of vmgroup {name} on {datastore} are set",
        _right_differing,
    ),
    _row(
        "remove-right",
        RemoveRight,
        lambda form: RemoveRight(name=form.text("name"), datastore=datastore_or_word(form.text("datastore"))),
        "Take the rights on {datastore} from vmgroup {name}",
        "vmgroup {name} has no rights of its own on {datastore}",
        _right_gone_differing,
    ),
)
