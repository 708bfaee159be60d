"""check-config reads what the settings of vSphere name, tells each mistake with file, line and remedy, and no secret."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmdkvol.command import run
from vmdkvol.errors import BadRequest
from vmdkvol.settings import dump_value, read_settings
from vmdkvol_esx import reaching
from vmdkvol_esx.cli import cli
from vmdkvol_esx.settings import ServiceSettings

EXAMPLE = Path(__file__).parents[3] / "packaging" / "service.toml"
SECRET = "hunter2-canary"
# Made for this test, its key thrown away.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBiDCCAS+gAwIBAgIUfXx0SeSwGV7aTB2+EpTD0u6HvlcwCgYIKoZIzj0EAwIw
GjEYMBYGA1UEAwwPdmNlbnRlci5leGFtcGxlMB4XDTI2MTEyODE4MjkxMloXDTM2
MTEyNTE4MjkxMlowGjEYMBYGA1UEAwwPdmNlbnRlci5leGFtcGxlMFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEO/nsDephxldtW5mYlkg3Y2znY+7ScqO5Dm6ikYh6
J2XpKP0xQw9Nj03s5TANjNMbGCdPXv45rZYZTyJehyT4DqNTMFEwHQYDVR0OBBYE
FJNGMPI4D9wHC0Ohyw64EMV7seISMB8GA1UdIwQYMBaAFJNGMPI4D9wHC0Ohyw64
EMV7seISMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgTy/BRKER
DQ1eJ1WXBuLgjZmAugHJ9y93CVAtfbsm4asCIDcJtV4OUjcpA26QTRctMtgRcl0M
/eKIDYzE22XFGHtc
-----END CERTIFICATE-----
"""
NO_CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMANhYmM=\n-----END CERTIFICATE-----\n"


class Folder:
    """A settings' file with a password and certificates beside it, all of them right until a test changes one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "service.toml"
        self.lines = {
            "host": '"vc.example.com"',
            "user": '"root"',
            "datastores": '["ds1"]',
            "password_file": f'"{path}/password"',
            "ca_file": f'"{path}/ca.pem"',
            "pin_file": f'"{path}/pin.pem"',
        }
        self.file("password", f"{SECRET}\n", 0o600)
        self.file("ca.pem", CERTIFICATE)
        self.file("pin.pem", CERTIFICATE)

    def file(self, name: str, content: str, mode: int = 0o644) -> None:
        (self.path / name).write_text(content)
        (self.path / name).chmod(mode)

    def write(self) -> None:
        inside = "".join(f"{key} = {value}\n" for key, value in self.lines.items())
        self.config.write_text(f'state_dir = "/var/lib/x"\nhosts = []\n\n[vsphere]\n{inside}')
        self.config.chmod(0o600)

    def line(self, setting: str) -> int:
        return 5 + list(self.lines).index(setting)

    def refused(self, environment: Mapping[str, str] | None = None) -> BadRequest:
        self.write()
        with pytest.raises(BadRequest) as caught:
            read_settings(ServiceSettings, self.config, lambda made: reaching.check(made, environment or {}))
        return caught.value

    def said(self, environment: Mapping[str, str]) -> str:
        self.write()
        return "\n".join(reaching.check(read_settings(ServiceSettings, self.config), environment))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def told(folder: Folder, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    folder.write()
    code = run(cli, "vmdkvol-esxd", ["--config", str(folder.config), "check-config"])
    return code, "".join(capsys.readouterr())


def test_what_is_right_is_told_without_the_password(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = told(folder, capsys)

    assert code == 0
    assert "vc.example.com:443 as root" in text
    assert "password: can be read" in text
    assert SECRET not in text


def test_the_pin_is_told_as_browsers_show_it(folder: Folder) -> None:
    assert re.search(r"SHA-256 ([0-9A-F]{2}:){31}[0-9A-F]{2}", folder.said({}))


@pytest.mark.parametrize(
    ("setting", "file", "content", "mode", "cause"),
    [
        pytest.param("ca_file", "ca.pem", "nothing\n", 0o644, "cannot be read", id="ca-none"),
        pytest.param("ca_file", "ca.pem", "", 0o644, "cannot be read", id="ca-empty"),
        pytest.param("ca_file", "ca.pem", CERTIFICATE, 0o666, "written by other users", id="ca-open"),
        pytest.param("ca_file", "ca.pem", f"{CERTIFICATE}-----BEGIN PRIVATE KEY-----", 0o644, "private key", id="ca-key"),
        pytest.param("pin_file", "pin.pem", CERTIFICATE * 2, 0o644, "2 certificates", id="pin-two"),
        pytest.param("pin_file", "pin.pem", CERTIFICATE.replace("MIIB", "!!!!"), 0o644, "not PEM", id="pin-no-base64"),
        pytest.param("pin_file", "pin.pem", NO_CERTIFICATE, 0o644, "cannot be read", id="pin-no-x509"),
        pytest.param("pin_file", "pin.pem", CERTIFICATE, 0o646, "written by other users", id="pin-open"),
        pytest.param("password_file", "password", f"{SECRET}\n", 0o640, "read or written by others", id="password-open"),
        pytest.param("password_file", "password", "\n", 0o600, "one line", id="password-empty"),
        pytest.param("password_file", "password", f"{SECRET}\n{SECRET}\n", 0o600, "one line", id="password-two-lines"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_at_its_setting(
    folder: Folder, setting: str, file: str, content: str, mode: int, cause: str
) -> None:
    folder.file(file, content, mode)

    error = folder.refused()

    assert error.text.startswith(f"{folder.config}:{folder.line(setting)}: ")
    assert file in str(error)
    assert cause in error.text
    assert error.remedy
    assert "settings.md" not in error.remedy
    assert SECRET not in str(error)


@pytest.mark.parametrize(("setting", "file"), [("ca_file", "ca.pem"), ("pin_file", "pin.pem"), ("password_file", "password")])
def test_a_missing_file_is_told_at_its_setting(folder: Folder, setting: str, file: str) -> None:
    (folder.path / file).unlink()

    error = folder.refused()

    assert error.text.startswith(f"{folder.config}:{folder.line(setting)}: ")
    assert "No such file" in error.text


def test_a_credential_is_looked_for_inside_of_the_unit(folder: Folder) -> None:
    folder.lines["credential"] = '"pw"'
    del folder.lines["password_file"]
    (folder.path / "given").mkdir()

    error = folder.refused({"CREDENTIALS_DIRECTORY": str(folder.path / "given")})

    assert error.text.startswith(f"{folder.config}:{folder.line('credential')}: ")


def test_a_credential_that_was_given_is_read(folder: Folder) -> None:
    folder.lines["credential"] = '"pw"'
    del folder.lines["password_file"]
    folder.file("pw", SECRET, 0o400)

    assert folder.said({"CREDENTIALS_DIRECTORY": str(folder.path)}).endswith("password: can be read")


def test_outside_of_the_unit_a_credential_is_said_to_be_unread(folder: Folder) -> None:
    folder.lines["credential"] = '"pw"'
    del folder.lines["password_file"]

    assert "password: not looked at" in folder.said({})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        pytest.param("password_file", f'"{SECRET}"', id="as-the-file"),
        pytest.param("password_file", f'["{SECRET}"]', id="in-a-list"),
        pytest.param("credential", f'"{SECRET}!"', id="as-the-credential"),
        pytest.param("password", f'"{SECRET}"', id="as-a-setting"),
        pytest.param("host", f'"https://root:{SECRET}@vc.example.com/sdk"', id="in-the-address"),
    ],
)
def test_a_password_in_the_wrong_place_is_not_told(
    folder: Folder, setting: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.lines.pop("password_file")
    folder.lines[setting] = value

    code, text = told(folder, capsys)

    assert code == 2
    assert f"{folder.config}:{folder.line(setting)}: " in text
    assert SECRET not in text


AROUND = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=20)


@given(
    setting=st.sampled_from(["password_file", "credential"]),
    before=AROUND,
    after=AROUND,
    inside=st.sampled_from(["{}", "[{}]", "{{x = {}}}"]),
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_written_where_the_password_is_named_is_not_told(
    folder: Folder, setting: str, before: str, after: str, inside: str
) -> None:
    folder.lines = {key: value for key, value in folder.lines.items() if key not in ("password_file", "credential")}
    folder.lines[setting] = inside.format(dump_value(f"{before}{SECRET}{after}"))
    folder.write()

    told = ""
    try:
        read_settings(ServiceSettings, folder.config)
    except BadRequest as error:
        told = str(error)

    assert SECRET not in told


def test_a_host_that_is_left_out_is_told_at_its_table(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    del folder.lines["host"]

    code, text = told(folder, capsys)

    assert (code, f"{folder.config}:4: setting 'host' is missing" in text) == (2, True)


def test_the_example_is_right_as_it_is() -> None:
    assert read_settings(ServiceSettings, EXAMPLE).vsphere is not None


def test_the_help_of_check_config_says_that_nothing_is_started() -> None:
    assert "nothing is started or changed" in " ".join(CliRunner().invoke(cli, ["check-config", "--help"]).output.split())


def example(table: str) -> dict[str, str]:
    """Return what the example says of each setting of a table, whether it is commented out or not."""
    found: dict[str, str] = {}
    inside = ""
    for line in EXAMPLE.read_text().splitlines():
        if header := re.fullmatch(r"#?\[\[?(\w+)\]\]?", line):
            inside = header[1]
        elif (setting := re.fullmatch(r"#?(\w+) = (.+)", line)) and inside == table:
            found[setting[1]] = setting[2]
    return found


def settings_of(kind: Any, table: str = "") -> list[Any]:
    """Return table, name, hint and default of each setting that is no table."""
    found: list[Any] = []
    for each in fields(kind):
        hint = get_type_hints(kind)[each.name]
        inner = next((one for one in get_args(hint) if is_dataclass(one)), None)
        found += settings_of(inner, each.name) if inner else [(table, each.name, each.default)]
    return found


@pytest.mark.parametrize(("table", "name", "default"), settings_of(ServiceSettings))
def test_the_example_shows_every_setting(table: str, name: str, default: Any) -> None:
    said = example(table)[name]

    assert tomllib.loads(f"{name} = {said}")
    # Where nothing holds without it, the example shows what it could be.
    if default is not MISSING and default not in (None, ()):
        assert said == dump_value(default)


@pytest.mark.parametrize("page", ["reference/settings.md", "how-to/install-esxi.md"])
def test_the_examples_in_the_documents_are_right(page: str, tmp_path: Path) -> None:
    text = (EXAMPLE.parents[1] / "docs" / page).read_text()
    example = next(block for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "state_dir" in block)
    path = tmp_path / "service.toml"
    path.write_text(example)
    path.chmod(0o600)

    assert read_settings(ServiceSettings, path).hosts


def test_every_setting_that_the_example_shows_can_be_switched_on(tmp_path: Path) -> None:
    lines = EXAMPLE.read_text().splitlines()
    end = lines.index("#[[datastores]]")
    path = tmp_path / "service.toml"
    # One of the two ways to give a password, and of the two kinds of datastores.
    text = "\n".join(line for line in lines[:end] if not line.startswith("password_file"))
    path.write_text(re.sub(r"^#(\w+ = |\[web\])", r"\1", text, flags=re.MULTILINE))
    path.chmod(0o600)

    found = read_settings(ServiceSettings, path)

    assert found.vsphere is not None
    assert found.vsphere.pin_file == "/etc/vmdkvol/esxi.pem"
