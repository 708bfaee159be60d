"""Which storage policies vmgroups name: in their lists, in those of their rights, as their default. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from vmdkvol.errors import PolicyNotFound, one_line, quoted
from vmdkvol_esx.records import Group
from vmdkvol_esx.told_commands import command

_SHOWN = 10


def names_in(group: Group) -> frozenset[str]:
    """Return every policy that the vmgroup names."""
    default = dict(group.vmgroup.defaults).get("policy")
    of_rights = (name for right in group.rights for name in right.policies)
    return frozenset((*group.vmgroup.policies, *of_rights, *(() if default is None else (default,))))


def named_by(policy: str, groups: Iterable[Group]) -> list[str]:
    """Return the names of the vmgroups that name this policy, in the order of ``groups``."""
    return [group.vmgroup.name for group in groups if policy in names_in(group)]


def may_use(policy: str, group: Group) -> bool:
    """Tell whether a volume of the vmgroup may have the policy, on one datastore at least."""
    if group.vmgroup.policies and policy not in group.vmgroup.policies:
        return False
    return any(right.allow_create and (not right.policies or policy in right.policies) for right in group.rights)


def check_known(names: Collection[str], known: Collection[str]) -> None:
    """Raise PolicyNotFound, with the known ones, for a name that is none of them."""
    strange = sorted(name for name in names if name not in known)
    if strange:
        raise unknown(strange[0], known)


def unknown(name: str, known: Collection[str]) -> PolicyNotFound:
    """Return the error that says so, with the known ones."""
    return PolicyNotFound(f"there is no storage policy {quoted(name)}", remedy=f"known: {listed(sorted(known))}", policy=name)


def listed(names: Sequence[str]) -> str:
    """Return the first of the names as people read them."""
    shown = ", ".join(one_line(name, 40) for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{shown}{more}" if names else "none"


def let_go(policy: str, volumes: int, groups: Sequence[str]) -> str:
    """Return what is to be done before nobody uses the policy, with the commands that say where."""
    said = [f"give its volumes another one: `{command('policy', 'volumes', of=policy)}`"] if volumes else []
    said += [f"take it out of the vmgroups' lists: `{command('policy', 'inspect', of=policy)}`"] if groups else []
    return "; ".join(said)


def users(volumes: int, groups: Sequence[str]) -> str:
    """Return who uses a policy, as people read it: ``3 volumes and vmgroups dev, ops``; empty for nobody."""
    said = [f"{volumes} volume{'s' if volumes != 1 else ''}"] if volumes else []
    said += [f"vmgroup{'s' if len(groups) > 1 else ''} {listed(groups)}"] if groups else []
    return " and ".join(said)
