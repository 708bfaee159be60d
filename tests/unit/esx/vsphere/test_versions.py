"""The version that both sides speak."""

from __future__ import annotations

import pytest

from vmdkvol.errors import HypervisorUnreachable
from vmdkvol_esx.vsphere.versions import MAX_BYTES, choose, offered

KNOWN = (("vim.version.v9", "9.1.1.0"), ("vim.version.v8", "8.0.3.0"), ("vim.version.v7", "7.0.3.0"))
PAGE = b"""<?xml version="1.0" encoding="UTF-8"?>
<namespaces version="1.0">
 <namespace><name>urn:other</name><version>99</version></namespace>
 <namespace><name>urn:vim25</name><version>8.0.3.0</version>
  <priorVersions><version>8.0.2.0</version><version>7.0.3.0</version></priorVersions>
 </namespace>
</namespaces>"""


def test_a_page_offers_its_version_and_the_ones_before() -> None:
    assert offered(PAGE) == {"8.0.3.0", "8.0.2.0", "7.0.3.0"}


def test_the_newest_common_one_is_spoken() -> None:
    assert choose(KNOWN, offered(PAGE), "vc1:443") == "vim.version.v8"


def test_an_older_server_is_spoken_to_in_its_own() -> None:
    assert choose(KNOWN, frozenset({"7.0.3.0", "6.7"}), "vc1:443") == "vim.version.v7"


def test_without_a_common_one_the_error_names_server_and_remedy() -> None:
    with pytest.raises(HypervisorUnreachable) as caught:
        choose(KNOWN, frozenset({"5.5"}), "vc1:443")

    assert str(caught.value) == (
        "vc1:443 speaks versions 5.5 of the vSphere API, none of which is known here; "
        "use vSphere 6.7 or newer, or a newer vmdkvol [hypervisor-unreachable]"
    )


@pytest.mark.parametrize(
    ("page", "cause"),
    [
        pytest.param(b"", "no element", id="empty"),
        pytest.param(b"<html>login</html>", "lists no version", id="another-page"),
        pytest.param(PAGE[:200], "no element|unclosed|mismatched", id="cut"),
        pytest.param(b"\xff\xfe", "invalid|no element|not well", id="bytes"),
        pytest.param(PAGE.replace(b"<namespaces v", b'<!DOCTYPE x [<!ENTITY a "b">]><namespaces v'), "DOCTYPE", id="entities"),
        pytest.param(b" " * (MAX_BYTES + 1), "more than", id="giant"),
        pytest.param(b"<namespace><name>urn:vim25</name><version/></namespace>", "lists no version", id="empty-version"),
    ],
)
def test_what_is_no_such_page_says_so(page: bytes, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        offered(page)
