"""The bindings, kept to our rules: no call without a deadline, no repeated call, no property but through the collector."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from http.client import HTTPException
from http.cookies import SimpleCookie
from typing import Any
from xml.parsers.expat import ExpatError

from pyVmomi import VmomiSupport, vmodl
from pyVmomi.SoapAdapter import SoapStubAdapter

from vmdkvol.errors import Internal, one_line
from vmdkvol_esx.vsphere.connections import IDLE_S, Connection, Flight, PinnedContext, WrongPin, flight
from vmdkvol_esx.vsphere.endpoint import Endpoint
from vmdkvol_esx.vsphere.faults import Failed, Meaning, Trouble, Where, meaning_of

# Of a foreign text in a message: what stands behind it must still fit.
_MAX_DETAIL = 120
_COOKIE = "vmware_soap_session"
# Hears of each call its method, what came of it (``OK``, ``BUG``, or a ``Meaning`` in small letters) and how long it took (s).
Timed = Callable[[str, str, float], None]
OK, BUG = "ok", "internal"


def untimed(method: str, result: str, seconds: float) -> None:
    """Nobody wants to know how long calls take."""


class Stub(SoapStubAdapter):  # type: ignore[misc]
    """Calls of one login. Raises ``Failed`` for whatever goes wrong with one; nothing is made again here."""

    def __init__(
        self, endpoint: Endpoint, context: PinnedContext, version: str, pool: int, path: str = "/sdk", timed: Timed = untimed
    ) -> None:
        super().__init__(
            host=endpoint.host,
            port=endpoint.port,
            version=version,
            path=path,
            poolSize=pool,
            connectionPoolTimeout=IDLE_S,
            sslContext=context,
        )
        # The bindings' own connection looks at a pin only after the check by CA failed, and starts each timeout anew.
        self.scheme = Connection
        self.schemeArgs = {"context": context}
        self._endpoint = endpoint
        self._trusted = context
        self._timed = timed
        # What vCenter's services beside the main one ask for in each call; that one has the cookie.
        self._session_key = ""

    def beside(self, path: str, version: str) -> Stub:
        """Return a stub of the same session for another service of the server; it ends with the session."""
        other = Stub(self._endpoint, self._trusted, version, 1, path, self._timed)
        other.cookie = self.cookie
        found = SimpleCookie(self.cookie or "").get(_COOKIE)
        other._session_key = found.value if found is not None else ""
        return other

    def InvokeMethod(self, mo: Any, info: Any, args: Any, outerStub: Any = None) -> Any:
        own, began, result = flight(), time.monotonic(), BUG
        own.begin(info.wsdlName)
        context = VmomiSupport.GetRequestContext()
        if own.operation:
            context["operationID"] = own.operation
        if self._session_key:
            context["vcSessionCookie"] = self._session_key
        try:
            answer = super().InvokeMethod(mo, info, args, outerStub)
            result = OK
            return answer
        except Exception as error:  # noqa: BLE001 - the bindings raise whatever decoding met, down to a bare Exception
            trouble = trouble_of(error, own)
            result = trouble.meaning.name.lower().replace("_", "-")
            raise Failed(trouble, asked=own.private and own.sent) from (None if own.private else error)
        finally:
            self._timed(info.wsdlName, result, time.monotonic() - began)
            context.pop("operationID", None)
            context.pop("vcSessionCookie", None)

    def InvokeAccessor(self, mo: Any, info: Any) -> Any:
        # It reads whole objects, and what it says of an unset property differs from server to server.
        raise Internal(f"property {info.name} was read past the property collector")


def trouble_of(error: Exception, own: Flight) -> Trouble:
    """Return what an exception of a call means. A bug before anything was sent stays what it is, and is raised."""
    if isinstance(error, vmodl.MethodFault):
        return fault_trouble(error, private=own.private)
    said = type(error).__name__ if own.private else one_line(f"{error or type(error).__name__}", _MAX_DETAIL)
    if isinstance(error, ssl.SSLCertVerificationError | WrongPin):
        reason = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.args[0]
        return Trouble(Meaning.CERTIFICATE, one_line(str(reason), _MAX_DETAIL))
    if isinstance(error, OSError | HTTPException):
        return Trouble(Meaning.LOST if own.sent else Meaning.NOT_SENT, said)
    if not own.sent:
        raise error
    kind = "" if isinstance(error, ExpatError) else f"{type(error).__name__}: "
    return Trouble(Meaning.NOT_UNDERSTOOD, said if own.private else kind + said)


def fault_trouble(fault: Any, where: Where = Where.CALL, *, private: bool = False) -> Trouble:
    """Return what a fault means, wherever it was found: the answer to a call, a task's end, a property that was withheld."""
    lineage = [kind.__name__.rsplit(".", 1)[-1] for kind in type(fault).__mro__]
    text = getattr(fault, "msg", None) or ""
    meaning = meaning_of(lineage, text)
    if private:
        return Trouble(meaning, lineage[0], where)
    if meaning is Meaning.FORBIDDEN:
        held = getattr(fault, "object", None)
        text = f"{getattr(fault, 'privilegeId', None)} on {getattr(held, '_moId', None)}"
    said = lineage[0] + (f": {text}" if text else "")
    return Trouble(meaning, one_line(said, _MAX_DETAIL), where)
