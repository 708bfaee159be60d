"""Properties as servers may answer them: in pages, withheld, without an object. The simulator does only the first of many."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyVmomi import vim, vmodl

from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.faults import Failed, Meaning
from vmdkvol_esx.vsphere.reading import MAX_PAGES, PAGE, PC, below, properties

VMS = [vim.VirtualMachine(f"vm-{number}") for number in range(5)]


class Collector:
    """Answers with its pages, one after the other; the last one for ever if it has a token."""

    def __init__(self, *pages: Any) -> None:
        self._pages = list(pages)
        self.tokens: list[str] = []
        self.asked: list[Any] = []

    def RetrievePropertiesEx(self, specs: Any, options: Any) -> Any:
        self.asked.append(options)
        return self._next()

    def ContinueRetrievePropertiesEx(self, token: str) -> Any:
        self.tokens.append(token)
        return self._next()

    def _next(self) -> Any:
        return self._pages.pop(0) if len(self._pages) > 1 else self._pages[0]


def page(*objects: Any, token: str | None = None) -> Any:
    return PC.RetrieveResult(objects=list(objects), token=token)


def values(vm: Any, missing: Any = None, **set_: Any) -> Any:
    withheld = [PC.MissingProperty(path="name", fault=missing)] if missing is not None else []
    propset = [vmodl.DynamicProperty(name=name, val=val) for name, val in set_.items()]
    return PC.ObjectContent(obj=vm, propSet=propset, missingSet=withheld)


def read(collector: Collector, count: int) -> Any:
    service = cast(Service, SimpleNamespace(content=SimpleNamespace(propertyCollector=collector)))
    return properties(service, vim.VirtualMachine, VMS[:count], ["name"])


def test_pages_are_followed_to_the_last() -> None:
    collector = Collector(
        page(values(VMS[0], name="a"), token="1"), page(values(VMS[1], name="b"), token="2"), page(values(VMS[2], name="c"))
    )

    assert read(collector, 3) == {"vm-0": {"name": "a"}, "vm-1": {"name": "b"}, "vm-2": {"name": "c"}}
    assert collector.tokens == ["1", "2"]


def test_a_page_is_asked_to_be_small() -> None:
    collector = Collector(page(values(VMS[0])))
    read(collector, 1)

    assert collector.asked[0].maxObjects == PAGE


def test_a_server_whose_pages_never_end_is_not_asked_for_ever() -> None:
    collector = Collector(page(values(VMS[0]), token="again"))

    with pytest.raises(Failed) as caught:
        read(collector, 1)

    assert caught.value.trouble.meaning is Meaning.NOT_UNDERSTOOD
    assert len(collector.tokens) == MAX_PAGES


@pytest.mark.parametrize("answer", [None, page(values(VMS[0], name="a"))], ids=["no-object", "one-of-two"])
def test_an_object_that_is_not_in_the_answer_is_gone(answer: Any) -> None:
    with pytest.raises(Failed) as caught:
        read(Collector(answer), 2)

    assert caught.value.trouble.meaning is Meaning.GONE


@pytest.mark.parametrize(
    ("fault", "meaning"),
    [
        (vim.fault.NotAuthenticated(), Meaning.LOGGED_OUT),
        (vim.fault.NoPermission(privilegeId="System.Read"), Meaning.FORBIDDEN),
        (vmodl.fault.SystemError(), Meaning.OTHER),
        (vmodl.fault.InvalidArgument(), Meaning.BAD_REQUEST),
    ],
    ids=["logged-out", "no-privilege", "broken", "refused"],
)
def test_a_value_that_was_withheld_is_not_one_that_is_not_set(fault: Any, meaning: Meaning) -> None:
    """Even if other values of the object came along."""
    with pytest.raises(Failed) as caught:
        read(Collector(page(values(VMS[0], missing=fault, other=1))), 1)

    assert caught.value.trouble.meaning is meaning


def test_a_missing_privilege_is_named_with_its_object() -> None:
    fault = vim.fault.NoPermission(privilegeId="VirtualMachine.Config.AddExistingDisk", object=VMS[3])

    with pytest.raises(Failed) as caught:
        read(Collector(page(values(VMS[0], missing=fault))), 1)

    assert caught.value.trouble.detail == "NoPermission: VirtualMachine.Config.AddExistingDisk on vm-3"


def test_a_value_that_is_not_set_is_absent() -> None:
    assert read(Collector(page(values(VMS[0], missing=vmodl.query.InvalidProperty(name="name")))), 1) == {"vm-0": {}}


def test_nothing_is_asked_for_no_objects() -> None:
    assert read(Collector(None), 0) == {}


# --- what lies below an object -----------------------------------------------------------------------------------


def under(collector: Collector) -> Any:
    service = cast(Service, SimpleNamespace(content=SimpleNamespace(propertyCollector=collector)))
    return below(service, VMS[0], [], {vim.VirtualMachine: ["name"]})


def test_objects_below_come_from_all_pages_with_their_kind() -> None:
    found = under(Collector(page(values(VMS[0], name="a"), token="1"), page(values(VMS[1], name="b"))))

    assert found == {"vm-0": (vim.VirtualMachine, {"name": "a"}), "vm-1": (vim.VirtualMachine, {"name": "b"})}


def test_an_object_that_the_account_may_not_see_lacks_and_hides_no_other() -> None:
    hidden = values(VMS[0], missing=vim.fault.NoPermission(privilegeId="System.Read"))

    assert under(Collector(page(hidden, values(VMS[1], name="b")))) == {"vm-1": (vim.VirtualMachine, {"name": "b"})}


def test_an_ended_session_is_no_empty_inventory() -> None:
    withheld = values(VMS[1], missing=vim.fault.NotAuthenticated())

    with pytest.raises(Failed) as caught:
        under(Collector(page(values(VMS[0], name="a"), withheld)))

    assert caught.value.trouble.meaning is Meaning.LOGGED_OUT


def test_where_there_is_nothing_nothing_is_found() -> None:
    assert under(Collector(None)) == {}
