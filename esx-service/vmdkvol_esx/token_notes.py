"""What was done to the API's tokens and stands in no audit yet: noted in their file, in the write that makes or ends one.

Tokens are made without the core, which may be away; the core takes the notes over when it starts, and before its audit is read.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from vmdkvol import durable
from vmdkvol.errors import BadRequest, MetadataDamaged, VolumeError
from vmdkvol.orders import ROOT
from vmdkvol.settings import read_own
from vmdkvol_esx.ports import Log
from vmdkvol_esx.records import AuditRecord
from vmdkvol_esx.trail import AuditFilter, Trail

VERB = "admin-token"
_KEY = "untold"


@dataclass(frozen=True, slots=True)
class Note:
    """``name`` got a token, or has none any more; ``id`` is in the record too, so that one is written once."""

    id: str
    at: float
    name: str
    detail: str


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Nobody else changes the file of tokens meanwhile."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    lock = os.open(path.with_name(f"{path.name}.lock"), flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def read_file(path: Path) -> Mapping[str, Any]:
    """Return what is in the file, nothing if there is none; MetadataDamaged for anything else."""
    if not path.exists():
        return {}
    try:
        data = json.loads(read_own(path))
        if not isinstance(data, dict):
            raise TypeError("it is no table")
    except (ValueError, TypeError, BadRequest) as error:
        raise damaged(path, error) from error
    return data


def damaged(path: Path, error: Exception) -> MetadataDamaged:
    return MetadataDamaged(
        f"the tokens in {path} cannot be read: {error}", remedy="put the file right, or remove it and make new tokens"
    )


def untold(path: Path) -> tuple[Note, ...]:
    """Return the notes in the file; MetadataDamaged if it cannot be read."""
    try:
        return tuple(Note(str(UUID(each["id"])), float(each["at"]), each["name"], each["detail"]) for each in _notes(path))
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, error) from error


def write_file(path: Path, tokens: object, notes: tuple[Note, ...]) -> None:
    """Put both into the file, whole or not at all."""
    content = {"tokens": tokens, **({_KEY: [asdict(each) for each in notes]} if notes else {})}
    durable.write(path, json.dumps(content, indent=1).encode())


class TokenNotes:
    """Takes the notes into the audit. For any thread."""

    def __init__(self, path: Path, trail: Trail, log: Log) -> None:
        self._path = path
        self._trail = trail
        self._log = log

    def before(self, answer: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Return ``answer``, of a question about the audit, as it is when what is noted stands in it."""

        def answered(request: Any, call: Any) -> Any:
            self.take()
            return answer(request, call)

        return answered

    def take(self) -> None:
        """Afterwards the audit has what was noted, once; what cannot be read or written now stays noted, and is logged.

        Killed in between, the note is found again, and by its id its record.
        """
        try:
            if untold(self._path):
                with alone(self._path):
                    self._take()
        except (VolumeError, OSError, KeyError) as error:
            self._log.warning("tokens that were made or ended are not in the audit yet", reason=str(error))

    def _take(self) -> None:
        for note in untold(self._path):
            if not self._trail.older(AuditFilter(verb=VERB, request=UUID(note.id)), None, 1):
                self._trail.append(_record(note))
        write_file(self._path, read_file(self._path)["tokens"], ())


def _notes(path: Path) -> Any:
    return read_file(path).get(_KEY, ())


def _record(note: Note) -> AuditRecord:
    # Who may write the file is root.
    return AuditRecord(note.at, ROOT.name, ROOT.role.value, "command line", VERB, note.name, "done", UUID(note.id), note.detail)
