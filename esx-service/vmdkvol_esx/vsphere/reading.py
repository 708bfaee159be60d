"""Properties of objects, by path, in one call for each page: what is there, what is not set, and nothing that was withheld.

A server that ended the session answers all the same: without a single value, and with each path in ``missingSet`` under
NotAuthenticated. Who looks at the values alone would take that for a virtual machine without disks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vmodl

from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.faults import Failed, Meaning, Trouble
from vmdkvol_esx.vsphere.stub import fault_trouble

PC = vmodl.query.PropertyCollector
# Objects in an answer: what bounds its size. The server may send fewer.
PAGE = 100
# Where each object has a few short values.
LIGHT_PAGE = 1000
# Of one read; a server that never ends is not asked for ever.
MAX_PAGES = 10_000

Values = Mapping[str, Any]


def properties(service: Service, kind: Any, objects: Sequence[Any], paths: Sequence[str]) -> Mapping[str, Values]:
    """Return, by the object's id, the values of those of ``paths`` that are set; every object has its entry.

    For ``session.read``. Raises Failed if one value was withheld: by its fault, which for an ended session is
    LOGGED_OUT; GONE if an object is not there any more, or is not in the answer. Leaf paths only: whole objects cost
    milliseconds for each device, and break with servers that are newer than the bindings.
    """
    if not objects:
        return {}
    spec = PC.FilterSpec(
        objectSet=[PC.ObjectSpec(obj=each) for each in objects], propSet=[PC.PropertySpec(type=kind, pathSet=list(paths))]
    )
    found = {each.obj._moId: _values(each) for each in _pages(service, spec)}
    lacking = [each._moId for each in objects if each._moId not in found]
    if lacking:
        raise Failed(Trouble(Meaning.GONE, f"{lacking[0]} is not in the answer"))
    return found


def below(
    service: Service, top: Any, steps: Sequence[Any], paths: Mapping[Any, Sequence[str]]
) -> Mapping[str, tuple[type, Values]]:
    """Return, by id, the kind and the values of ``top`` and of the objects below it of the kinds that ``paths`` names.

    ``steps`` are traversals, the first of them begins at ``top``. As ``properties``, but objects that the account may not
    see lack: an inventory has others' too.
    """
    spec = PC.FilterSpec(
        objectSet=[PC.ObjectSpec(obj=top, skip=False, selectSet=list(steps))],
        propSet=[PC.PropertySpec(type=kind, pathSet=list(wanted)) for kind, wanted in paths.items()],
    )
    found: dict[str, tuple[type, Values]] = {}
    for each in _pages(service, spec):
        try:
            found[each.obj._moId] = type(each.obj), _values(each)
        except Failed as failed:
            if failed.trouble.meaning is not Meaning.FORBIDDEN:
                raise
    return found


@dataclass(frozen=True, slots=True)
class Found:
    """One object of many; with ``trouble`` one of its values was withheld, so that others may be missing too."""

    values: Values
    trouble: Trouble | None = None


def each_of(service: Service, kind: Any, objects: Sequence[Any], paths: Sequence[str]) -> Mapping[str, Found]:
    """As ``properties``, but an object that withholds a value does not stand in the way of the others.

    Raises Failed if the session has ended, or if one is not there any more (GONE, by servers that then answer nothing).
    One that the answer leaves out is not in the mapping.
    """
    if not objects:
        return {}
    spec = PC.FilterSpec(
        objectSet=[PC.ObjectSpec(obj=each) for each in objects], propSet=[PC.PropertySpec(type=kind, pathSet=list(paths))]
    )
    return {each.obj._moId: _found(each) for each in _pages(service, spec)}


def all_in(service: Service, view: Any, kind: Any, paths: Sequence[str]) -> Mapping[str, Found]:
    """As ``each_of``, for every object in a container view. Failed with GONE if the view is of a login that has ended."""
    inside = PC.TraversalSpec(name="inside", type=type(view), path="view", skip=False)
    spec = PC.FilterSpec(
        objectSet=[PC.ObjectSpec(obj=view, skip=True, selectSet=[inside])],
        propSet=[PC.PropertySpec(type=kind, pathSet=list(paths))],
    )
    return {each.obj._moId: _found(each) for each in _pages(service, spec, LIGHT_PAGE)}


def _found(content: Any) -> Found:
    try:
        return Found(_values(content))
    except Failed as failed:
        if failed.trouble.meaning is Meaning.LOGGED_OUT:
            raise
        return Found({each.name: each.val for each in content.propSet}, failed.trouble)


def _pages(service: Service, spec: Any, size: int = PAGE) -> Iterator[Any]:
    collector = service.content.propertyCollector
    page = collector.RetrievePropertiesEx([spec], PC.RetrieveOptions(maxObjects=size))
    for _ in range(MAX_PAGES):
        # None: not one of the objects is there.
        if page is None:
            return
        yield from page.objects
        if not page.token:
            return
        page = collector.ContinueRetrievePropertiesEx(page.token)
    raise Failed(Trouble(Meaning.NOT_UNDERSTOOD, f"more than {MAX_PAGES} pages of properties"))


def _values(found: Any) -> Values:
    for missing in found.missingSet:
        # What the object just has not set, some servers do not tell from what no object of its kind has.
        if not isinstance(missing.fault, vmodl.query.InvalidProperty):
            raise Failed(fault_trouble(missing.fault))
    return {each.name: each.val for each in found.propSet}
