"""What an order makes of a vmgroup and its members: the group as it stands afterwards, and the steps there. Pure.

The same for a dry run and for the real one; vDVS's rules (vdvs-facts 7). No steps: it holds already.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from vmdkvol.admin_errors import DefaultVmgroup
from vmdkvol.errors import NameConflict, one_line
from vmdkvol.orders import Step
from vmdkvol.vmgroup_messages import DEFAULT_NAME, CreateVmgroup, UpdateVmgroup
from vmdkvol.volume import DEFAULT_VMGROUP, VmgroupId, VmId
from vmdkvol_esx.allotting import Regrouped, checked, in_words, right_on, with_full_right
from vmdkvol_esx.group_texts import check_unset, default_place, defaults_of, description_of, policies_of, vmgroup_name
from vmdkvol_esx.records import Group, Member, Right, Vmgroup

# Of the machines that come, and of those that go; the others are told by their number.
_SHOWN = 50
_LONGEST = 80
_UNSETS = ("description", "defaults", "policies")


def made(order: CreateVmgroup, vmgroup: VmgroupId, members: Sequence[Member]) -> Regrouped:
    """Return the new group; ``_DEFAULT`` has its own id, whatever ``vmgroup`` is, and no members."""
    name, place = vmgroup_name(order.name), default_place(order.default_datastore)
    key = DEFAULT_VMGROUP if name == DEFAULT_NAME else vmgroup
    if order.vms:
        check_has_list(key)
    own = Vmgroup(
        key,
        name,
        place,
        description_of(order.description),
        defaults_of(order.defaults, {}),
        policies_of(order.policies) if order.policies else (),
    )
    group = checked(Group(own, with_full_right((), place), _in_order(members)))
    steps = (
        Step("create-vmgroup", name, None, f"default datastore {place}"),
        *_own_steps(Vmgroup(own.id, name, place), own),
        *_right_steps(name, (), group.rights),
        *_member_steps(name, (), group.members),
    )
    return Regrouped(group, steps)


def check_same(stored: Group, wanted: Group) -> None:
    """Raise NameConflict, with what differs, unless the stored group is what a create would make; its rights may be more."""
    has, asked = stored.vmgroup, wanted.vmgroup
    pairs: Mapping[str, tuple[object, object]] = {
        "default datastore": (has.default_datastore, asked.default_datastore),
        "description": (has.description, asked.description),
        "defaults": (has.defaults, asked.defaults),
        "policies": (has.policies, asked.policies),
        "machines": ({each.vm for each in stored.members}, {each.vm for each in wanted.members}),
    }
    other = [what for what, (one, two) in pairs.items() if one != two]
    if other:
        raise NameConflict(
            f"vmgroup {has.name} exists, with other {', '.join(other)}",
            remedy="use another name, or change the vmgroup that there is",
            vmgroup=has.name,
        )


def updated(group: Group, order: UpdateVmgroup) -> Regrouped:
    """Return the group with what the order gives; its id, its members and all that is left out stay."""
    own, unset = group.vmgroup, order.unset
    check_unset(unset, _UNSETS, {name for name in _UNSETS if getattr(order, name) is not None})
    new = own
    if order.new_name is not None:
        new = replace(new, name=_new_name(own, order.new_name))
    if order.default_datastore is not None:
        new = replace(new, default_datastore=default_place(order.default_datastore))
    if order.description is not None or "description" in unset:
        new = replace(new, description=description_of(order.description or ""))
    if order.defaults is not None or "defaults" in unset:
        new = replace(new, defaults=defaults_of(order.defaults or (), {} if "defaults" in unset else dict(own.defaults)))
    if order.policies is not None or "policies" in unset:
        new = replace(new, policies=() if order.policies is None else policies_of(order.policies))
    moved = new.default_datastore is not None and new.default_datastore != own.default_datastore
    rights = with_full_right(group.rights, new.default_datastore) if moved and new.default_datastore else group.rights
    steps = (*_own_steps(own, new), *_right_steps(own.name, group.rights, rights))
    return Regrouped(checked(replace(group, vmgroup=new, rights=rights)), steps)


def _new_name(own: Vmgroup, text: str) -> str:
    name = vmgroup_name(text)
    if name != own.name and DEFAULT_NAME in (name, own.name):
        raise DefaultVmgroup(f"vmgroup {own.name} cannot be renamed to {name}: {DEFAULT_NAME} keeps its name")
    return name


# --- members -----------------------------------------------------------------------------------------------------


def with_members(group: Group, members: Iterable[Member]) -> Regrouped:
    """Return the group with these machines too; those that are in it keep the names that they came with."""
    known = {each.vm for each in group.members}
    return _with(group, (*group.members, *(each for each in members if each.vm not in known)))


def without_members(group: Group, vms: Collection[VmId]) -> Regrouped:
    """Return the group without these machines; one that is not in it is no step."""
    return _with(group, tuple(each for each in group.members if each.vm not in vms))


def with_exactly(group: Group, members: Collection[Member]) -> Regrouped:
    """Return the group with these machines and no others; those that are in it keep the names that they came with."""
    known = {each.vm: each for each in group.members}
    return _with(group, tuple(known.get(each.vm, each) for each in members))


def emptied(group: Group) -> Regrouped:
    """Return the group without any machine; ``_DEFAULT`` has none."""
    return without_members(group, {each.vm for each in group.members}) if group.members else Regrouped(group)


def _with(group: Group, members: tuple[Member, ...]) -> Regrouped:
    check_has_list(group.vmgroup.id)
    new = replace(group, members=_in_order(members))
    return Regrouped(new, _member_steps(group.vmgroup.name, group.members, new.members))


def check_has_list(vmgroup: VmgroupId) -> None:
    """Raise DefaultVmgroup for the one that has no list of machines."""
    if vmgroup == DEFAULT_VMGROUP:
        raise DefaultVmgroup(
            f"{DEFAULT_NAME} has no list of machines: every machine that is in no other vmgroup is in it",
            remedy="put them into another vmgroup, or take them out of theirs",
        )


def _in_order(members: Collection[Member]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda member: str(member.vm)))


# --- steps -------------------------------------------------------------------------------------------------------


def _own_steps(before: Vmgroup, after: Vmgroup) -> tuple[Step, ...]:
    name = before.name
    pairs = (
        ("rename-vmgroup", before.name, after.name),
        ("set-description", before.description, after.description),
        ("set-default-datastore", before.default_datastore, after.default_datastore),
        ("set-policies", ", ".join(before.policies) or "any", ", ".join(after.policies) or "any"),
    )
    changed = [Step(verb, name, old or "none", new or "none") for verb, old, new in pairs if old != new]
    had, has = dict(before.defaults), dict(after.defaults)
    keys = sorted(key for key in {*had, *has} if had.get(key) != has.get(key))
    return (*changed, *(Step("set-default", f"{name}/{key}", had.get(key, "none"), has.get(key, "none")) for key in keys))


def _right_steps(name: str, before: Sequence[Right], after: Sequence[Right]) -> tuple[Step, ...]:
    added = [right for right in after if right_on(before, right.datastore) is None]
    return tuple(Step("add-right", f"{name}/{right.datastore}", None, in_words(right)) for right in added)


def _member_steps(name: str, before: Sequence[Member], after: Sequence[Member]) -> tuple[Step, ...]:
    was, now = ({each.vm for each in members} for members in (before, after))
    gone = _told([each for each in before if each.vm not in now])
    come = _told([each for each in after if each.vm not in was])
    return (
        *(Step("remove-member", name, who, None) for who in gone),
        *(Step("add-member", name, None, who) for who in come),
    )


def _told(members: Sequence[Member]) -> list[str]:
    """Return the machines as people read them: a plan of a thousand of them must still be an answer."""
    told = [f"{one_line(each.name, _LONGEST)} ({each.vm})" for each in members[:_SHOWN]]
    return [*told, f"{len(members) - _SHOWN} more"] if len(members) > _SHOWN else told
