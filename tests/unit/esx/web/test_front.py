"""The REST API over HTTP, with a core that answers what a test says."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest
from werkzeug.test import TestResponse

from tests.doubles.hand_clock import HandClock
from vmdkvol.admin_errors import KeyReused, NotAuthenticated
from vmdkvol.admin_messages import EnrollVm, ListVms, RevokeVm, Standing, VmInfo, VmPage
from vmdkvol.errors import (
    BadFrame,
    Busy,
    Conflict,
    MetadataDamaged,
    NoSpace,
    NotFound,
    NotPermitted,
    QuotaExceeded,
    ServiceUnreachable,
    StaleRequest,
    StillWorking,
    VolumeError,
    WrongDisk,
)
from vmdkvol.frames import Frame
from vmdkvol.messages import Call
from vmdkvol.names import DatastoreName
from vmdkvol.orders import Actor, Outcome, Plan, Role, Step
from vmdkvol.vmgroup_messages import GetVmgroup, VmgroupInfo
from vmdkvol.volume import VmgroupId, VmId
from vmdkvol.wire import ANSWER, dump
from vmdkvol_esx.web.front import Door, create_app
from vmdkvol_esx.web.health import Health
from vmdkvol_esx.web.plain import read_reply
from vmdkvol_esx.web.routes import ROUTES

ANN = Actor("ann", Role.ADMIN, "192.0.2.7")
GROUP = VmgroupInfo(VmgroupId(UUID(int=3)), "g", "", DatastoreName("ds1"), (), (), (), (), 0, (), 0, 7)
PROBLEM = "application/problem+json"


class Quiet:
    """A log that keeps the events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def _keep(self, event: str, **fields: object) -> None:
        self.events.append(f"{event} {fields}")

    debug = info = warning = error = exception = _keep


class Unread(io.BytesIO):
    """A body that nobody may begin to read."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise AssertionError("a stranger's body was read")


def _unbound(**_: object) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass
class Api:
    """The application; ``answer`` is what the core says next, an error is raised."""

    answer: Any = None
    asked: list[tuple[Any, Call]] = field(default_factory=list)
    nobody: bool = False
    by: Actor = ANN
    wrong: str = ""
    log: Quiet = field(default_factory=Quiet)

    def __post_init__(self) -> None:
        numbers = iter(range(1, 1000))
        health = Health({"core": lambda: self.wrong})
        clock = HandClock(wall=1.0, monotonic=1000.0)
        door = Door(
            self._ask, self._who, health, clock, self.log, lambda: UUID(int=next(numbers)), _unbound, lambda _: not self.nobody
        )
        self.client = create_app(door, ROUTES).test_client()

    def _ask(self, request: Any, call: Call) -> Any:
        self.asked.append((request, call))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def _who(self, environ: Mapping[str, Any]) -> Actor:
        if self.nobody:
            raise NotAuthenticated("nothing was shown that proves who asks")
        return self.by

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.client.get(path, **more)

    def post(self, path: str, **more: Any) -> TestResponse:
        return self.client.post(path, **more)


@pytest.fixture
def api() -> Api:
    return Api()


def problem(response: TestResponse) -> dict[str, Any]:
    assert response.content_type == PROBLEM
    said: dict[str, Any] = json.loads(response.data)
    assert said["status"] == response.status_code
    assert said["request_id"] == response.headers["X-Request-Id"]
    assert said["type"] == f"urn:vmdkvol:error:{said['code']}"
    return said


@pytest.mark.parametrize("path", ["/v1/vms", "/livez", "/nowhere"])
@pytest.mark.parametrize("nobody", [False, True])
def test_no_answer_is_shown_inside_another_site_s_page(api: Api, path: str, nobody: bool) -> None:
    """A browser shows an administrator's certificate for whatever page makes it ask."""
    api.nobody, api.answer = nobody, VmPage(())
    found = api.get(path).headers
    assert found["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "frame-ancestors 'none'" in found["Content-Security-Policy"]
    assert (found["X-Content-Type-Options"], found["Cache-Control"]) == ("nosniff", "no-store")


def test_who_it_is_is_asked_before_a_byte_of_the_body_is(api: Api) -> None:
    """Half a body would be waited for, with a thread, for whoever sends it."""
    api.nobody = True
    found = api.post("/v1/vms/a/enroll", input_stream=Unread(), content_length=10, content_type="application/json")
    assert found.status_code == 401


def test_a_listing_is_a_message_of_who_asks_and_its_page_says_how_to_go_on(api: Api) -> None:
    after = VmId(UUID(int=8))
    api.answer = VmPage((VmInfo(after, "a", Standing.NONE, False, None),), after)
    response = api.get("/v1/vms?limit=1&after=" + str(UUID(int=5)))
    assert api.asked[0][0] == ListVms(VmId(UUID(int=5)), 1, by=ANN)
    assert response.json is not None
    assert response.json["next"] == str(after)
    assert response.headers["Link"] == f'</v1/vms?limit=1&after={after}>; rel="next"'
    assert response.headers["Cache-Control"] == "no-store"


def test_what_the_core_wrote_is_passed_on_as_it_is(api: Api) -> None:
    frame = Frame(UUID(int=1), None, ANSWER, dump(VmPage((), VmId(UUID(int=8)))))
    api.answer = read_reply(ListVms(), frame)
    response = api.get("/v1/vms")
    assert response.json == {"vms": [], "next": str(UUID(int=8))}
    assert "Link" in response.headers
    api.answer = read_reply(GetVmgroup(name="g"), Frame(UUID(int=1), None, ANSWER, dump(GROUP)))
    assert api.get("/v1/vmgroups/g").headers["ETag"].startswith('"7.')


def test_an_error_and_an_outcome_are_read_strictly() -> None:
    refused = {"code": "conflict", "text": "x", "remedy": "", "fields": {}}
    with pytest.raises(Conflict):
        read_reply(ListVms(), Frame(UUID(int=1), None, "error", refused))
    with pytest.raises(BadFrame):
        read_reply(RevokeVm("a"), Frame(UUID(int=1), None, ANSWER, {"done": "yes"}))
    with pytest.raises(BadFrame):
        read_reply(ListVms(), Frame(UUID(int=1), None, "progress", {"percent": 1}))


def test_the_last_page_has_no_link(api: Api) -> None:
    api.answer = VmPage(())
    assert "Link" not in api.get("/v1/vms").headers


def test_who_asks_is_never_what_the_request_says(api: Api) -> None:
    api.answer = VmPage(())
    api.get("/v1/vms", headers={"X-Forwarded-For": "10.0.0.1", "X-Role": "admin", "X-Forwarded-User": "root"})
    assert api.asked[0][0].by == ANN


def test_a_query_has_its_own_id_and_an_order_that_of_its_key(api: Api) -> None:
    api.answer = Outcome(Plan(), True)
    first, second = (api.post("/v1/vms/a/revoke", headers={"Idempotency-Key": "k"}) for _ in range(2))
    third = api.post("/v1/vms/a/revoke")
    ids = [call.id for _, call in api.asked]
    assert ids[0] == ids[1] != ids[2]
    assert [each.headers["X-Request-Id"] for each in (first, second, third)] == list(map(str, ids))


def test_an_order_takes_the_request_id_over_and_a_query_does_not(api: Api) -> None:
    """A trace has many queries with one id, and each is a call of its own."""
    given = str(UUID(int=77))
    api.answer = Outcome(Plan(), True)
    assert api.post("/v1/vms/a/revoke", headers={"X-Request-Id": given}).headers["X-Request-Id"] == given
    api.answer = VmPage(())
    assert api.get("/v1/vms", headers={"X-Request-Id": given}).headers["X-Request-Id"] != given


def test_a_request_has_a_deadline(api: Api) -> None:
    api.answer = VmPage(())
    api.get("/v1/vms")
    api.answer = Outcome(Plan(), True)
    api.post("/v1/vms/a/revoke")
    assert [round(call.deadline.left_s) for _, call in api.asked] == [15, 110]


@pytest.mark.parametrize(
    ("path", "prefer", "seconds", "applied"),
    [
        pytest.param("/v1/volumes/x/resize", "respond-async, wait=7", 7, "respond-async, wait=7", id="as-long-as-wanted"),
        pytest.param("/v1/volumes/x/resize", "respond-async", 0.5, "respond-async, wait=0", id="until-it-can-have-begun"),
        pytest.param("/v1/volumes/x/resize", "respond-async, wait=999", 110, "respond-async, wait=999", id="not-for-ever"),
        pytest.param("/v1/volumes/x/resize", None, 110, None, id="not-said"),
        pytest.param("/v1/volumes/x/detach", "respond-async, wait=7", 110, None, id="work-that-has-no-task"),
    ],
)
def test_who_asks_says_how_long_it_waits_for_long_work(
    api: Api, path: str, prefer: str | None, seconds: float, applied: str | None
) -> None:
    body = {"size_bytes": 1 << 30} if path.endswith("resize") else {}
    response = api.post(path, json=body, headers={} if prefer is None else {"Prefer": prefer})
    assert response.headers.get("Preference-Applied") == applied
    assert api.asked[0][1].deadline.left_s == pytest.approx(seconds)


def test_a_dry_run_is_answered_with_its_plan(api: Api) -> None:
    api.answer = Outcome(Plan((Step("revoke", "a", "enrolled", "revoked"),), "its certificates"), False, "1")
    response = api.post("/v1/vms/a/revoke?dry_run=true")
    assert api.asked[0][0] == RevokeVm("a", by=ANN, dry_run=True)
    assert (response.status_code, response.json and response.json["plan"]["loses"]) == (200, "its certificates")


def test_what_is_made_is_201_and_says_where_it_is(api: Api) -> None:
    api.answer = Outcome(Plan(), True, "a b/c", 1)
    response = api.post("/v1/vmgroups", json={"name": "g", "default_datastore": "d"})
    assert (response.status_code, response.headers["Location"], response.headers["ETag"]) == (
        201,
        "/v1/vmgroups/a%20b%2Fc",
        '"1"',
    )


def test_a_planned_creation_makes_nothing(api: Api) -> None:
    api.answer = Outcome(Plan(), False)
    response = api.post("/v1/vmgroups?dry_run=true", json={"name": "g", "default_datastore": "d"})
    assert response.status_code == 200
    assert "Location" not in response.headers


def test_work_that_goes_on_is_202_and_says_where_its_task_is(api: Api) -> None:
    api.answer = Outcome(Plan(), False, task=UUID(int=6))
    response = api.client.delete("/v1/volumes/x")
    assert (response.status_code, response.headers["Location"]) == (202, f"/v1/tasks/{UUID(int=6)}")


def test_what_has_a_revision_has_a_tag_that_an_order_takes_back(api: Api) -> None:
    api.answer = GROUP
    response = api.get("/v1/vmgroups/g")
    assert api.asked[0][0] == GetVmgroup(name="g", by=ANN)
    tag = response.headers["ETag"]
    assert tag.startswith('"7.')
    api.answer = Outcome(Plan(), True, "3", 8)
    changed = api.client.patch("/v1/vmgroups/g", json={"description": "x"}, headers={"If-Match": tag})
    assert api.asked[1][0].expect == 7
    assert changed.headers["ETag"] == '"8"'


def test_what_is_as_it_was_is_304_and_what_is_shown_differently_is_not(api: Api) -> None:
    api.answer = GROUP
    tag = api.get("/v1/vmgroups/g").headers["ETag"]
    again = api.get("/v1/vmgroups/g", headers={"If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")
    # The same revision, but somebody made a volume in it.
    api.answer = VmgroupInfo(GROUP.id, "g", "", DatastoreName("ds1"), (), (), (), (), 1, (), 0, 7)
    assert api.get("/v1/vmgroups/g", headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("x"), 404),
        (Conflict("x"), 409),
        (WrongDisk("x"), 409),
        (StaleRequest("x"), 409),
        (KeyReused("x"), 422),
        (NotPermitted("x"), 403),
        (QuotaExceeded("x"), 403),
        (NoSpace("x"), 507),
        (Busy("x"), 503),
        (StillWorking("x"), 503),
        (ServiceUnreachable("x"), 503),
        (MetadataDamaged("x"), 503),
        (BadFrame("x"), 502),
        (VolumeError("x"), 500),
        (ZeroDivisionError("secret"), 500),
    ],
)
def test_what_the_core_refuses_is_a_problem(api: Api, error: Exception, status: int) -> None:
    api.answer = error
    response = api.post("/v1/vms/a/revoke")
    said = problem(response)
    assert response.status_code == status
    assert ("Retry-After" in response.headers) == (said["code"] in ("busy", "still-working", "service-unreachable"))
    assert "secret" not in response.text


def test_an_expected_revision_that_is_another_is_412(api: Api) -> None:
    api.answer = StaleRequest("it has revision 8")
    assert api.post("/v1/vms/a/revoke", headers={"If-Match": '"7"'}).status_code == 412


@pytest.mark.parametrize("path", ["/v1/vms", "/v1/nothing", "/v1/openapi.json", "/metrics", "/other"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
def test_nobody_hears_anything_without_a_proof(api: Api, path: str, method: str) -> None:
    api.nobody = True
    response = api.client.open(path, method=method)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="vmdkvol"'
    assert api.asked == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE"])
def test_a_method_that_is_not_there_says_which_are(api: Api, method: str) -> None:
    response = api.client.open("/v1/vms", method=method)
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    problem(response)


def test_a_head_is_a_get_without_a_body(api: Api) -> None:
    api.answer = VmPage(())
    response = api.client.head("/v1/vms")
    assert (response.status_code, response.data) == (200, b"")
    assert int(response.headers["Content-Length"]) > 0


def test_options_say_what_there_is_and_let_no_page_of_another_site_in(api: Api) -> None:
    response = api.client.options("/v1/vms", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"})
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert not any(name.lower().startswith("access-control") for name, _ in response.headers)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/vms/",
        "//v1/vms",
        "/v1//vms",
        "/v1/vms/..%2Faudit",
        "/v1/vms/a%2Frevoke",
        "/v1/vms/%2e%2e/revoke",
        "/v1/vms/a%00/revoke",
    ],
)
def test_a_path_that_could_be_another_one_reaches_nothing(api: Api, path: str) -> None:
    for method in ("GET", "POST"):
        response = api.client.open(path, method=method)
        problem(response)
        assert response.status_code in (400, 404, 405)
    assert api.asked == []


def test_a_path_that_is_not_there_is_a_problem(api: Api) -> None:
    assert problem(api.get("/v1/nothing"))["code"] == "not-found"
    assert api.get("/v1/nothing").status_code == 404


@pytest.mark.parametrize("size", [65 << 10, 1 << 20])
def test_a_body_that_is_too_long_is_told_so(api: Api, size: int) -> None:
    response = api.post("/v1/vms/a/enroll", data=b'{"give": "' + b"x" * size + b'"}', content_type="application/json")
    assert (response.status_code, problem(response)["code"]) == (413, "body-too-long")
    assert api.asked == []


def test_a_body_that_ends_too_early_does_nothing(api: Api) -> None:
    cut = {"CONTENT_LENGTH": "100"}
    response = api.post("/v1/vms/a/enroll", data=b'{"give": 1}', content_type="application/json", environ_overrides=cut)
    assert response.status_code == 400
    assert api.asked == []


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"data": b"{}", "content_type": "text/plain"}, 415),
        ({"data": b"give=true", "content_type": "application/x-www-form-urlencoded"}, 415),
        ({"data": b"{", "content_type": "application/json"}, 400),
        ({"data": b"{}", "content_type": "application/json; charset=utf-8"}, 200),
        ({}, 200),
    ],
)
def test_a_body_is_json_or_nothing(api: Api, more: dict[str, Any], status: int) -> None:
    api.answer = Outcome(Plan(), True)
    assert api.post("/v1/vms/a/enroll", **more).status_code == status
    assert [request for request, _ in api.asked] == ([EnrollVm("a", by=ANN)] if status == 200 else [])


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/vmgroups", {"json": {"nonsense": 1}}),
        ("/v1/vmgroups", {"data": b"{", "content_type": "application/json"}),
        ("/v1/vms/a/revoke?x=1", {}),
    ],
)
def test_a_viewer_is_refused_and_not_taught_how_an_order_is_written(api: Api, path: str, more: dict[str, Any]) -> None:
    api.by = replace(ANN, role=Role.VIEWER)
    response = api.post(path, **more)
    assert (response.status_code, problem(response)["code"]) == (403, "not-permitted")
    assert api.asked == []


def test_a_viewers_own_query_is_told_what_is_wrong_with_it(api: Api) -> None:
    api.by = replace(ANN, role=Role.VIEWER)
    assert api.get("/v1/vms?limit=many").status_code == 400


def test_the_order_is_logged_and_the_secret_of_its_answer_is_not(api: Api) -> None:
    api.answer = Outcome(Plan(), True, "the secret")
    api.post("/v1/vms/a/enroll")
    assert any(event.startswith("order ") for event in api.log.events)
    assert "the secret" not in repr(api.log.events)


def test_the_api_describes_itself(api: Api) -> None:
    found = api.get("/v1/openapi.json").json
    assert found is not None
    assert found["openapi"].startswith("3.1")


def test_it_lives_without_its_core_and_is_not_ready(api: Api) -> None:
    api.wrong = "the service was not reached yet"
    assert api.get("/livez").status_code == 200
    response = api.get("/readyz")
    assert (response.status_code, response.json) == (
        503,
        {"status": "unavailable", "checks": {"core": "the service was not reached yet"}},
    )
    api.wrong = ""
    assert api.get("/readyz").json == {"status": "ok", "checks": {"core": "ok"}}


@pytest.mark.parametrize("wrong", ["", "cannot open /var/lib/vmdkvol/service.db"])
def test_whoever_is_not_known_hears_no_reasons(api: Api, wrong: str) -> None:
    """Paths, names and errors of the inside are not for whoever reaches the port."""
    api.nobody, api.wrong = True, wrong
    response = api.get("/readyz")
    assert (response.status_code, response.json) == ((503, {"status": "unavailable"}) if wrong else (200, {"status": "ok"}))
    assert api.get("/livez").json == {"status": "ok"}
