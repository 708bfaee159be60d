"""How the service reaches vSphere: from the settings to the endpoint, to what proves it, and to the account's password."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vmdkvol.errors import BadRequest, VolumeError
from vmdkvol.logs import Secret
from vmdkvol.settings import read_own
from vmdkvol_esx.settings import ServiceSettings, VsphereSetting
from vmdkvol_esx.vsphere import credentials
from vmdkvol_esx.vsphere.connections import PinnedContext
from vmdkvol_esx.vsphere.endpoint import Endpoint, Trust
from vmdkvol_esx.vsphere.pins import Pin, parse_pin

_PEM = "give PEM certificates and nothing else: from https://VCENTER/certs/download.zip, or openssl s_client -showcerts"


class Unheard:
    """The log of a command: what it has to say it says itself."""

    def info(self, event: str, **fields: object) -> None: ...
    def warning(self, event: str, **fields: object) -> None: ...
    def error(self, event: str, **fields: object) -> None: ...


def endpoint(setting: VsphereSetting) -> Endpoint:
    """Return where the API is, and the account."""
    return Endpoint(setting.host, setting.user, setting.port)


def trust(setting: VsphereSetting) -> Trust:
    """Return which certificates count, read from their files now.

    BadRequest, with ``setting``, for a file that cannot be read, that others can write, or that holds no certificate.
    """
    return Trust(_authorities(setting.ca_file), _pin(setting.pin_file))


def password(setting: VsphereSetting, environment: Mapping[str, str]) -> Callable[[], Secret]:
    """Return what reads the password anew at each call, and raises BadRequest if there is none to read.

    ``environment`` holds the name of systemd's directory of credentials, and nothing else of it is used.
    """
    if setting.password_file is not None:
        path = Path(setting.password_file)
        return lambda: credentials.from_file(path)
    name = setting.credential or ""
    return lambda: credentials.from_systemd(name, environment)


def check(settings: ServiceSettings, environment: Mapping[str, str]) -> Sequence[str]:
    """Read all files that the settings name; return what to tell of them, without a secret.

    BadRequest, with ``setting``, for the first that cannot be used. A credential is there only inside of its unit: outside,
    when there is no directory of credentials, it is not looked for, and that is told.
    """
    setting = settings.vsphere
    if setting is None:
        return ()
    found = trust(setting)
    notes = [f"endpoint: {endpoint(setting)} as {setting.user}", f"trust: {_told(found)}"]
    if setting.password_file is None and not environment.get("CREDENTIALS_DIRECTORY"):
        return (*notes, "password: not looked at; its credential is there only inside of the unit")
    try:
        password(setting, environment)()
    except BadRequest as error:
        raise _of("credential" if setting.password_file is None else "password_file", error) from error
    return (*notes, "password: can be read")


def _told(found: Trust) -> str:
    ca = "the machine's authorities" if found.ca is None else "the authorities in ca_file"
    if found.pin is None:
        return f"{ca}, and the host's name"
    pin = f"only the certificate with SHA-256 {found.pin.fingerprint}"
    return pin if found.ca is None else f"{ca}, the host's name, and {pin}"


def _authorities(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        text = read_own(Path(path))
        if "PRIVATE KEY" in text:
            raise BadRequest(f"{path} holds a private key", remedy=_PEM)
        PinnedContext.of(Trust(ca=text))
    except BadRequest as error:
        raise _of("ca_file", error, path) from error
    return text


def _pin(path: str | None) -> Pin | None:
    if path is None:
        return None
    try:
        pin = parse_pin(read_own(Path(path)))
        PinnedContext.of(Trust(pin=pin))
    except BadRequest as error:
        raise _of("pin_file", error, path) from error
    return pin


def _of(setting: str, error: VolumeError, path: str = "") -> BadRequest:
    """Return ``error`` as one of a setting, naming the file."""
    text = error.text if path in error.text else f"{path}: {error.text}"
    remedy = _PEM if path and "settings.md" in error.remedy else error.remedy
    return BadRequest(text, remedy=remedy, setting=f"vsphere.{setting}")
