"""Who comes in at the REST API, with real sockets, TLS, tokens and certificates; and what the processes do when one dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.site import eventually
from tests.doubles.certificates import Authority
from tests.integration.api_site import HOST, ApiSite, api_site
from vmdkvol import durable
from vmdkvol.cli import processes
from vmdkvol.listening import READ_S
from vmdkvol.orders import Role
from vmdkvol_esx.web import token_file
from vmdkvol_esx.web.asked import MAX_BODY
from vmdkvol_esx.web.incoming import MOST_HEAD
from vmdkvol_esx.web.refusals import SOURCE_MOST

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def shared() -> Iterator[ApiSite]:
    with api_site() as site:
        yield site


@pytest.fixture
def alone() -> Iterator[ApiSite]:
    """A site that a test may kill."""
    with api_site() as site:
        yield site


def audited(site: ApiSite, **wanted: str) -> list[dict[str, Any]]:
    query = "&".join(f"{name}={value}" for name, value in wanted.items())
    entries: list[dict[str, Any]] = site.unix("GET", f"/v1/audit?{query}").json["entries"]
    return entries


def test_root_at_the_socket_is_the_administrator(shared: ApiSite) -> None:
    assert stat.S_IMODE(shared.socket.stat().st_mode) == 0o600
    found = shared.unix("GET", "/v1/vms")
    assert (found.status, [each["vm"] for each in found.json["vms"]]) == (200, [str(HOST)])


def test_nobody_comes_in_from_elsewhere_without_a_proof(shared: ApiSite) -> None:
    found = shared.far("GET", "/v1/vms")
    assert (found.status, found.code) == (401, "not-authenticated")
    assert found.headers["WWW-Authenticate"] == 'Bearer realm="vmdkvol"'


def test_who_was_not_let_in_stands_in_the_audit_with_where_from_and_why_and_a_flood_does_not_fill_it(alone: ApiSite) -> None:
    refused = [alone.far("GET", "/v1/vms", token=f"vmdkvol_guess{number}") for number in range(20)]
    eventually(lambda: len(audited(alone, verb="log-in")) >= SOURCE_MOST, "the audit has them")
    alone.stop()
    alone.start()

    told = audited(alone, verb="log-in")
    first = told[-1]
    assert (first["actor"], first["role"], first["source"], first["target"]) == ("unknown", "none", "127.0.0.1", "api")
    assert (first["result"], first["request_id"]) == ("not-authenticated", refused[0].headers["X-Request-Id"])
    assert "unknown, over or revoked" in first["detail"]
    assert len(told) == SOURCE_MOST + 1
    assert told[0]["detail"].startswith(f"{20 - SOURCE_MOST} more were refused like this: ")
    assert not [each for each in told if "guess" in json.dumps(each)]


def test_who_was_not_let_in_while_the_core_was_away_stands_in_the_audit_when_it_is_back(alone: ApiSite) -> None:
    def meanwhile() -> None:
        assert alone.far("GET", "/v1/vms", token="vmdkvol_guess").status == 401

    alone.restart_core(meanwhile)

    eventually(lambda: [each["source"] for each in audited(alone, verb="log-in")] == ["127.0.0.1"], "the audit has it", 90.0)


def test_why_it_is_not_ready_is_told_to_those_who_are_known_alone(shared: ApiSite) -> None:
    token = shared.token("prober", Role.VIEWER)
    for path in ("/readyz", "/livez"):
        assert shared.far("GET", path).json == {"status": "ok"}
        assert shared.far("GET", path, Authorization="Bearer vmdkvol_x").json == {"status": "ok"}
        assert "checks" in shared.far("GET", path, token=token).json
        assert "checks" in shared.unix("GET", path).json


def test_a_certificate_that_became_unusable_is_told_by_readyz_and_in_the_log(alone: ApiSite) -> None:
    assert alone.unix("GET", "/readyz").json["checks"]["tls"] == "ok"
    web = alone.settings.web
    assert web is not None
    shown = Path(str(web.certificate_file))
    shown.write_text("nothing")
    found = alone.unix("GET", "/readyz")
    assert (found.status, f"{shown} has no certificate" in found.json["checks"]["tls"]) == (503, True)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        alone.far("GET", "/livez")
    eventually(lambda: "no TLS with the files of [web]" in (alone.root / "web.log").read_text(), "the log says so")


def test_a_viewer_may_look_and_change_nothing_and_the_audit_has_the_try(shared: ApiSite) -> None:
    token = shared.token("looker", Role.VIEWER)
    assert shared.far("GET", "/v1/vms", token=token).status == 200
    refused = shared.far("POST", "/v1/vms/docker1/enroll", token=token)
    assert (refused.status, refused.code) == (403, "not-permitted")
    assert shared.far("POST", "/v1/vms/docker1/enroll?dry_run=true", token=token).status == 403
    told = audited(shared, actor="looker")
    assert [(each["result"], each["source"]) for each in told] == [("not-permitted", "127.0.0.1")] * 2
    assert told[1]["request_id"] == refused.headers["X-Request-Id"]


def test_an_order_is_carried_out_once_under_its_key(shared: ApiSite) -> None:
    token = shared.token("doer", Role.ADMIN)
    first, again = (shared.far("POST", "/v1/vms/docker1/enroll", token=token, Idempotency_Key="one") for _ in range(2))
    assert (first.status, again.status) == (200, 200)
    assert first.json["token"] == again.json["token"] != ""
    assert len(audited(shared, actor="doer")) == 1
    other = shared.far("POST", "/v1/vms/docker1/enroll", {"give": True}, token=token, Idempotency_Key="one")
    assert (other.status, other.code) == (422, "key-reused")


def test_the_token_of_an_enrolment_is_in_no_file(shared: ApiSite) -> None:
    secret = shared.unix("POST", "/v1/vms/docker1/enroll").json["token"].split(".")[1]
    kept = b"".join(path.read_bytes() for path in shared.root.rglob("*") if path.is_file())
    assert secret.encode() not in kept


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer vmdkvol_",
        "Basic cm9vdDpyb290",
        "Bearer " + "x" * 5000,
        "bearer \u00e9",
        "",
        "Negotiate",
        "Bearer null",
        "Bearer *",
    ],
)
def test_a_token_that_is_none_lets_nobody_in(shared: ApiSite, header: str) -> None:
    """Not at the socket either: what is shown counts, and not who else it might be."""
    assert shared.far("GET", "/v1/vms", Authorization=header).code == "not-authenticated"
    assert shared.unix("GET", "/v1/vms", Authorization=header).code == "not-authenticated"


def test_a_token_counts_in_its_header_alone(shared: ApiSite) -> None:
    token = shared.token("addressed", Role.ADMIN)
    assert shared.far("GET", f"/v1/vms?access_token={token}").status == 401
    assert shared.far("GET", "/v1/vms", Cookie=f"token={token}").status == 401
    assert shared.far("GET", "/v1/vms", token=token, X_Role="admin").status == 200


def test_a_revoked_token_counts_no_more_with_the_next_request(shared: ApiSite) -> None:
    token = shared.token("gone", Role.VIEWER)
    assert shared.far("GET", "/v1/vms", token=token).status == 200
    shared.tokens.remove("gone")
    assert shared.far("GET", "/v1/vms", token=token).status == 401


def test_a_token_that_is_over_counts_no_more(shared: ApiSite) -> None:
    token = shared.token("late", Role.ADMIN)
    path = Path(shared.settings.token_file)
    kept = [asdict(each) for each in token_file.read(path)]
    durable.write(path, json.dumps({"tokens": [each | {"expires_at": 1.0} for each in kept]}).encode())
    assert shared.far("GET", "/v1/vms", token=token).status == 401


def test_a_file_of_tokens_that_others_may_write_is_believed_by_nobody(alone: ApiSite) -> None:
    token = alone.token("ann", Role.ADMIN)
    Path(alone.settings.token_file).chmod(0o666)
    refused = alone.far("GET", "/v1/vms", token=token)
    assert (refused.status, refused.code) == (503, "metadata-damaged")
    assert alone.unix("GET", "/v1/vms").status == 200


@pytest.mark.parametrize(("role", "looks", "changes"), [("viewer", 200, 403), ("operator", 200, 403), ("admin", 200, 200)])
def test_a_certificate_says_who_it_is_and_with_which_role(shared: ApiSite, role: str, looks: int, changes: int) -> None:
    shown = shared.administrators.administrator(f"carol-{role}", role)
    assert shared.far("GET", "/v1/vms", certificate=shown).status == looks
    assert shared.far("POST", "/v1/vms/docker1/enroll", certificate=shown).status == changes
    assert {each["role"] for each in audited(shared, actor=f"carol-{role}")} == {role}


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("carol", ()),
        ("carol", ("admin", "viewer")),
        ("carol", ("Admin",)),
        ("carol", ("superuser",)),
        ("root", ("admin",)),
        ("a\nb", ("admin",)),
        ("", ("admin",)),
    ],
)
def test_a_certificate_without_one_name_and_one_role_lets_nobody_in(shared: ApiSite, name: str, units: tuple[str, ...]) -> None:
    shown = shared.administrators.administrator(name, *units) if name else shared.administrators.agent(HOST)
    assert shared.far("GET", "/v1/vms", certificate=shown).code == "not-authenticated"


@pytest.mark.parametrize("wrong", ["another-authority", "the-site's", "over", "not-yet"])
def test_a_certificate_that_does_not_count_ends_the_handshake(shared: ApiSite, wrong: str) -> None:
    elsewhere = shared.root / wrong
    elsewhere.mkdir(exist_ok=True)
    shown = {
        "another-authority": lambda: Authority(elsewhere, "administrators").administrator("carol", "admin"),
        "the-site's": lambda: shared.site.administrator("carol", "admin"),
        "over": lambda: shared.administrators.administrator("carol", "admin", ends=-1.0),
        "not-yet": lambda: shared.administrators.administrator("carol", "admin", starts=1.0),
    }[wrong]()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        shared.far("GET", "/v1/vms", certificate=shown)


def test_what_did_not_even_come_to_tls_stands_in_the_audit_once_with_how_often(alone: ApiSite) -> None:
    stranger = Authority(alone.root / "state", "strangers").administrator("carol", "admin")
    for _ in range(3):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            alone.far("GET", "/v1/vms", certificate=stranger)
    # Who only looks whether the port is open has tried nothing.
    socket.create_connection(("127.0.0.1", alone.port), 10.0).close()
    eventually(lambda: len(audited(alone, verb="log-in")) == 1, "the audit has the first")
    alone.stop()
    alone.start()

    more, first = audited(alone, verb="log-in")
    assert (first["actor"], first["source"], first["target"]) == ("unknown", "127.0.0.1", "tls")
    assert first["detail"].startswith("no TLS: certificate verify failed: ")
    assert more["detail"] == f"2 more were refused like this: {first['detail']}"


def test_nothing_is_said_in_the_clear_at_the_secured_door(shared: ApiSite) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), 10.0) as connection:
        connection.sendall(b"GET /v1/vms HTTP/1.1\r\nHost: localhost\r\n\r\n")
        found = b""
        try:
            while piece := connection.recv(65536):
                found += piece
        except ConnectionResetError:
            pass
    assert b"HTTP/" not in found


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /v1/vms\r\n\r\n", 400),
        (b"GET /v1/vms HTTP/9.9\r\n\r\n", 400),
        (b"GET /v1/vms HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        (b"GET /v1/vms HTTP/1.1\r\nHost: localhost\r\nX: a\r\n\tfolded\r\n\r\n", 400),
        (b"GET /v1/vms HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\x00b\r\n\r\n", 400),
        (b"POST /v1/vms/a/enroll HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (b"POST /v1/vms/a/enroll HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{}", 400),
        (b"POST /v1/vms/a/enroll HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /v1/vms HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET /v1/vms HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X%d: a\r\n" % n for n in range(70)) + b"\r\n", 431),
        (b"GET /v1/vms/%2e%2e%2faudit HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://elsewhere/v1/vms HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ],
)
def test_what_is_no_http_of_ours_is_a_problem_all_the_same(shared: ApiSite, request_: bytes, status: int) -> None:
    found = shared.raw(request_)
    head, _, body = found.partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode(), found
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == status


def test_the_socket_of_root_answers_for_no_name_of_the_internet(shared: ApiSite) -> None:
    """A tunnel to it is reached by any page whose name leads to 127.0.0.1."""
    found = shared.raw(b"GET /v1/vms HTTP/1.1\r\nHost: evil.example:8443\r\n\r\n")
    assert found.split()[1] == b"403"
    assert b'"foreign-page"' in found


@pytest.mark.parametrize(("name", "value"), [("Origin", "https://evil.example"), ("Sec_Fetch_Site", "cross-site")])
def test_a_page_of_another_site_orders_nothing_with_a_certificate(shared: ApiSite, name: str, value: str) -> None:
    shown = shared.administrators.administrator("dora", "admin")
    refused = shared.far("POST", "/v1/vms/docker1/enroll", certificate=shown, **{name: value})
    assert (refused.status, refused.code) == (403, "foreign-page")
    assert audited(shared, actor="dora") == []


def test_no_text_of_a_request_becomes_a_header_of_the_answer(shared: ApiSite) -> None:
    found = shared.raw(b"GET /v1/vms/a%0d%0aX-Evil:1/revoke?limit=%0d%0aX-Evil:1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"X-Evil" not in found.partition(b"\r\n\r\n")[0]
    odd = shared.unix("GET", "/v1/vms", X_Request_Id="evil", Idempotency_Key="evil")
    assert "evil" not in str(odd.headers)


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO", "X-Forwarded-Proto", "X-Forwarded-Ssl", "X-Forwarded-Protocol"])
@pytest.mark.parametrize("value", ["/v1", "/elsewhere", "https", "http", "on"])
def test_no_header_says_which_path_or_scheme_is_meant(shared: ApiSite, name: str, value: str) -> None:
    """Also none that came through a proxy on this machine, which gunicorn believes unless it is told not to."""
    head = f"GET /v1/vms HTTP/1.1\r\nHost: localhost\r\n{name}: {value}\r\n\r\n".encode()
    assert shared.raw(head).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_a_megabyte_is_refused_and_the_reason_arrives(shared: ApiSite, chunked: bool) -> None:
    body = b'{"give": "' + b"x" * (1 << 20) + b'"}'
    if not chunked:
        assert shared.unix("POST", "/v1/vms/a/enroll", body).code == "body-too-long"
        return
    head = b"POST /v1/vms/a/enroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    assert b"413" in shared.raw(head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n").partition(b"\r\n")[0]
    assert len(body) > MAX_BODY


def test_who_sends_half_a_request_is_cut_off_and_keeps_nobody_out(shared: ApiSite) -> None:
    """As many as there are threads, at the secured door too."""
    half = b"POST /v1/vms/a/enroll HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    slow: list[socket.socket] = []
    try:
        for _ in range(8):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.connect(str(shared.socket))
            connection.sendall(half)
            far = shared.context().wrap_socket(
                socket.create_connection(("127.0.0.1", shared.port)), server_hostname="localhost"
            )
            far.sendall(half)
            slow += [connection, far]
        assert shared.unix("GET", "/livez").status == 200
        assert shared.far("GET", "/livez").status == 200
        for each in slow:
            each.settimeout(30.0)
            # Cut off: a problem, or the end.
            assert _last_words(each)[9:12] in (b"400", b"")
    finally:
        for each in slow:
            each.close()


@pytest.mark.parametrize(
    ("secured", "said"),
    [
        pytest.param(False, b"\x16", id="a-byte-of-a-handshake"),
        pytest.param(False, b"\x16\x03\x01\x02\x00\x01", id="half-a-client-hello"),
        pytest.param(True, b"", id="tls-and-no-word"),
        pytest.param(True, b"\r\n\r\n", id="empty-lines"),
        pytest.param(True, b"GET /livez HTTP/1.1\r\nHost: local", id="half-a-head"),
    ],
)
def test_nobody_who_is_not_known_keeps_a_thread_waiting(shared: ApiSite, secured: bool, said: bytes) -> None:
    """Twice as many as there are threads, none of which says all that it has to."""
    slow: list[socket.socket] = []
    try:
        for _ in range(16):
            far = socket.create_connection(("127.0.0.1", shared.port))
            slow.append(far)
            if secured:
                far = slow[-1] = shared.context().wrap_socket(far, server_hostname="localhost")
            far.sendall(said)
        time.sleep(0.3)
        begun = time.monotonic()
        assert shared.far("GET", "/livez").status == 200
        assert time.monotonic() - begun < READ_S * 0.8
    finally:
        for each in slow:
            each.close()


@pytest.mark.parametrize("pause_s", [0.0, 0.02])
def test_a_request_that_comes_in_pieces_inside_tls_is_answered(shared: ApiSite, pause_s: float) -> None:
    with shared.context().wrap_socket(socket.create_connection(("127.0.0.1", shared.port)), server_hostname="localhost") as far:
        for byte in b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n":
            far.sendall(bytes([byte]))
            time.sleep(pause_s)
        assert _last_words(far).startswith(b"HTTP/1.1 200")


def test_who_ends_no_head_inside_tls_is_cut_off(shared: ApiSite) -> None:
    with shared.context().wrap_socket(socket.create_connection(("127.0.0.1", shared.port)), server_hostname="localhost") as far:
        far.settimeout(READ_S + 5.0)
        far.sendall(b"GET /livez HTTP/1.1\r\n")
        assert _last_words(far) == b""


def test_a_head_without_an_end_inside_tls_is_refused_before_it_fills_memory(shared: ApiSite) -> None:
    with shared.context().wrap_socket(socket.create_connection(("127.0.0.1", shared.port)), server_hostname="localhost") as far:
        far.sendall(b"GET /livez HTTP/1.1\r\n" + b"X: a\r\n" * (MOST_HEAD // 6 + 1))
        assert _last_words(far).startswith(b"HTTP/1.1 431")


def test_the_api_says_that_its_core_is_away_and_goes_on_when_it_is_back(alone: ApiSite) -> None:
    def away() -> None:
        eventually(lambda: alone.unix("GET", "/readyz").status == 503, "it is not ready")
        found = alone.unix("GET", "/v1/vms")
        assert (found.status, found.code, found.headers["Retry-After"]) == (503, "service-unreachable", "1")
        assert alone.unix("GET", "/livez").status == 200

    alone.restart_core(away)
    eventually(lambda: alone.unix("GET", "/readyz").status == 200, "it is ready again")
    assert alone.unix("GET", "/v1/vms").status == 200


def test_a_second_api_takes_no_socket_that_is_served(alone: ApiSite) -> None:
    first = alone.process
    command = [sys.executable, "-m", "vmdkvol_esx.cli", "--config", str(alone.config), "web"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 5
    assert "another process serves" in done.stderr
    assert first.poll() is None
    assert alone.unix("GET", "/v1/vms").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_no_process_and_no_socket(alone: ApiSite, number: signal.Signals) -> None:
    assert alone.stop(number) == 0
    assert processes.with_config(alone.config) == []
    assert not alone.socket.exists()


def test_the_end_of_one_door_is_the_end_of_all_so_that_somebody_notices(alone: ApiSite) -> None:
    masters = [each.pid for each in processes.with_config(alone.config) if _parent(each.pid) == alone.process.pid]
    assert len(masters) == 2
    os.kill(masters[0], signal.SIGKILL)
    assert alone.process.wait(30.0) != 0
    eventually(lambda: processes.with_config(alone.config) == [], "nothing is left")


def test_killed_it_is_started_again_over_what_is_left(alone: ApiSite) -> None:
    alone.stop(signal.SIGKILL)
    alone.start()
    assert alone.unix("GET", "/v1/vms").status == 200


def _last_words(connection: socket.socket) -> bytes:
    try:
        return connection.recv(4096)
    except (ssl.SSLError, ConnectionError):
        return b""


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_token_that_is_made_and_revoked_stands_in_the_audit_as_soon_as_somebody_asks(alone: ApiSite) -> None:
    alone.token("dora", Role.OPERATOR)
    alone.tokens.remove("dora")
    found = [(each["target"], each["actor"], each["detail"]) for each in audited(alone, verb="admin-token")]
    assert found == [("dora", "root", "revoked"), ("dora", "root", "made, as operator, for 1 days")]
