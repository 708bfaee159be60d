"""What comes by HTTP becomes a message, or is refused with what is wrong with it."""

from __future__ import annotations

import ast
import inspect
from typing import Any
from uuid import UUID

import pytest

from vmdkvol.admin_errors import WrongMedia
from vmdkvol.admin_messages import EnrollVm, ListVms, RevokeVm
from vmdkvol.audit_messages import ExportAudit, Form, QueryAudit
from vmdkvol.errors import BadRequest
from vmdkvol.orders import Actor, Role
from vmdkvol.vmgroup_messages import AddMembers, CreateVmgroup, RemoveMembers, SetRight
from vmdkvol.volume import VmId
from vmdkvol_esx.web import asked, front, intake, misreadings
from vmdkvol_esx.web.asked import Said, call_id, message, path_parts, wait_of
from vmdkvol_esx.web.misreadings import SEE
from vmdkvol_esx.web.preconditions import Conditions
from vmdkvol_esx.web.routes import ROUTES, Route

ANN = Actor("ann", Role.ADMIN, "192.0.2.7")
NEW = UUID(int=99)
JSON = "application/json"


def row(name: str) -> Route:
    return next(route for route in ROUTES if route.name == name)


def made(name: str, path: dict[str, str] | None = None, /, **said: Any) -> Any:
    body = said.pop("body", b"")
    return message(row(name), path or {}, Said(body=body, kind=JSON if body else "", **said), ANN)


def test_a_query_has_its_fields_from_path_and_query_string() -> None:
    after = VmId(UUID(int=5))
    assert made("ListVms", query=f"after={after}&limit=7") == ListVms(after, 7, by=ANN)
    assert made("ListVms") == ListVms(by=ANN)


def test_an_order_has_its_fields_from_path_and_body() -> None:
    assert made("EnrollVm", {"vm": "host"}, body=b'{"give": true}') == EnrollVm("host", True, by=ANN)
    assert made("RevokeVm", {"vm": "ho st"}) == RevokeVm("ho st", by=ANN)


def test_dry_run_and_the_expected_revision_are_no_fields_of_the_body() -> None:
    path = {"name": "g", "datastore": "ds1"}
    found = made("SetRight", path, body=b'{"max_bytes": 5}', query="dry_run=true", conditions=Conditions('"7"'))
    assert found == SetRight(name="g", datastore="ds1", max_bytes=5, by=ANN, dry_run=True, expect=7)


def test_a_list_in_a_body_and_one_name_in_a_path_are_the_same_message() -> None:
    assert made("AddMembers", {"name": "g"}, body=b'{"vms": ["a", "b"]}') == AddMembers(name="g", vms=("a", "b"), by=ANN)
    assert made("RemoveMember", {"name": "g", "vms": "a"}) == RemoveMembers(name="g", vms=("a",), by=ANN)


def test_the_audit_goes_on_with_after_as_every_listing_does() -> None:
    assert made("QueryAudit", query="after=12&since=1.5") == QueryAudit(before=12, since=1.5, by=ANN)
    assert made("ExportAudit", query="after=12&form=csv") == ExportAudit(after=12, form=Form.CSV, by=ANN)


def test_who_wants_a_page_larger_than_there_are_gets_the_largest() -> None:
    assert made("ListVms", query="limit=1000").limit == 200


@pytest.mark.parametrize(
    ("query", "match"),
    [
        ("limit=x", "limit cannot be .* number"),
        ("limit=1.0", "limit cannot be .* number"),
        ("limit=%2B1", "limit cannot be .* number"),
        ("limit=", "limit cannot be .* number"),
        ("limit=٣", "limit cannot be .* number"),
        ("limit=99999999999999999999", "limit cannot be .* number"),
        ("limit=1&limit=2", "limit is given 2 times"),
        ("before=x", "no field 'before'"),
        ("by=root", "no field 'by'"),
        ("role=admin", "no field 'role'"),
        ("access_token=x", "no field 'access_token'"),
        ("dry_run=true", "no field 'dry_run'"),
        ("expect=1", "no field 'expect'"),
        ("after=%FF", "query string"),
        ("after", "query string"),
        ("&".join(f"a{number}=1" for number in range(101)), "query string"),
        ("after=not-a-uuid", "not right"),
        ("after=502F3B1C-8D0E-4C5A-9B6F-0A1B2C3D4E5F", "not right"),
    ],
)
def test_a_query_string_that_cannot_be_meant_is_refused(query: str, match: str) -> None:
    with pytest.raises(BadRequest, match=match):
        made("ListVms", query=query)


@pytest.mark.parametrize("value", ["True", "1", "yes", "", "TRUE", "true&dry_run=true"])
def test_dry_run_is_true_or_false_once(value: str) -> None:
    """Anything else could be meant as yes, and would change something."""
    with pytest.raises(BadRequest, match="dry_run"):
        made("RevokeVm", {"vm": "a"}, query=f"dry_run={value}")


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"{", "body cannot be read"),
        (b"\xff", "body cannot be read"),
        (b"[]", "not a JSON object"),
        (b'"x"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"give": true, "give": false}', "key twice"),
        (b'{"give": NaN}', "body cannot be read"),
        (b'{"give": 1e999}', "body cannot be read"),
        (b'{"give": ' + b"9" * 5000 + b"}", "body cannot be read"),
        (b'{"give": "\\ud800"}', "not UTF-8"),
        (b'{"give": ' + b"[" * 40 + b"]" * 40 + b"}", "nested deeper"),
        (b'{"give": "true"}', "give is not true or false"),
        (b'{"give": 1}', "give is not true or false"),
        (b'{"give": null}', "give is not true or false"),
        (b'{"Give": true}', "no field 'Give'"),
        (b'{"vm": "other"}', "no field 'vm'"),
        (b'{"by": {"name": "root", "role": "admin", "source": "unix"}}', "no field 'by'"),
        (b'{"dry_run": true}', "no field 'dry_run'"),
        (b'{"expect": 1}', "no field 'expect'"),
        (b'{"__class__": "x"}', "no field '__class__'"),
    ],
)
def test_a_body_that_cannot_be_meant_is_refused(body: bytes, match: str) -> None:
    with pytest.raises(BadRequest, match=match):
        made("EnrollVm", {"vm": "host"}, body=body)


@pytest.mark.parametrize("value", ['"3"', "3.0", "true", "[3]", "1e3"])
def test_a_number_is_a_whole_number(value: str) -> None:
    with pytest.raises(BadRequest, match="max_bytes is not a whole number or null"):
        made("SetRight", {"name": "g", "datastore": "d"}, body=f'{{"max_bytes": {value}}}'.encode())


@pytest.mark.parametrize("vms", ['"ab"', "{}", "[1]", "[null]", '[["a"]]'])
def test_a_list_of_names_is_a_list_of_texts(vms: str) -> None:
    with pytest.raises(BadRequest, match="vms"):
        made("AddMembers", {"name": "g"}, body=f'{{"vms": {vms}}}'.encode())


@pytest.mark.parametrize(
    ("name", "path", "body", "said"),
    [
        (
            "GetTask",
            {"task": "nope"},
            b"",
            f"the request is not right: task is not an id, a UUID as the lists show it; {SEE} [bad-request]",
        ),
        (
            "CreateVolumeFor",
            {},
            b"{}",
            "the request is not right: vmgroup and name are missing; give vmgroup and name [bad-request]",
        ),
        (
            "SetRight",
            {"name": "g", "datastore": "d"},
            b'{"max_bytes": "a", "total_bytes": 1.5}',
            "the request is not right: max_bytes is not a whole number or null; total_bytes is not a whole number or null; "
            f"{SEE} [bad-request]",
        ),
        (
            "AddMembers",
            {"name": "g"},
            b'{"vms": "ab"}',
            f"the request is not right: vms is not a list; {SEE} [bad-request]",
        ),
        (
            "EnrollVm",
            {"vm": "g"},
            b'{"give": "\\udcff"}',
            "a text in the body has bytes that are not UTF-8; write names and texts in UTF-8 [bad-request]",
        ),
    ],
    ids=["id", "missing", "two-wrong-ones", "list", "not-utf-8"],
)
def test_a_refusal_is_in_the_words_of_who_asks(name: str, path: dict[str, str], body: bytes, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        made(name, path, body=body)
    assert str(refused.value) == said


def test_every_refusal_here_says_what_to_do() -> None:
    raised = [
        call
        for module in (asked, misreadings, front, intake)
        for call in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "BadRequest"
    ]
    assert len(raised) > 15
    assert [ast.unparse(call) for call in raised if "remedy" not in {each.arg for each in call.keywords}] == []


def test_what_is_missing_is_named() -> None:
    with pytest.raises(BadRequest, match="default_datastore"):
        made("CreateVmgroup", body=b'{"name": "g"}')
    assert made("CreateVmgroup", body=b'{"name": "g", "default_datastore": "d"}') == CreateVmgroup(
        name="g", default_datastore="d", by=ANN
    )


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_a_body_of_another_kind_is_refused(kind: str) -> None:
    with pytest.raises(WrongMedia):
        message(row("EnrollVm"), {"vm": "a"}, Said(body=b"{}", kind=kind), ANN)


def test_what_has_no_body_takes_none_and_what_has_one_takes_no_parameters() -> None:
    with pytest.raises(BadRequest, match="takes no body"):
        made("ListVms", body=b"{}")
    with pytest.raises(BadRequest, match="query string has 'give'"):
        made("EnrollVm", {"vm": "a"}, query="give=true")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/vms/a%2Fb/revoke",
        "/v1/vms/a%2fb/revoke",
        "/v1/vms/%2e%2e/revoke",
        "/v1/vms/../audit",
        "/v1/./vms",
        "/v1//vms",
        "/v1/vms/",
        "/v1/vms/a%00b",
        "/v1/vms/a%0d%0aSet-Cookie:x",
        "/v1/vms/a%5Cb",
        "/v1/vms/%FF",
        "/v1/vms/%C0%AF",
        "/v1/vms/%E2%80%AEtxt",
        "http://host/v1/vms",
        "*",
        "",
    ],
)
def test_a_path_that_could_be_read_in_two_ways_is_refused(path: str) -> None:
    with pytest.raises(BadRequest, match="path"):
        path_parts(path)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/v1/vms", ("v1", "vms")),
        ("/v1/vms/a%20b?limit=1", ("v1", "vms", "a b")),
        ("/v1/vms/caf%C3%A9", ("v1", "vms", "café")),
        ("/v1/vms/a%252Fb", ("v1", "vms", "a%2Fb")),
        ("/v1/vms/-f;rm", ("v1", "vms", "-f;rm")),
    ],
)
def test_a_path_has_the_parts_that_it_came_with(path: str, parts: tuple[str, ...]) -> None:
    assert path_parts(path) == parts


def test_the_same_key_of_the_same_person_is_the_same_call() -> None:
    first = call_id(Said(key="k 1"), ANN, NEW)
    assert first == call_id(Said(key="k 1"), Actor("ann", Role.ADMIN, "elsewhere"), UUID(int=1))
    assert first != call_id(Said(key="k 2"), ANN, NEW)
    assert first != call_id(Said(key="k 1"), Actor("bob", Role.ADMIN, "192.0.2.7"), NEW)


@pytest.mark.parametrize("key", ["", "x" * 101, "a\tb", "a\x00", "ü", "a\x7f"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(BadRequest, match="Idempotency-Key"):
        call_id(Said(key=key), ANN, NEW)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (str(UUID(int=7)), UUID(int=7)),
        (None, NEW),
        ("x", NEW),
        ("{00000000-0000-0000-0000-000000000007}", NEW),
        (str(UUID(int=0)), NEW),
        ("a\r\nb", NEW),
    ],
)
def test_a_request_id_is_taken_over_if_it_is_one(given: str | None, used: UUID) -> None:
    assert call_id(Said(request_id=given), ANN, NEW) == used


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        pytest.param(None, None, id="nothing-said"),
        pytest.param("respond-async, wait=7", 7, id="both"),
        pytest.param('WAIT="7" , Respond-Async; x=y', 7, id="in-any-order-and-case"),
        pytest.param("respond-async", 0, id="at-once"),
        pytest.param("wait=7", None, id="a-time-alone-is-no-wish-for-a-task"),
        pytest.param("respond-async, wait=soon", 0, id="no-number"),
        pytest.param("respond-async, wait=-7", 0, id="below-zero"),
        pytest.param("respond-async, wait=\u0667", 0, id="another-alphabet"),
        pytest.param("handling=lenient", None, id="another-preference"),
        pytest.param(",,;=", None, id="rubbish"),
    ],
)
def test_how_long_is_waited_for_long_work_is_a_wish(prefer: str | None, seconds: int | None) -> None:
    assert wait_of(prefer) == seconds
