"""A file of a datastore over HTTP, on the session's own connections and with its cookie: one GET, one PUT."""

from __future__ import annotations

from collections.abc import Mapping

from vmdkvol_esx.vsphere import framed, replies
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.connections import Answer, flight
from vmdkvol_esx.vsphere.faults import Failed, Meaning, Trouble
from vmdkvol_esx.vsphere.stub import trouble_of


def get(service: Service, url: str, limit: int) -> bytes | None:
    """Return the file, None if the server knows none there; for ``session.read``. More than ``limit`` bytes are not read."""
    answer = _ask(service, "GET", url, None, limit)
    body = answer.read()
    said = answer.getheader("Content-Type") or ""
    trouble = replies.of_get(answer.status, said, (answer.getheader("Content-Encoding") or "").lower(), body)
    if trouble is not None and trouble.meaning is Meaning.ABSENT:
        return None
    _raise(trouble)
    return body


def put(service: Service, url: str, content: bytes) -> None:
    """Make the file, or replace its bytes, not at once; for ``session.change``."""
    _raise(replies.of_put(_ask(service, "PUT", url, content, framed.MAX_BYTES).status))


def _raise(trouble: Trouble | None) -> None:
    if trouble is not None:
        raise Failed(trouble)


def _ask(service: Service, verb: str, url: str, content: bytes | None, limit: int) -> Answer:
    own = flight()
    # Without a method's name: the answer is no SOAP.
    own.begin("")
    usual, own.limit = own.limit, limit
    connection = None
    try:
        connection = service.stub.GetConnection()
        connection.request(verb, url, body=content, headers=_headers(service, content, own.operation))
        answer: Answer = connection.getresponse()
    except Exception as error:  # noqa: BLE001 - as a call's: whatever broke it, the connection is not to be used again
        if connection is not None:
            connection.close()
        raise Failed(trouble_of(error, own)) from error
    finally:
        own.limit = usual
    service.stub.ReturnConnection(connection)
    return answer


def _headers(service: Service, content: bytes | None, operation: str) -> Mapping[str, str]:
    # The bindings keep the cookie as it came, with the attributes that are for a browser.
    found = {"Cookie": service.stub.cookie.partition(";")[0]}
    if content is not None:
        found["Content-Type"] = "application/octet-stream"
    if operation:
        found["X-Operation-Id"] = operation
    return found
