"""The sandbox's web page: a door inside TLS on this machine alone, with a certificate and an administrator's token of its own.

Both lie in the sandbox's directory, readable by root alone, and go with it.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from vmdkvol import durable
from vmdkvol.admin_errors import NotAuthenticated
from vmdkvol.cli import processes
from vmdkvol.cli.api_address import WebAddress
from vmdkvol.cli.asking import free_port
from vmdkvol.cli.layout import PAGE_HOST, WEB, Identity, Layout
from vmdkvol.errors import BadRequest, VolumeError

PREFERRED_PORT = 8443
_COMMAND_S = 30.0
# The name under which what the page's user orders stands in the audit.
_OWNER = "sandbox"
_DAYS = 90


def with_page(identity: Identity, port: int | None) -> Identity:
    """Return the identity with a page: at this port, or where it was, or at a free one."""
    return replace(identity, page_port=port or identity.page_port or free_port(PAGE_HOST, PREFERRED_PORT))


def make_certificate(layout: Layout) -> None:
    """Afterwards there is one that counts for a month at least."""
    _esxd(layout, "web-certificate", str(layout.certificate))


def ensure_token(layout: Layout, identity: Identity) -> None:
    """Afterwards the token's file holds one that counts; the page must be up."""
    if not _is_taken(layout, identity):
        try:
            _esxd(layout, "web-token", "revoke", _OWNER)
        except VolumeError:
            # There was none; or it cannot be taken away, which the next command says.
            pass
        made = _esxd(layout, "web-token", "new", _OWNER, "--role", "admin", "--days", str(_DAYS))
        durable.write(layout.token, made.encode())


def page_facts(layout: Layout, identity: Identity) -> dict[str, Any] | None:
    """Return where the page is and what lets one in; None if there is no page."""
    if identity.page_port is None:
        return None
    from vmdkvol.cli.endpoint import pin_in

    try:
        pin = pin_in(layout.certificate).hex(":").upper()
    except BadRequest:
        pin = None
    return {
        "address": f"{WebAddress(PAGE_HOST, identity.page_port)}/",
        "token_file": str(layout.token),
        "certificate": str(layout.certificate),
        "certificate_sha256": pin,
    }


def _is_taken(layout: Layout, identity: Identity) -> bool:
    """Tell whether the API lets the token in the file in."""
    # What speaks HTTP and TLS is for a sandbox that has a page.
    from vmdkvol.cli.client import Client
    from vmdkvol.cli.endpoint import Endpoint, Trust, pin_in, read_token
    from vmdkvol.clock import SystemClock

    assert identity.page_port is not None, "there is a page"
    try:
        trust = Trust(read_token(layout.token), pin=pin_in(layout.certificate))
    except VolumeError:
        return False
    client = Client(Endpoint(WebAddress(PAGE_HOST, identity.page_port), trust), SystemClock())
    try:
        client.get("/v1/openapi.json")
    except NotAuthenticated:
        return False
    finally:
        client.close()
    return True


def _esxd(layout: Layout, *words: str) -> str:
    config: Path = layout.config(WEB)
    return processes.run([sys.executable, "-m", "vmdkvol_esx.cli", "--config", str(config), *words], _COMMAND_S)
