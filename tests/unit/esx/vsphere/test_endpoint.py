"""An endpoint that cannot be one is refused when it is made."""

from __future__ import annotations

import pytest

from vmdkvol.errors import BadRequest
from vmdkvol_esx.vsphere.endpoint import Endpoint


@pytest.mark.parametrize("host", ["vc1", "vc1.example.com", "10.0.0.1", "fd00::1", "a-b_c.example"])
def test_names_and_addresses_are_taken(host: str) -> None:
    assert str(Endpoint(host, "user@vsphere.local")) == f"{host}:443"


@pytest.mark.parametrize(
    "host", ["", "vc1/sdk", "https://vc1", "vc1:443", "[fd00::1]", "a b", "vc1\n", "x" * 254, "-vc1", "user@vc1"]
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(BadRequest):
        Endpoint(host, "user")


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_is_in_its_range(port: int) -> None:
    with pytest.raises(BadRequest, match="port"):
        Endpoint("vc1", "user", port)


@pytest.mark.parametrize("user", ["", "a\nb", "u" * 257])
def test_an_account_is_one_printable_word(user: str) -> None:
    with pytest.raises(BadRequest, match="account"):
        Endpoint("vc1", user)
