"""The account's password: from a file that only its owner reads, or from systemd's credential directory. From nowhere else."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from vmdkvol.errors import BadRequest
from vmdkvol.logs import Secret

MAX_BYTES = 1024
Open = Callable[[Path, int], int]
_REMEDY = "write the password alone into the file: chown root, chmod 600"


def from_file(path: Path, opened: Open = os.open) -> Secret:
    """Return the file's one line; BadRequest, naming the file, if it is missing, empty, too open, or no such line.

    Read anew at each login, so that a changed password needs no restart.
    """
    return _read(path, f"the password file {path}", 0o077, opened)


def from_systemd(name: str, environment: Mapping[str, str]) -> Secret:
    """Return the credential ``name`` that a unit's ``LoadCredential=`` or ``LoadCredentialEncrypted=`` put there.

    BadRequest as ``from_file``, and if the service was started without credentials; without ``name``, in whose place
    somebody may have written the password. Never a value of ``environment``: that holds the directory's name alone.
    """
    directory = environment.get("CREDENTIALS_DIRECTORY", "")
    if not directory.startswith("/"):
        raise BadRequest(
            "there is no credential: this was started without CREDENTIALS_DIRECTORY",
            remedy="add LoadCredential=NAME:FILE to the unit, with the name of the settings, or name a password file",
        )
    if not name or "/" in name or name.startswith("."):
        raise BadRequest("what is set is no name of a credential", remedy="use the name in LoadCredential=")
    # systemd shows its access list as the group's bits; the directory itself is closed.
    return _read(Path(directory) / name, f"the password's credential in {directory}", 0o027, os.open)


def _read(path: Path, what: str, shared: int, opened: Open) -> Secret:
    try:
        with open(opened(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            _check(what, found, shared)
            content = file.read(MAX_BYTES + 1)
    except PermissionError as error:
        raise BadRequest(f"{what} cannot be read: {error.strerror}", remedy="run it as root, whose file it is") from error
    except OSError as error:
        raise BadRequest(f"{what} cannot be read: {error.strerror}", remedy=_REMEDY) from error
    if len(content) > MAX_BYTES:
        raise BadRequest(f"{what} is longer than {MAX_BYTES} bytes", remedy=_REMEDY)
    try:
        text = content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        # Without the cause: it holds the bytes.
        raise BadRequest(f"{what} is not UTF-8", remedy=_REMEDY) from None
    if not text or not text.isprintable():
        raise BadRequest(f"{what} is not one line of printable characters", remedy=_REMEDY)
    return Secret(text)


def _check(what: str, found: os.stat_result, shared: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise BadRequest(f"{what} is not a regular file", remedy=_REMEDY)
    if found.st_uid not in (0, os.geteuid()):
        raise BadRequest(f"{what} belongs to user {found.st_uid}", remedy=_REMEDY)
    if found.st_mode & shared:
        raise BadRequest(f"{what} can be read or written by others", remedy=_REMEDY)
