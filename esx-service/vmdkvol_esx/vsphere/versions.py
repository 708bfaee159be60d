"""Which version of the API is spoken: the newest that both the server and the bindings know. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from vmdkvol.errors import HypervisorUnreachable

NAMESPACE = "urn:vim25"
# VMware's page has about 8 KB.
MAX_BYTES = 1 << 20


def offered(page: bytes) -> frozenset[str]:
    """Return the versions of ``/sdk/vimServiceVersions.xml``, prior ones too; ValueError if it is no such page."""
    if len(page) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    # Entities could make a small page a large one; the real one has none, and no DOCTYPE.
    if b"<!DOCTYPE" in page or b"<!ENTITY" in page:
        raise ValueError("it has a DOCTYPE")
    try:
        root = ElementTree.fromstring(page)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error
    found = [
        (version.text or "").strip()
        for namespace in root.iter("namespace")
        if (namespace.findtext("name") or "").strip() == NAMESPACE
        for version in namespace.iter("version")
    ]
    if not any(found):
        raise ValueError(f"it lists no version of {NAMESPACE}")
    return frozenset(filter(None, found))


def choose(known: Sequence[tuple[str, str]], offers: frozenset[str], server: str) -> str:
    """Return the name of the first of ``known`` that the server offers; HypervisorUnreachable if there is none.

    ``known``: the bindings' name and the number on the wire of each version, newest first.
    """
    for name, number in known:
        if number in offers:
            return name
    raise HypervisorUnreachable(
        f"{server} speaks versions {', '.join(sorted(offers))[:60]} of the vSphere API, none of which is known here",
        remedy="use vSphere 6.7 or newer, or a newer vmdkvol",
    )
