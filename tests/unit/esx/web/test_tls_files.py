"""check-config and the API's start read the files of its TLS: what is wrong is told at its setting, before a door opens."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.doubles.certificates import Authority
from tests.doubles.hand_clock import HandClock
from vmdkvol.clock import SystemClock
from vmdkvol.command import run
from vmdkvol.errors import BadRequest
from vmdkvol_esx.cli import cli
from vmdkvol_esx.web import tls_files
from vmdkvol_esx.web_setting import WebSetting

GARBAGE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


class Folder:
    """Certificate, key and authority beside a settings' file; all of them right until a test changes one."""

    def __init__(self, path: Path) -> None:
        self.path, authority = path, Authority(path)
        whole = authority.service("api.example.org").read_text()
        self.other = authority.service("other").read_text()
        at = whole.index("-----BEGIN CERTIFICATE")
        self.file("key.pem", whole[:at], 0o600)
        self.file("web.pem", whole[at:])
        self.file("both.pem", whole, 0o600)
        self.file("ca.pem", authority.pem)
        self.setting = WebSetting(
            listen="127.0.0.1:1020",
            certificate_file=str(path / "web.pem"),
            key_file=str(path / "key.pem"),
            admin_ca_file=str(path / "ca.pem"),
        )

    def file(self, name: str, content: str, mode: int = 0o644) -> None:
        (self.path / name).write_text(content)
        (self.path / name).chmod(mode)

    def refused(self) -> BadRequest:
        with pytest.raises(BadRequest) as caught:
            tls_files.check(self.setting)
        return caught.value

    def config(self) -> Path:
        lines = [f'{name} = "{value}"' for name, value in vars_of(self.setting).items()]
        text = 'state_dir = "/var/lib/x"\nhosts = []\n\n[[datastores]]\nname = "ds1"\npath = "/ds1"\n\n[web]\n'
        self.file("service.toml", text + "\n".join(lines) + "\n", 0o600)
        return self.path / "service.toml"


def vars_of(setting: WebSetting) -> dict[str, str]:
    names = ("listen", "certificate_file", "key_file", "admin_ca_file")
    return {name: value for name in names if (value := getattr(setting, name)) is not None}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_right_files_are_told_for_whom_the_certificate_is(folder: Folder) -> None:
    (told,) = tls_files.check(folder.setting)
    assert "for api.example.org" in told


def test_key_and_certificate_may_lie_in_one_file(folder: Folder) -> None:
    assert tls_files.check(replace(folder.setting, certificate_file=str(folder.path / "both.pem"), key_file=None))


@pytest.mark.parametrize("setting", [None, WebSetting()])
def test_without_a_door_that_has_tls_nothing_is_read(setting: WebSetting | None) -> None:
    assert tls_files.check(setting) == ()


@pytest.mark.parametrize(
    ("setting", "file", "content", "mode", "cause"),
    [
        pytest.param("certificate_file", "web.pem", None, 0, "cannot be read: No such file", id="no-certificate"),
        pytest.param("key_file", "key.pem", None, 0, "cannot be read: No such file", id="no-key"),
        pytest.param("admin_ca_file", "ca.pem", None, 0, "cannot be read: No such file", id="no-authority"),
        pytest.param("certificate_file", "web.pem", "nothing", 0o644, "no certificate that can be read", id="no-pem"),
        pytest.param("certificate_file", "web.pem", GARBAGE, 0o644, "no certificate that can be read", id="garbage"),
        pytest.param("certificate_file", "web.pem", "", 0o644, "no certificate that can be read", id="empty"),
        pytest.param("key_file", "key.pem", "nothing", 0o600, "has no key that can be read", id="garbage-key"),
        pytest.param("admin_ca_file", "ca.pem", GARBAGE, 0o644, "no certificate that can be read", id="garbage-authority"),
        pytest.param("admin_ca_file", "ca.pem", "", 0o644, "no certificate that can be read", id="empty-authority"),
        pytest.param("admin_ca_file", "ca.pem", "é", 0o644, "no certificate that can be read", id="no-ascii-authority"),
    ],
)
def test_a_file_that_no_door_opens_with_is_told_at_its_setting(
    folder: Folder, setting: str, file: str, content: str | None, mode: int, cause: str
) -> None:
    if content is None:
        (folder.path / file).unlink()
    else:
        folder.file(file, content, mode)
    error = folder.refused()
    assert (error.fields["setting"], str(folder.path / file) in error.text, cause in error.text) == (
        f"web.{setting}",
        True,
        True,
    )
    assert error.remedy


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_may_read_is_refused(folder: Folder, mode: int) -> None:
    (folder.path / "key.pem").chmod(mode)
    error = folder.refused()
    assert "other users may read" in error.text
    assert error.remedy == f"chmod 600 {folder.path}/key.pem"


def test_so_is_one_in_the_certificates_file(folder: Folder) -> None:
    (folder.path / "both.pem").chmod(0o644)
    folder.setting = replace(folder.setting, certificate_file=str(folder.path / "both.pem"), key_file=None)
    assert folder.refused().fields["setting"] == "web.certificate_file"


def test_a_certificate_that_others_may_write_is_refused(folder: Folder) -> None:
    (folder.path / "web.pem").chmod(0o666)
    assert "written by other users" in folder.refused().text


def test_a_certificate_without_its_key_is_refused(folder: Folder) -> None:
    folder.setting = replace(folder.setting, key_file=None)
    (folder.path / "web.pem").chmod(0o600)
    error = folder.refused()
    assert (error.fields["setting"], "no key" in error.text) == ("web.certificate_file", True)


def test_another_ones_key_is_refused(folder: Folder) -> None:
    folder.file("key.pem", folder.other, 0o600)
    assert "is not that of" in folder.refused().text


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(folder: Folder) -> None:
    key = serialization.load_pem_private_key((folder.path / "key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    secret = serialization.BestAvailableEncryption(b"x")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
    folder.file("key.pem", pem.decode(), 0o600)
    error = folder.refused()
    assert (error.fields["setting"], "not encrypted" in error.remedy) == ("web.key_file", True)


def test_what_openssl_does_not_take_is_refused(folder: Folder) -> None:
    key, name, now = rsa.generate_private_key(65537, 1024), x509.Name([]), datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1).public_key(key.public_key())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    folder.file("web.pem", builder.sign(key, hashes.SHA256()).public_bytes(pem).decode())
    folder.file("key.pem", private.decode(), 0o600)
    assert "OpenSSL refuses" in folder.refused().text


def test_check_config_names_file_and_line(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.path / "key.pem").unlink()
    code = run(cli, "vmdkvol-esxd", ["--config", str(folder.config()), "check-config"])
    said = capsys.readouterr().err
    assert code == 2
    assert f"service.toml:11: {folder.path}/key.pem cannot be read" in said


def test_the_api_does_not_start_with_them_either(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.file("web.pem", GARBAGE)
    code = run(cli, "vmdkvol-esxd", ["--config", str(folder.config()), "web"])
    said = capsys.readouterr().err
    assert (code, f"service.toml:10: {folder.path}/web.pem has no certificate" in said) == (2, True)


def test_while_the_door_is_open_a_file_that_became_wrong_is_trouble(folder: Folder) -> None:
    clock = SystemClock()
    assert tls_files.trouble(folder.setting, clock) == ""
    folder.file("web.pem", GARBAGE)
    assert "no certificate that can be read" in tls_files.trouble(folder.setting, clock)


def test_a_certificate_that_ended_is_trouble(folder: Folder) -> None:
    clock = HandClock(wall=SystemClock().wall() + 200 * 86400)
    assert "web.pem ended" in tls_files.trouble(folder.setting, clock)


def test_without_such_a_door_there_is_no_trouble() -> None:
    assert tls_files.trouble(WebSetting(), SystemClock()) == ""
