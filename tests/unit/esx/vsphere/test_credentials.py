"""The password comes from a closed file or from systemd, whole, and is shown nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmdkvol.errors import BadRequest
from vmdkvol_esx.vsphere.credentials import MAX_BYTES, from_file, from_systemd

CANARY = "c4n4ry with spaces äö"


def written(path: Path, content: bytes = CANARY.encode(), mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_line_end_is_no_part_of_the_password(tmp_path: Path, end: bytes) -> None:
    assert from_file(written(tmp_path / "p", CANARY.encode() + end)).reveal() == CANARY


def test_it_is_shown_nowhere(tmp_path: Path) -> None:
    secret = from_file(written(tmp_path / "p"))

    assert CANARY not in f"{secret} {secret!r} {[secret]}"


def test_systemd_s_credential_is_read_from_its_directory(tmp_path: Path) -> None:
    # As systemd leaves it: the group's bits are its access list.
    written(tmp_path / "vsphere", mode=0o440)

    assert from_systemd("vsphere", {"CREDENTIALS_DIRECTORY": str(tmp_path)}).reveal() == CANARY


def test_who_may_not_read_it_is_told_to_be_root(tmp_path: Path) -> None:
    """To write it anew, as for other troubles, would help nobody."""

    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    with pytest.raises(BadRequest, match="cannot be read: Permission denied; run it as root"):
        from_file(tmp_path / "p", refuse)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660, 0o666, 0o644])
def test_a_file_that_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(BadRequest, match="by others") as caught:
        from_file(written(tmp_path / "p", mode=mode))

    assert "chmod 600" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        pytest.param(b"", "not one line", id="empty"),
        pytest.param(b"\n", "not one line", id="only-a-line-end"),
        pytest.param(b"one\ntwo\n", "not one line", id="two-lines"),
        pytest.param(b"a\0b", "not one line", id="nul"),
        pytest.param(b"c4n4ry\xff", "not UTF-8", id="not-utf-8"),
        pytest.param(b"x" * (MAX_BYTES + 1), "longer than", id="giant"),
    ],
)
def test_what_is_no_password_is_refused_without_showing_it(tmp_path: Path, content: bytes, cause: str) -> None:
    with pytest.raises(BadRequest, match=cause) as caught:
        from_file(written(tmp_path / "p", content))

    assert str(tmp_path / "p") in str(caught.value)
    assert "c4n4ry" not in repr(caught.value) + repr(caught.value.__cause__)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="No such file"):
        from_file(tmp_path / "p")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p", 0o600)

    with pytest.raises(BadRequest, match="not a regular file"):
        from_file(tmp_path / "p")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="not a regular file|directory"):
        from_file(tmp_path)


@pytest.mark.parametrize("environment", [{}, {"CREDENTIALS_DIRECTORY": ""}, {"CREDENTIALS_DIRECTORY": "relative"}])
def test_a_service_without_credentials_says_which_line_is_missing(environment: dict[str, str]) -> None:
    with pytest.raises(BadRequest, match="LoadCredential=NAME:FILE"):
        from_systemd("vsphere", environment)


@pytest.mark.parametrize("name", ["", "../etc/shadow", "/etc/shadow", ".hidden", ".."])
def test_a_credential_s_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadRequest, match="no name of a credential"):
        from_systemd(name, {"CREDENTIALS_DIRECTORY": str(tmp_path)})


@pytest.mark.parametrize("there", [True, False])
def test_a_password_in_the_place_of_the_name_is_not_told(tmp_path: Path, there: bool) -> None:
    with pytest.raises(BadRequest) as caught:
        from_systemd("c4n4ry", {"CREDENTIALS_DIRECTORY": str(tmp_path)} if there else {})

    assert "c4n4ry" not in str(caught.value)


def test_the_environment_holds_no_password(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="No such file"):
        from_systemd("vsphere", {"CREDENTIALS_DIRECTORY": str(tmp_path), "vsphere": CANARY})
