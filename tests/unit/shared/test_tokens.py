"""A token's text is read as it was written, or refused, and never told again."""

from __future__ import annotations

import hashlib

import pytest

from vmdkvol.errors import BadRequest
from vmdkvol.tokens import Token, pin_of

TOKEN = Token(bytes(range(32)), pin_of(b"a certificate"))


def test_a_token_comes_back_from_its_text() -> None:
    assert Token.parse(f"  {TOKEN.text}\n") == TOKEN


def test_the_pin_is_the_sha_256_of_the_certificate() -> None:
    assert TOKEN.pin == hashlib.sha256(b"a certificate").digest()


def test_what_is_stored_is_not_the_secret() -> None:
    assert TOKEN.hash == hashlib.sha256(TOKEN.secret).hexdigest()


def test_no_print_of_a_token_has_its_secret() -> None:
    assert repr(TOKEN.secret) not in repr(TOKEN)


@pytest.mark.parametrize("cut", range(1, len(TOKEN.text)))
def test_a_part_of_a_token_is_none_and_is_not_repeated(cut: int) -> None:
    with pytest.raises(BadRequest) as raised:
        Token.parse(TOKEN.text[:cut])
    assert TOKEN.text[9:cut][:8] not in str(raised.value) or cut < 13


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(TOKEN.text.replace("vmdkvol1", "vmdkvol2"), id="another-version"),
        pytest.param(TOKEN.text + ".AAAA", id="a-fourth-part"),
        pytest.param(TOKEN.text + "A", id="longer"),
        pytest.param(TOKEN.text[:20] + "+" + TOKEN.text[21:], id="another-alphabet"),
        pytest.param(TOKEN.text[:20] + "ß" + TOKEN.text[21:], id="no-ascii"),
        pytest.param(TOKEN.text[:20] + "=" + TOKEN.text[21:], id="padding-inside"),
        pytest.param(TOKEN.text[:-1] + chr(ord(TOKEN.text[-1]) + 1), id="a-second-text-of-the-same-bytes"),
    ],
)
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        Token.parse(text)
