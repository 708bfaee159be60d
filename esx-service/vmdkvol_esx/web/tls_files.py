"""The files of the API's TLS: read in whole and tried, before a door opens with them and while it is open."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from vmdkvol.clock import Clock
from vmdkvol.errors import BadRequest, TruthUnknown, VolumeError
from vmdkvol.findings import FAIL
from vmdkvol.settings import read_own
from vmdkvol_esx.api_certificate import judge
from vmdkvol_esx.pem import kept
from vmdkvol_esx.web_setting import WebSetting

_PEM = "give PEM files: the certificate with those between it and its root, and the key that it was made with, not encrypted"
_CA = "give the PEM certificates of the authority that signs administrators' ones"
_DAY_S = 86400.0


class FilesUnfit(ssl.SSLError):
    """A file was replaced by one that cannot be used: nobody comes in until it is put right."""


class NoTls(ssl.SSLError):
    """The handshake failed: nobody has come in, and nobody is there who could read an answer."""

    def __init__(self, error: ssl.SSLError) -> None:
        super().__init__(*error.args)
        self.why = tls_trouble(error)


def tls_trouble(error: ssl.SSLError) -> str:
    """Return why no TLS came about, as OpenSSL has it: ``certificate verify failed: certificate has expired``."""
    said = (error.reason or "the peer speaks no TLS").replace("_", " ").lower()
    why = getattr(error, "verify_message", "")
    return f"no TLS: {said}{f': {why}' if why else ''}"


def context(_config: object, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Return what a connection is secured with, from the files as they lie there now; FilesUnfit if that is nothing."""
    try:
        made = default()
    except OSError as error:
        raise FilesUnfit(str(error)) from error
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    return made


def check(setting: WebSetting | None) -> Sequence[str]:
    """Return what to tell of the files; BadRequest, with ``setting``, for the first that no door can be opened with.

    A key that others may read is refused: who has it can pretend to be the API, and is sent every token then.
    """
    if setting is None or setting.listen is None or setting.certificate_file is None:
        return ()
    certificate, key = Path(setting.certificate_file), Path(setting.key_file or setting.certificate_file)
    key_setting = "key_file" if setting.key_file is not None else "certificate_file"
    _own("certificate_file", certificate)
    _own(key_setting, key)
    if stat.S_IMODE(key.stat().st_mode) & 0o077:
        raise _wrong(key_setting, f"{key} holds a key that other users may read", f"chmod 600 {key}")
    try:
        seen = kept(certificate, key)
    except TruthUnknown as error:
        of_key = error.text.startswith((f"{key} has no key", f"the key in {key} "))
        raise _wrong(key_setting if of_key else "certificate_file", error.text, _PEM) from error
    if not seen.key_fits:
        raise _wrong(key_setting, f"the key in {key} is not that of {certificate}", "give the key that it was made with")
    trying = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        trying.load_cert_chain(certificate, key, password="")
    except OSError as error:
        # What a library reads and OpenSSL takes is not the same: a key that is too short, say.
        raise _wrong("certificate_file", f"OpenSSL refuses {certificate} with {key}: {error}", _PEM) from error
    _check_authority(trying, setting.admin_ca_file)
    days = int((seen.ends - seen.starts) // _DAY_S)
    return (f"API: {setting.listen}, with {certificate} for {', '.join(seen.names) or 'no name'}, made for {days} days",)


def trouble(setting: WebSetting, clock: Clock) -> str:
    """Return why nobody gets a connection with the files as they lie there now; "" if that is not so."""
    try:
        check(setting)
    except VolumeError as error:
        return str(error)
    if setting.listen is None or setting.certificate_file is None:
        return ""
    certificate, key = setting.certificate_file, setting.key_file or setting.certificate_file
    found = judge(certificate, key, kept(Path(certificate), Path(key)), clock.wall())
    return f"{found.finding}; {found.fix}" if found.status == FAIL else ""


def _check_authority(trying: ssl.SSLContext, authority: str | None) -> None:
    if authority is None:
        return
    _own("admin_ca_file", Path(authority))
    try:
        trying.load_verify_locations(authority)
    except OSError as error:
        raise _wrong("admin_ca_file", f"{authority} has no certificate that can be read", _CA) from error


def _own(setting: str, path: Path) -> str:
    try:
        return read_own(path)
    except BadRequest as error:
        remedy = _PEM if "settings.md" in error.remedy else error.remedy
        raise _wrong(setting, error.text, remedy) from error


def _wrong(setting: str, text: str, remedy: str) -> BadRequest:
    return BadRequest(text, remedy=remedy, setting=f"web.{setting}")
