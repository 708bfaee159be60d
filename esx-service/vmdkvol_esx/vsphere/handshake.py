"""One TLS handshake with the endpoint, to see its certificate; nothing is asked of it."""

from __future__ import annotations

import ssl
from contextlib import suppress
from http.client import HTTPException

from vmdkvol.clock import Deadline
from vmdkvol_esx.vsphere.connections import Connection, Flight, PinnedContext, dial, flying
from vmdkvol_esx.vsphere.endpoint import Endpoint, Trust
from vmdkvol_esx.vsphere.examined import Presented
from vmdkvol_esx.vsphere.faults import Kind, error_of
from vmdkvol_esx.vsphere.pins import fingerprint
from vmdkvol_esx.vsphere.stub import trouble_of


def reach(endpoint: Endpoint, deadline: Deadline) -> None:
    """Open a connection and close it. HypervisorUnreachable if nobody takes it within the deadline."""
    with flying(Flight(deadline, Kind.READ)) as own:
        try:
            dial(endpoint.host, endpoint.port).close()
        except OSError as error:
            raise error_of(Kind.READ, trouble_of(error, own), f"connecting to {endpoint}") from error


def presented(endpoint: Endpoint, trust: Trust, deadline: Deadline) -> Presented:
    """Return the certificate that the server presents. HypervisorUnreachable if ``trust`` does not take it."""
    with flying(Flight(deadline, Kind.READ)) as own:
        connection = Connection(endpoint.host, endpoint.port, PinnedContext.of(trust))
        try:
            connection.connect()
            # Filled in: each context of ours checks what it gets.
            said = connection.sock.getpeercert()
            return Presented(
                fingerprint(connection.sock.getpeercert(binary_form=True)), ssl.cert_time_to_seconds(said["notAfter"])
            )
        except (OSError, HTTPException) as error:
            raise error_of(Kind.READ, trouble_of(error, own), f"greeting {endpoint}") from error
        finally:
            connection.close()


def shown_unchecked(endpoint: Endpoint, deadline: Deadline) -> str:
    """Return the fingerprint of whatever certificate is presented, for a person to compare; nothing is sent to the peer.

    Empty if none is presented in time.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with flying(Flight(deadline, Kind.READ)) as own, suppress(OSError), dial(endpoint.host, endpoint.port) as plain:
        plain.settimeout(own.left_s())
        with context.wrap_socket(plain, server_hostname=endpoint.host) as inside:
            return fingerprint(inside.getpeercert(binary_form=True) or b"")
    return ""
