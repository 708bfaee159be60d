"""The protocol at the socket: what each answer must look like, and what broken requests must not do (docker-facts 2)."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from tests.conformance.case import Group
from tests.conformance.wire import UnixConnection
from tests.conformance.world import ID, World

PROTOCOL = Group("calls")
CHANGING = ("Create", "Mount", "Unmount", "Remove")
ALL = (*CHANGING, "Get", "List", "Path", "Capabilities")


def assert_nothing_changed_by(w: World, *bodies: bytes) -> None:
    """Send each body to each endpoint that changes something: the volume, its mount and the list stay as they are."""
    name = w.make()
    path = w.mount(name)
    w.write(path, "kept")
    before = w.listed()
    for body in bodies:
        for endpoint in (*CHANGING, "Get", "Path"):
            answer = w.raw(endpoint, body)
            assert answer.refused, f"{endpoint} of {body[:40]!r} is answered as a success: {answer.body!r}"
        assert w.listed() == before, f"{body[:40]!r} has changed the list"
        assert w.read(path) == "kept", f"{body[:40]!r} took the mount away"
    w.unmount(name)


@PROTOCOL.case(1, "Plugin.Activate says VolumeDriver, each time that it is asked.")
def activate(w: World) -> None:
    for _ in range(3):
        answer = w.raw("/Plugin.Activate", b"")
        assert answer.status == 200
        assert "VolumeDriver" in answer.json["Implements"]


@PROTOCOL.case(2, "Capabilities says scope local or global.")
def capabilities(w: World) -> None:
    for body in (b"{}\n", b""):
        assert w.raw("Capabilities", body).json["Capabilities"]["Scope"] in ("local", "global")


@PROTOCOL.case(3, "Get, List and Path agree on name and mount point, unmounted, mounted and unmounted again.")
def agreement(w: World) -> None:
    names = [w.make("one"), w.make("two")]

    def seen() -> list[str]:
        listed = {volume["Name"]: volume.get("Mountpoint") or "" for volume in w.told("List")["Volumes"]}
        got = {name: w.told("Get", Name=name)["Volume"] for name in names}
        assert {name: volume["Name"] for name, volume in got.items()} == {name: name for name in names}
        shown = {name: volume.get("Mountpoint") or "" for name, volume in got.items()}
        assert shown == listed, "Get and List do not agree"
        paths = {name: w.call("Path", Name=name) for name in names}
        assert {name: answer.json.get("Mountpoint") or "" for name, answer in paths.items()} == shown, "Path differs"
        return [shown[name] for name in names]

    seen()
    path = w.mount("one")
    assert seen()[0] == path, "Get of a mounted volume has another mount point than Mount"
    w.unmount("one")
    assert seen()[1] != path


@PROTOCOL.case(4, "Get and List show the same creation time, with a zone, or none.")
def created_at(w: World) -> None:
    """Without a zone the engine discards the whole answer, and with it labels and references (docker-facts 2.2)."""
    name = w.make()
    (listed,) = w.told("List")["Volumes"]
    got = w.told("Get", Name=name)["Volume"]
    assert listed.get("CreatedAt") == got.get("CreatedAt")
    if got.get("CreatedAt") is not None:
        assert "T" in got["CreatedAt"], got["CreatedAt"]
        assert datetime.fromisoformat(got["CreatedAt"]).tzinfo is not None, f"no zone: {got['CreatedAt']}"


@PROTOCOL.case(5, "The creation time does not change.")
def created_once(w: World) -> None:
    name = w.make()
    before = w.told("Get", Name=name)["Volume"].get("CreatedAt")
    w.mount(name)
    w.unmount(name)
    w.told("Create", Name=name, Opts=dict(w.options))
    assert w.told("Get", Name=name)["Volume"].get("CreatedAt") == before


@PROTOCOL.case(6, "Status, if there is one, is an object.")
def status_is_an_object(w: World) -> None:
    name = w.make()
    assert isinstance(w.told("Get", Name=name)["Volume"].get("Status") or {}, dict)
    assert isinstance(w.inspect(name).get("Status") or {}, dict)


@PROTOCOL.case(7, "An empty body, as the engine repeats a broken call with, changes nothing and is no success.")
def empty_bodies(w: World) -> None:
    assert_nothing_changed_by(w, b"", b"\n")


@PROTOCOL.case(8, "A body that is no JSON changes nothing and is no success.")
def no_json(w: World) -> None:
    assert_nothing_changed_by(w, b"{", b"Name=v", b"\x00\xff\xfe", b'{"Name": "v"', b"<xml/>")


@PROTOCOL.case(9, "JSON that is no object, or has no name, changes nothing and is no success.")
def wrong_json(w: World) -> None:
    assert_nothing_changed_by(w, b"null", b"[]", b'"v"', b"5", b"{}", b'{"Name": null}', b'{"ID": "1"}')


@PROTOCOL.case(10, "A name that is no text changes nothing and is no success.")
def wrong_types(w: World) -> None:
    assert_nothing_changed_by(w, b'{"Name": 5}', b'{"Name": ["v"]}', b'{"Name": {"v": 1}}', b'{"Name": true}')


@PROTOCOL.case(11, "Options that are no object of texts make no volume, or a whole one.")
def wrong_options(w: World) -> None:
    wrong: tuple[object, ...] = ([], "size=1gb", 5, {"size": ["1gb"]}, {"size": {"a": 1}})
    for opts in wrong:
        name = w.fresh("wrong")
        answer = w.call("Create", Name=name, Opts=opts)
        assert (name in w.listed()) == (not answer.refused), f"{opts!r}: {answer.body!r}, List: {w.listed()}"


@PROTOCOL.case(12, "Fields that a later engine may add are ignored.")
def unknown_fields(w: World) -> None:
    name = w.fresh()
    w.told("Create", Name=name, Opts=dict(w.options), Later={"a": 1})
    assert w.told("Mount", Name=name, ID=ID.format(1), ReadOnly=True)["Mountpoint"]
    w.told("Unmount", Name=name, ID=ID.format(1), Later=None)
    assert w.told("Get", Name=name, Later=[])["Volume"]["Name"] == name


@PROTOCOL.case(13, "An unknown route or method is refused as JSON and does no harm.")
def unknown_routes(w: World) -> None:
    name = w.make()
    for path in ("/VolumeDriver.Nothing", "/", "/VolumeDriver.create", "/NetworkDriver.Join", "/../etc"):
        assert w.raw(path, json.dumps({"Name": name}).encode()).status not in (None, 200), path
    assert w.raw("Remove", json.dumps({"Name": name}).encode(), method="GET").status != 200
    assert w.listed() == [name]


@PROTOCOL.case(14, "Every refusal is JSON with one line of text in Err: it is what the user reads.")
def errors_are_one_line(w: World) -> None:
    for endpoint in ("Get", "Mount", "Remove", "Path"):
        answer = w.call(endpoint, Name="nothing", ID="1" * 64)
        assert answer.error, answer
        assert len(answer.error.splitlines()) == 1, answer.error
    for endpoint in CHANGING:
        answer = w.raw(endpoint, b"")
        assert answer.error, answer
        assert len(answer.error.splitlines()) == 1, answer.error


@PROTOCOL.case(15, "One kept connection serves call after call.")
def kept_connection(w: World) -> None:
    name = w.make()
    connection = UnixConnection(w.socket)
    for _ in range(20):
        connection.request("POST", "/VolumeDriver.Get", json.dumps({"Name": name}))
        assert json.loads(connection.getresponse().read())["Volume"]["Name"] == name
    connection.close()


@PROTOCOL.case(16, "A request that comes in pieces is one request.")
def in_pieces(w: World) -> None:
    name = w.make()
    body = json.dumps({"Name": name}).encode()
    head = f"POST /VolumeDriver.Get HTTP/1.1\r\nHost: \r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(60)
        line.connect(str(w.socket))
        for piece in (head[:30], head[30:], body[:4], body[4:]):
            line.sendall(piece)
        answer = line.makefile("rb").read()
    assert b" 200 " in answer.split(b"\r\n")[0], answer
    assert name.encode() in answer


@PROTOCOL.case(17, "A caller that goes away in the middle of its request changes nothing, and others are served.")
def gone_caller(w: World) -> None:
    name = w.make()
    for endpoint in CHANGING:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(w.socket))
            line.sendall(
                f"POST /VolumeDriver.{endpoint} HTTP/1.1\r\nHost: \r\nContent-Length: 100\r\n\r\n".encode() + b'{"Name"'
            )
    assert w.listed() == [name]


@PROTOCOL.case(18, "A body of one MiB does no harm.")
def huge_body(w: World) -> None:
    name = w.make()
    assert w.raw("Create", json.dumps({"Name": "x" * (1 << 20)}).encode()).refused
    assert w.listed() == [name]


@PROTOCOL.case(19, "Get and List are answered, and right, while sixteen volumes come and go.")
def reading_while_writing(w: World) -> None:
    name = w.make("stays")

    def come_and_go(number: int) -> None:
        other = w.make(f"goes{number}")
        w.mount(other)
        w.unmount(other)
        w.told("Remove", Name=other)

    with ThreadPoolExecutor(8) as pool:
        going = [pool.submit(come_and_go, number) for number in range(16)]
        while not all(work.done() for work in going):
            assert name in w.listed()
            assert w.told("Get", Name=name)["Volume"]["Name"] == name
        for work in going:
            work.result()
    assert w.listed() == [name]
