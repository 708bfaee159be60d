"""What an order makes of a vmgroup's rights: the group as it stands afterwards, and the steps there. Pure.

The same for a dry run and for the real one. No steps: it holds already.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from vmdkvol.admin_errors import InvalidLimit, RightNotFound
from vmdkvol.errors import BadRequest, quoted
from vmdkvol.names import ALL_DATASTORES, VM_DATASTORE, DatastoreName, datastore_name
from vmdkvol.orders import Step
from vmdkvol.sizes import format_size, short_size
from vmdkvol.vmgroup_messages import RemoveRight, SetRight
from vmdkvol.wire import answer_size
from vmdkvol_esx.group_texts import check_unset, policies_of
from vmdkvol_esx.records import Group, Right
from vmdkvol_esx.told_commands import command

# A group without its members is told in one answer, which has room for what is known beside it.
MAX_GROUP_BYTES = 24 << 10
# More than any storage has, and less than a database's number takes.
MAX_LIMIT = 1 << 60
# In the place of a datastore's name.
WORDS = (VM_DATASTORE, ALL_DATASTORES)
_UNSETS = ("max_bytes", "total_bytes", "policies")


@dataclass(frozen=True, slots=True)
class Regrouped:
    """The group as an order leaves it, and what is done for that."""

    group: Group
    steps: tuple[Step, ...] = ()


def right_on(rights: Sequence[Right], datastore: DatastoreName) -> Right | None:
    """Return the row of exactly this name or word."""
    return next((right for right in rights if right.datastore == datastore), None)


def with_full_right(rights: tuple[Right, ...], datastore: DatastoreName) -> tuple[Right, ...]:
    """Return the rights with a row for this datastore: full right, unless there is a row."""
    return rights if right_on(rights, datastore) else _in_order((*rights, Right(datastore, allow_create=True)))


def right_set(group: Group, order: SetRight, used: Mapping[DatastoreName, int]) -> Regrouped:
    """Return the group with the row that the order says; what it leaves out stays as it is.

    ``used`` is what the group's volumes take on each datastore: a total below it is taken and said, never enforced on volumes
    that are there. RightNotFound for a new row that does not say whether it may create.
    """
    place = datastore_name(order.datastore)
    check_unset(order.unset, _UNSETS, {name for name in _UNSETS if getattr(order, name) is not None})
    before = right_on(group.rights, place)
    if before is None and order.allow_create is None:
        # The first row that is found decides: a limit alone, put beside a row for all, would take away the right to create.
        raise _no_right(group.vmgroup.name, place, how="add")
    right = before or Right(place, allow_create=False)
    right = replace(
        right,
        allow_create=right.allow_create if order.allow_create is None else order.allow_create,
        max_bytes=_limit(order, "max_bytes", right.max_bytes),
        total_bytes=_limit(order, "total_bytes", right.total_bytes),
        policies=_policies(order, right.policies),
    )
    most, total = right.max_bytes, right.total_bytes
    if most is not None and total is not None and most > total:
        raise InvalidLimit(
            f"a maximum of {format_size(most)} for one volume is above the total of {format_size(total)}", datastore=place
        )
    if right == before:
        return Regrouped(group)
    others = [each for each in group.rights if each.datastore != place]
    step = Step(
        "add-right" if before is None else "set-right",
        f"{group.vmgroup.name}/{place}",
        None if before is None else in_words(before),
        in_words(right) + _beyond(right, used),
    )
    return Regrouped(checked(replace(group, rights=_in_order((*others, right)))), (step,))


def right_removed(group: Group, order: RemoveRight) -> Regrouped:
    """Return the group without the row. RightNotFound if there is none; that of the default datastore stays."""
    place, name = datastore_name(order.datastore), group.vmgroup.name
    right = right_on(group.rights, place)
    if right is None:
        raise _no_right(name, place, how="ls")
    if place == group.vmgroup.default_datastore:
        raise BadRequest(
            f"{place} is the default datastore of vmgroup {name}, whose right stays",
            remedy="give the vmgroup another default datastore first, or limit the right",
            vmgroup=name,
            datastore=place,
        )
    rights = tuple(each for each in group.rights if each is not right)
    return Regrouped(replace(group, rights=rights), (Step("remove-right", f"{name}/{place}", in_words(right), None),))


def _no_right(name: str, place: DatastoreName, *, how: str) -> RightNotFound:
    line = (
        command("vmgroup", "access", "add", "--name", name, "--datastore", place, "--allow-create")
        if how == "add"
        else command("vmgroup", "access", "ls", of=name)
    )
    remedy = f"see `{line}`" if how == "ls" else f"add one (without --allow-create it lets mount only): `{line}`"
    return RightNotFound(
        f"vmgroup {name} has no right of its own for {quoted(place)}", remedy=remedy, vmgroup=name, datastore=place
    )


def checked(group: Group) -> Group:
    """Return the group; BadRequest if its parts do not fit each other, or are too many to be told."""
    own = group.vmgroup
    policy = dict(own.defaults).get("policy")
    if policy is not None and own.policies and policy not in own.policies:
        raise BadRequest(
            f"the default policy {quoted(policy)} is none that vmgroup {own.name} may use",
            remedy=f"allowed: {', '.join(own.policies[:10])}",
        )
    if answer_size(replace(group, members=())) > MAX_GROUP_BYTES:
        raise BadRequest(
            f"vmgroup {own.name} would have too many rights and policies",
            remedy=f"use one row for {ALL_DATASTORES} where datastores do not differ",
        )
    return group


def in_words(right: Right) -> str:
    """Return what the row says, as people read it in a plan."""
    verbs = "mount, create, remove" if right.allow_create else "mount"
    most, total = (_size(limit) for limit in (right.max_bytes, right.total_bytes))
    return f"{verbs}; max {most}; total {total}; policies {', '.join(right.policies) or 'any'}"


def _size(limit: int | None) -> str:
    return "none" if limit is None else format_size(limit)


def _beyond(right: Right, used: Mapping[DatastoreName, int]) -> str:
    """Return the warning that the present use is at or above the total, so that nothing new fits."""
    total = right.total_bytes
    if total is None:
        return ""
    places = used if right.datastore in WORDS else {right.datastore} & used.keys()
    full = [f"{short_size(used[place])} on {place}" for place in sorted(places) if used[place] >= total]
    return f" (in use: {', '.join(full[:3])}; nothing new fits there)" if full else ""


def _limit(order: SetRight, name: str, before: int | None) -> int | None:
    given: int | None = getattr(order, name)
    if name in order.unset:
        return None
    if given is None:
        return before
    if not 0 < given <= MAX_LIMIT:
        raise InvalidLimit(f"{name} of {given} bytes is no limit", remedy=f"unset {name} for no limit at all")
    return given


def _policies(order: SetRight, before: tuple[str, ...]) -> tuple[str, ...]:
    if "policies" in order.unset:
        return ()
    return before if order.policies is None else policies_of(order.policies)


def _in_order(rights: Collection[Right]) -> tuple[Right, ...]:
    return tuple(sorted(rights, key=lambda right: right.datastore))
