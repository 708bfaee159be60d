"""What administrators write of vmgroups, read once: names, places, descriptions, policies, defaults, machines. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from vmdkvol.errors import BadRequest, InvalidName, InvalidOption, quoted
from vmdkvol.names import ALL_DATASTORES, VM_DATASTORE, DatastoreName, datastore_name
from vmdkvol.options import ALIASES, OPTIONS, CreateOptions
from vmdkvol.vmgroup_messages import DEFAULT_NAME
from vmdkvol.volume import VmgroupId

# vDVS's grammar and limits (vdvs-facts 7).
_NAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]*")
MAX_NAME = 64
MAX_DESCRIPTION = 256
# What is of one volume only, or said elsewhere.
_NO_DEFAULT = ("datastore", "clone-from", "label")


def vmgroup_name(text: str) -> str:
    """Return ``text`` as the name of a vmgroup; InvalidName if it cannot be one."""
    if not _NAME.fullmatch(text) or len(text) > MAX_NAME or as_id(text) is not None:
        raise InvalidName(
            f"{quoted(text)} is not a vmgroup's name",
            remedy=f"use 1 to {MAX_NAME} of A-Z, a-z, 0-9, '_', '.' and '-', with none of the last two first, and no id",
        )
    # A right on `_ALL_DS` and a vmgroup of that name, or `_default` beside `_DEFAULT`, would be told apart by nobody.
    if text != DEFAULT_NAME and text.upper() in (DEFAULT_NAME, VM_DATASTORE, ALL_DATASTORES):
        raise InvalidName(
            f"{quoted(text)} is not a vmgroup's name: {text.upper()} has a meaning of its own", remedy="use another name"
        )
    return text


def as_id(text: str) -> UUID | None:
    """Return the id that ``text`` is, in its usual form; None if it is none."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


def as_vmgroup_id(text: str) -> VmgroupId | None:
    """Return the vmgroup's id that ``text`` is; None if it is none."""
    found = as_id(text)
    return None if found is None else VmgroupId(found)


def default_place(text: str) -> DatastoreName:
    """Return ``text`` as a default datastore: a name or ``_VM_DS``; all datastores together are no place for a disk."""
    if text == ALL_DATASTORES:
        raise BadRequest(
            f"{ALL_DATASTORES} cannot be a default datastore", remedy=f"name the datastore for new volumes, or {VM_DATASTORE}"
        )
    return datastore_name(text)


def description_of(text: str, what: str = "description") -> str:
    """Return ``text`` as a description, one line for people."""
    if len(text) > MAX_DESCRIPTION or not text.isprintable():
        raise BadRequest(
            f"the {what} {quoted(text, 40)} is too long, or cannot be printed",
            remedy=f"write at most {MAX_DESCRIPTION} printable characters in one line",
        )
    return text


def policies_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the names of storage policies, none twice. An empty list is refused: it would allow all, and does not say so."""
    if not texts:
        raise BadRequest("the list of policies is empty", remedy="unset the policies to allow any of them")
    _check_once(texts, "policy")
    return tuple(OPTIONS["policy"].read("policy", text) for text in texts)


def defaults_of(given: Sequence[tuple[str, str]], before: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the defaults ``before`` with what is ``given``; an empty value takes its option away.

    Raises what a create with them would raise.
    """
    keys = [ALIASES.get(key, key) for key, _ in given]
    _check_once(keys, "the default for")
    found = dict(before)
    for key, (_, value) in zip(keys, given, strict=True):
        if key in _NO_DEFAULT:
            known = ", ".join(each for each in OPTIONS if each not in _NO_DEFAULT)
            raise InvalidOption(f"option {key} has no default in a vmgroup", remedy=f"known: {known}")
        if value or key not in OPTIONS:
            found[key] = value
        else:
            found.pop(key, None)
    CreateOptions.parse(found)
    return tuple(sorted(found.items()))


def check_listed(vms: Sequence[str]) -> None:
    """Raise BadRequest for a list of machines that is empty or has one twice."""
    if not vms:
        raise BadRequest("no virtual machine is named", remedy="name at least one")
    _check_once(vms, "virtual machine")


def check_unset(unset: Collection[str], known: Collection[str], given: Collection[str]) -> None:
    """Raise BadRequest unless ``unset`` names fields that can be, and none of those that are ``given``."""
    for name in sorted(unset):
        if name not in known:
            raise BadRequest(f"{quoted(name)} cannot be unset", remedy=f"known: {', '.join(known)}")
        if name in given:
            raise BadRequest(f"{name} is given and unset", remedy="do one of both")


def _check_once(texts: Sequence[str], what: str) -> None:
    doubles = sorted({text for text in texts if texts.count(text) > 1})
    if doubles:
        raise BadRequest(f"{what} {quoted(doubles[0])} is given twice", remedy="give each once")
