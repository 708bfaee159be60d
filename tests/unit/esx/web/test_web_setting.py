"""What may be set for the REST API."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vmdkvol.errors import BadRequest
from vmdkvol.names import DatastoreName
from vmdkvol_esx.settings import DatastoreSetting, ServiceSettings
from vmdkvol_esx.web_setting import WebSetting

GOOD = WebSetting(listen="0.0.0.0:1020", certificate_file="/etc/web.pem")


@pytest.mark.parametrize("listen", ["0.0.0.0:1020", "[::]:1020", "vmdkvol.example.com:443", "127.0.0.1:0"])
def test_it_listens_at_an_address(listen: str) -> None:
    assert replace(GOOD, listen=listen).listen == listen


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"listen": "1020"}, "listen"),
        ({"listen": ":1020"}, "listen"),
        ({"listen": "unix:/x"}, "listen"),
        ({"listen": "https://x:1020"}, "listen"),
        ({"listen": "x:1020:1"}, "listen"),
        ({"listen": "fd://3"}, "listen"),
        ({"certificate_file": None}, "listen"),
        ({"certificate_file": "web.pem"}, "certificate_file"),
        ({"key_file": "../x"}, "key_file"),
        ({"admin_ca_file": "x"}, "admin_ca_file"),
        ({"token_file": "/a/../b"}, "token_file"),
        ({"socket": "web.sock"}, "socket"),
        ({"socket": "/" + "x" * 107}, "socket"),
        ({"threads": 0}, "threads"),
        ({"threads": 1000}, "threads"),
    ],
)
def test_what_cannot_work_is_refused(change: dict[str, Any], setting: str) -> None:
    with pytest.raises(BadRequest) as refused:
        replace(GOOD, **change)
    assert refused.value.fields["setting"] == setting


def test_the_tokens_lie_in_the_state_directory_unless_it_is_said_where() -> None:
    made = ServiceSettings("/var/lib/x/", (DatastoreSetting(DatastoreName("d"), "/d"),))
    assert made.token_file == "/var/lib/x/tokens.json"
    assert replace(made, web=WebSetting(token_file="/t")).token_file == "/t"


def test_the_two_sockets_of_administrators_are_two() -> None:
    with pytest.raises(BadRequest):
        ServiceSettings(
            "/s", (DatastoreSetting(DatastoreName("d"), "/d"),), admin_socket="/x.sock", web=WebSetting(socket="/x.sock")
        )
