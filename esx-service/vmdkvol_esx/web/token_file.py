"""The tokens that people and programs show the API: names, roles, ends, and of the tokens themselves only hashes, in one file.

The core does not know them: whoever may write this file is root already. What was done to them it takes into its audit.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID, uuid4

from vmdkvol.clock import Clock
from vmdkvol.errors import BadRequest, Conflict, NotFound, VolumeError, quoted
from vmdkvol.logs import Log, Secret
from vmdkvol.orders import ROOT, Role
from vmdkvol_esx.token_notes import Note, alone, damaged, read_file, untold, write_file

_PREFIX = "vmdkvol_"
_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
MOST_DAYS = 3650
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Known:
    """A token as it is kept. ``hash`` is its SHA-256 in hex; times are UTC seconds since 1970."""

    name: str
    role: Role
    hash: str
    created_at: float
    expires_at: float


def checked_name(name: str) -> str:
    """Return the name under which somebody's orders stand in the audit; BadRequest if it is none, or root's."""
    if not _NAME.fullmatch(name) or name == ROOT.name:
        raise BadRequest(
            f"{quoted(name)} cannot be a name", remedy="use up to 64 letters, digits, '.', '_', '@' and '-', and not root"
        )
    return name


class TokenFile:
    """The file, for who changes it. Each change is whole or not made."""

    def __init__(self, path: Path, clock: Clock, new_id: Callable[[], UUID] = uuid4) -> None:
        self._path = path
        self._clock = clock
        self._new_id = new_id

    def add(self, name: str, role: Role, days: int) -> tuple[Secret, Known]:
        """Make a token for ``name``; nobody is told it again. Conflict if the name has one that counts."""
        checked_name(name)
        if not 1 <= days <= MOST_DAYS:
            raise BadRequest(
                f"a token counts for 1 to {MOST_DAYS} days", remedy="give --days in between, and make a new one when it is over"
            )
        secret, now = Secret(_PREFIX + secrets.token_urlsafe(_BYTES)), self._clock.wall()
        with alone(self._path):
            kept = [each for each in read(self._path) if each.name != name or each.expires_at > now]
            if any(each.name == name for each in kept):
                raise Conflict(f"{name} has a token", remedy="revoke it first, or give another name")
            made = Known(name, role, hashed(secret.reveal()), now, now + days * _DAY_S)
            self._write([*kept, made], name, f"made, as {role}, for {days} days")
        return secret, made

    def remove(self, name: str) -> None:
        """Afterwards no token of this name counts; NotFound if there is none."""
        with alone(self._path):
            known = read(self._path)
            left = [each for each in known if each.name != name]
            if len(left) == len(known):
                raise NotFound(f"there is no token {quoted(name)}", remedy="see `vmdkvol-esxd web-token ls`")
            self._write(left, name, "revoked")

    def _write(self, tokens: Sequence[Known], name: str, detail: str) -> None:
        """The note in the same write: what counts from now on is in the audit, and nothing else is."""
        note = Note(str(self._new_id()), self._clock.wall(), name, detail)
        write_file(self._path, [asdict(each) for each in tokens], (*untold(self._path), note))


class Tokens:
    """The file, for who checks tokens: a change counts with the next request. For any thread."""

    def __init__(self, path: Path, clock: Clock, log: Log) -> None:
        self._path = path
        self._clock = clock
        self._log = log
        self._seen: tuple[object, dict[str, Known]] = None, {}

    def find(self, token: str) -> Known | None:
        """Return whose token it is, None if it is nobody's or over. MetadataDamaged if the file cannot be read."""
        return self._counting(hashed(token))

    def still(self, known: Known) -> Known | None:
        """Return what is said of this token now, None if it counts no more. Raises as ``find``."""
        return self._counting(known.hash)

    def _counting(self, hash: str) -> Known | None:
        found = self._known().get(hash)
        return found if found is not None and self._clock.wall() < found.expires_at else None

    def _known(self) -> dict[str, Known]:
        mark = _mark(self._path)
        seen = self._seen
        if seen[0] != mark or mark is None:
            try:
                seen = self._seen = mark, {each.hash: each for each in read(self._path)}
            except VolumeError as error:
                self._log.error("no token counts", reason=str(error))
                raise
        return seen[1]


def read(path: Path) -> Sequence[Known]:
    """Return the tokens in the file, none if there is no file; MetadataDamaged for anything else."""
    data = read_file(path)
    if not data:
        return ()
    try:
        return tuple(_known(each) for each in data["tokens"])
    except (ValueError, KeyError, TypeError, BadRequest) as error:
        raise damaged(path, error) from error


def same(one: str, other: str) -> bool:
    """Compare two secrets in a time that tells nothing of them."""
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape"))


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _known(data: dict[str, object]) -> Known:
    ends = [data["created_at"], data["expires_at"]]
    if not all(isinstance(each, int | float) for each in ends) or not isinstance(data["hash"], str):
        raise TypeError("a token's times or hash are of another type")
    created, expires = (float(str(each)) for each in ends)
    return Known(checked_name(str(data["name"])), Role(str(data["role"])), data["hash"], created, expires)


def _mark(path: Path) -> object:
    """Return what changes with the file; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode, found.st_uid
