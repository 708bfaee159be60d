"""The client of the REST API against a real HTTP server: what is refused, what breaks on the way, what is asked once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote_plus
from uuid import UUID

import pytest

from tests.daemons.site import eventually
from tests.doubles.small_api import PROBLEM, Answer, Asked, Says, SmallApi, problem
from vmdkvol.addresses import UnixAddress
from vmdkvol.cli.api_address import WebAddress, parse_api
from vmdkvol.cli.client import Client
from vmdkvol.cli.endpoint import Endpoint, Trust, trust_from
from vmdkvol.cli.layout import Layout, extended
from vmdkvol.cli.paths import path_of
from vmdkvol.cli.reaching import make_client
from vmdkvol.clock import SystemClock
from vmdkvol.errors import (
    BadFrame,
    BadRequest,
    Internal,
    InvalidName,
    NotPermitted,
    ServiceUnreachable,
    StaleRequest,
    VolumeError,
)
from vmdkvol.logs import Secret

Serve = Callable[..., tuple[SmallApi, Client]]
OUTCOME = {"plan": {"steps": [], "loses": None}, "done": True, "subject": "x", "revision": 2, "task": None}


def by_target(ends: dict[str, Says], *others: Says) -> Answer:
    """Answer what ends like this with that, and everything else in order."""
    left = list(others)

    def answer(asked: Asked) -> Says:
        found = [says for end, says in ends.items() if asked.target.endswith(end)]
        return found[0] if found else left.pop(0)

    return answer


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    started: list[tuple[SmallApi, Client]] = []

    def start(
        *answers: Answer, answer_s: float = 10.0, patience_s: float = 0.3, token: str | None = None
    ) -> tuple[SmallApi, Client]:
        path = tmp_path / "web.sock"
        api = SmallApi(path, list(answers))
        trust = Trust(token=None if token is None else Secret(token))
        client = Client(Endpoint(UnixAddress(path), trust), SystemClock(), answer_s=answer_s, patience_s=patience_s)
        started.append((api, client))
        return api, client

    yield start
    for api, client in started:
        client.close()
        api.stop()


def test_what_is_there_is_returned(serve: Serve) -> None:
    api, client = serve(Says({"name": "db"}))

    assert client.get("/v1/volumes", {"limit": 5, "trashed": True, "after": None}) == {"name": "db"}
    assert (api.asked[0].method, api.asked[0].target) == ("GET", "/v1/volumes?limit=5&trashed=true")


def test_every_page_is_read_over_one_connection(serve: Serve) -> None:
    api, client = serve(Says({"vms": [1, 2], "next": "2"}), Says({"vms": [], "next": "3"}), Says({"vms": [3], "next": None}))

    assert list(client.pages("/v1/vms", "vms")) == [1, 2, 3]
    assert [asked.target.partition("after=")[2] for asked in api.asked] == ["", "2", "3"]
    assert api.connections == 1


def test_a_page_that_follows_itself_ends_the_list(serve: Serve) -> None:
    _, client = serve(Says({"vms": [1], "next": "1"}))

    with pytest.raises(BadFrame, match="same page"):
        list(client.pages("/v1/vms", "vms"))


def follows(items: list[int], after: str | None, said: str | None = None) -> Says:
    """Return a page as the API gives one: its head names the next page, or ``said`` instead."""
    named = said or after
    link = {} if named is None else {"Link": f'</v1/vms?limit=1000&after={quote_plus(named)}>; rel="next"'}
    return Says({"vms": items, "next": after}, headers={**link, "Connection": "close"})


def test_the_next_page_is_asked_for_while_this_one_is_read(serve: Serve) -> None:
    api, client = serve(follows([1], "a b&c"), follows([2], None))
    items = client.pages("/v1/vms", "vms")

    assert next(items) == 1
    eventually(lambda: len(api.asked) == 2, "the second page is asked for")
    assert list(items) == [2]
    assert [asked.target for asked in api.asked] == ["/v1/vms?limit=1000", "/v1/vms?limit=1000&after=a+b%26c"]


def test_what_is_asked_between_two_pages_is_not_answered_with_a_page(serve: Serve) -> None:
    _, client = serve(by_target({"/v1/status": Says("well")}, follows([1], "1"), follows([2], None)))
    items = client.pages("/v1/vms", "vms")

    assert (next(items), client.get("/v1/status"), list(items)) == (1, "well", [2])


@pytest.mark.parametrize("cut", [0, 5])
def test_a_page_that_was_asked_for_early_and_broke_is_asked_for_again(serve: Serve, cut: int) -> None:
    broken = replace(follows([2], None), cut=cut)
    api, client = serve(follows([1], "1"), broken, follows([2], "2"), follows([3], None), patience_s=5.0)

    assert list(client.pages("/v1/vms", "vms")) == [1, 2, 3]
    assert [asked.target.partition("after=")[2] for asked in api.asked if asked.target.endswith("=1")] == ["1", "1"]


def test_a_head_that_names_another_page_than_the_page_itself_costs_no_item(serve: Serve) -> None:
    pages = {"after=1": follows([2], None), "after=9": follows([9], None)}
    _, client = serve(by_target(pages, follows([1], "1", said="9")))

    assert list(client.pages("/v1/vms", "vms")) == [1, 2]


@pytest.mark.parametrize(
    "link", ["", "nonsense", '</v1/vms>; rel="next"', '<https://elsewhere/?after=1>; rel="prev"', "<" * 8000]
)
def test_a_head_that_names_no_page_is_no_trouble(serve: Serve, link: str) -> None:
    first = replace(follows([1], "1"), headers={"Link": link})
    _, client = serve(first, follows([2], None))

    assert list(client.pages("/v1/vms", "vms")) == [1, 2]


def test_a_refusal_of_a_page_that_was_asked_for_early_is_raised_in_its_turn(serve: Serve) -> None:
    _, client = serve(follows([1], "1"), problem("not-permitted", "no longer"))
    items = client.pages("/v1/vms", "vms")

    assert next(items) == 1
    with pytest.raises(NotPermitted):
        next(items)


def test_an_order_has_an_id_and_says_what_it_saw(serve: Serve) -> None:
    api, client = serve(Says(OUTCOME))

    assert client.order("PATCH", "/v1/vmgroups/prod", {"description": "x\ud800"}, dry_run=True, expect=7) == OUTCOME
    (asked,) = api.asked
    assert UUID(asked.headers["Idempotency-Key"])
    assert asked.headers["If-Match"] == '"7"'
    assert asked.target == "/v1/vmgroups/prod?dry_run=true"
    assert asked.body == {"description": "x\ud800"}


def test_two_orders_have_two_ids(serve: Serve) -> None:
    api, client = serve(Says(OUTCOME))
    client.order("DELETE", "/v1/vmgroups/a")
    client.order("DELETE", "/v1/vmgroups/a")

    assert len({asked.headers["Idempotency-Key"] for asked in api.asked}) == 2


@pytest.mark.parametrize("cut", [0, 5])
def test_an_order_whose_answer_was_cut_is_sent_again_under_the_same_id(serve: Serve, cut: int) -> None:
    api, client = serve(Says(OUTCOME, cut=cut), Says(OUTCOME))

    assert client.order("POST", "/v1/vmgroups", {"name": "a"}) == OUTCOME
    first, second = api.asked
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.body == second.body == {"name": "a"}


def test_a_connection_that_always_breaks_is_given_up(serve: Serve) -> None:
    api, client = serve(Says(OUTCOME, cut=3), patience_s=5.0)

    with pytest.raises(ServiceUnreachable):
        client.order("POST", "/v1/vmgroups", {"name": "a"})
    assert len(api.asked) == 3


def test_a_silent_api_is_told_in_time_and_that_nothing_is_known(serve: Serve) -> None:
    api, client = serve(Says(OUTCOME, hang=True), answer_s=0.2)

    with pytest.raises(ServiceUnreachable, match="unknown"):
        client.order("DELETE", "/v1/vmgroups/a")
    assert len(api.asked) == 1


def test_an_api_that_comes_back_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    started: list[SmallApi] = []

    class Starting(SystemClock):
        def sleep(self, seconds: float) -> None:
            if not started:
                started.append(SmallApi(path, [Says([1])]))

    client = Client(Endpoint(UnixAddress(path)), Starting(), patience_s=10.0)
    try:
        assert client.get("/v1/status") == [1]
    finally:
        client.close()
        started[0].stop()


@pytest.mark.parametrize("there", [False, True], ids=["no-socket", "nobody-listens"])
def test_nobody_at_the_socket_is_unreachable_and_says_who_should_be(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "web.sock"
    if there:
        path.touch()

    with pytest.raises(ServiceUnreachable) as refused:
        Client(Endpoint(UnixAddress(path)), SystemClock(), patience_s=0.0).get("/v1/status")

    assert str(path) in refused.value.text
    assert refused.value.remedy == "at the service see `systemctl status vmdkvol-web`, then try again"


def test_nobody_in_a_sandbox_is_brought_back_by_its_own_command(tmp_path: Path) -> None:
    Layout.at(tmp_path).keep_identity(extended(None, [], []))

    with pytest.raises(ServiceUnreachable, match="run `vmdkvol sandbox up`, then try again"):
        make_client(None, tmp_path, patience_s=0.0).get("/v1/status")


def test_what_the_service_refuses_is_the_error_that_it_raised(serve: Serve) -> None:
    _, client = serve(problem("stale-request", "vmgroup prod was changed", remedy="look again", request_id="r-1"))

    with pytest.raises(StaleRequest) as refused:
        client.order("PATCH", "/v1/vmgroups/prod", {})

    assert str(refused.value) == "vmgroup prod was changed; look again [stale-request]"
    assert (refused.value.exit_code, refused.value.fields) == (5, {"request_id": "r-1"})


def test_after_a_refusal_the_next_question_is_answered(serve: Serve) -> None:
    _, client = serve(problem("volume-not-found", status=404), Says([1]))

    with pytest.raises(VolumeError):
        client.get("/v1/volumes/1")
    assert client.get("/v1/volumes") == [1]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(problem("of-tomorrow"), Internal, id="a-newer-service's-code"),
        pytest.param(problem("not-permitted", status=401), NotPermitted, id="expired-token"),
        pytest.param(Says({"code": 7, "detail": ["x"], "remedy": {}}, 400, PROBLEM), Internal, id="wrong-types"),
        pytest.param(Says([], 400, PROBLEM), BadFrame, id="problem-that-is-a-list"),
        pytest.param(Says(b"<html>", 502, "text/html"), ServiceUnreachable, id="a-proxy-with-nothing-behind"),
        pytest.param(Says(b"<html>", 401, "text/html"), NotPermitted, id="a-proxy-that-wants-a-login"),
        pytest.param(Says(b"<html>", 404, "text/html"), BadFrame, id="another-server"),
        pytest.param(Says(b"<html>", 200, "text/html"), BadFrame, id="another-server-that-says-ok"),
        pytest.param(Says(b"{", 200), BadFrame, id="half-an-answer"),
        pytest.param(Says(b"[" * 100_000, 200), BadFrame, id="too-deep"),
        pytest.param(Says(b"", 302, headers={"Location": "https://evil/"}), BadFrame, id="a-redirect-is-not-followed"),
        pytest.param(Says(b"\xff", 200), BadFrame, id="no-text"),
    ],
)
def test_each_bad_answer_is_one_error_of_ours(serve: Serve, answer: Says, error: type[VolumeError]) -> None:
    api, client = serve(answer)

    with pytest.raises(error) as refused:
        client.get("/v1/status")

    assert type(refused.value) is error
    assert len(str(refused.value)) <= 300
    assert len(api.asked) == 1


def test_a_foreign_text_in_a_refusal_draws_nothing(serve: Serve) -> None:
    _, client = serve(problem("name-conflict", "\x1b[2Jroot\nis well", remedy="\x1b[0m"))

    with pytest.raises(VolumeError) as refused:
        client.get("/v1/status")

    assert str(refused.value).isprintable()


def test_nothing_to_say_is_no_answer(serve: Serve) -> None:
    _, client = serve(Says(status=204))

    assert client.order("DELETE", "/v1/tasks/1") is None


def test_the_token_is_sent_and_never_shown(serve: Serve) -> None:
    api, client = serve(problem("not-permitted", "no", 403), token="hunter2hunter2")

    with pytest.raises(NotPermitted) as refused:
        client.get("/v1/status")

    assert api.asked[0].headers["Authorization"] == "Bearer hunter2hunter2"
    assert "hunter2" not in f"{refused.value!r}{client.endpoint!r}"


def test_a_question_that_was_broken_off_does_not_answer_the_next_one(serve: Serve) -> None:
    def interrupted(_: Asked) -> Says:
        return Says(b"x" * 100, kind="text/html")

    _, client = serve(interrupted, Says([2]))
    with pytest.raises(BadFrame):
        client.get("/v1/status")

    assert client.get("/v1/status") == [2]


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        pytest.param(("vmgroups", "a b/c?d#e%"), "/v1/vmgroups/a%20b%2Fc%3Fd%23e%25", id="quoted"),
        pytest.param(("vmgroups", "数"), "/v1/vmgroups/%E6%95%B0", id="utf-8"),
        pytest.param(("volumes", "a\r\nHost: x"), "/v1/volumes/a%0D%0AHost%3A%20x", id="no-header-forged"),
    ],
)
def test_a_name_is_one_part_of_the_path(parts: tuple[str, ...], path: str) -> None:
    assert path_of(*parts) == path


@pytest.mark.parametrize("name", ["", ".", "..", "\udcff"])
def test_a_name_that_would_be_another_path_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        path_of("vmgroups", name)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:///run/x.sock", UnixAddress(Path("/run/x.sock"))),
        ("https://esx.example", WebAddress("esx.example", 1020)),
        ("https://esx:8443/", WebAddress("esx", 8443)),
        ("https://[::1]:1", WebAddress("::1", 1)),
    ],
)
def test_an_address_is_read(text: str, address: object) -> None:
    assert parse_api(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "esx",
        "http://esx",
        "https://",
        "https://a:0",
        "https://a:65536",
        "https://u:p@a",
        "https://a/v1",
        "unix://x",
        "https://a\n",
    ],
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_api(text)


def test_a_token_lies_in_a_file_of_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hunter2hunter2\n")
    file.chmod(0o600)
    token = trust_from({"VMDKVOL_TOKEN_FILE": str(file)}).token

    assert token is not None
    assert token.reveal() == "hunter2hunter2"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_token_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "token"
    file.write_text("hunter2hunter2")
    file.chmod(mode)

    with pytest.raises(NotPermitted, match="others may read"):
        trust_from({"VMDKVOL_TOKEN_FILE": str(file)})


@pytest.mark.parametrize("text", ["", "\n", "hunter2 hunter2", "hunter2hunter2\r\nX: y", "hunter2-é", "hunter2" * 2000])
def test_a_file_without_a_token_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(0o600)

    with pytest.raises(BadRequest) as refused:
        trust_from({"VMDKVOL_TOKEN_FILE": str(file)})

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "environment",
    [
        {"VMDKVOL_TOKEN_FILE": "/nowhere/token"},
        {"VMDKVOL_CA": "/nowhere/ca.pem"},
        {"VMDKVOL_CERT": "/nowhere/me.pem"},
        {"VMDKVOL_PIN": "AB:CD"},
        {"VMDKVOL_PIN": "zz" * 32},
    ],
    ids=str,
)
def test_trust_that_cannot_be_read_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        trust_from(environment)


def test_a_pin_is_read_with_and_without_colons() -> None:
    digest = bytes(range(32))

    assert trust_from({"VMDKVOL_PIN": digest.hex(":").upper()}).pin == trust_from({"VMDKVOL_PIN": digest.hex()}).pin == digest


def test_nothing_said_is_nothing_trusted() -> None:
    assert trust_from({"VMDKVOL_TOKEN_FILE": "", "VMDKVOL_PIN": ""}) == Trust()
