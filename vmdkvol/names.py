"""Names that users type: volumes and datastores, and the slug that goes into a file name. Pure.

The name a user gives never becomes a path, a glob, a regular expression or an argument: it lives in records only
(design D5). Files are named by a slug and the volume's UUID.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import NewType

from vmdkvol.errors import InvalidName, quoted
from vmdkvol.visible import is_visible

DatastoreName = NewType("DatastoreName", str)

# What vDVS's rights call the datastore where a machine's own files lie, and any datastore (vdvs-facts 7). No volume's
# datastore is ever called so.
VM_DATASTORE = DatastoreName("_VM_DS")
ALL_DATASTORES = DatastoreName("_ALL_DS")

# vDVS allowed 100 characters for the volume and 100 for the datastore (vdvs-facts 3); scripts rely on it.
MAX_NAME = 100
# Docker names anonymous volumes with 64 hex digits. Nobody else creates such names (corrections 4).
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
_SLUG_BREAK = re.compile(r"[^a-z0-9]+")
MAX_SLUG = 40


def _checked(text: str, what: str) -> str:
    if not text:
        raise InvalidName(f"the {what} is empty")
    if len(text) > MAX_NAME:
        raise InvalidName(f"the {what} {quoted(text, 40)} has {len(text)} characters; {MAX_NAME} are allowed")
    if not text.isprintable():
        raise InvalidName(f"the {what} {quoted(text, 110)} has a character that cannot be printed")
    if "/" in text or "\\" in text:
        raise InvalidName(f"the {what} {quoted(text, 110)} has a '/' or '\\'")
    if text in (".", ".."):
        raise InvalidName(f"{text!r} is not a {what}")
    if not unicodedata.is_normalized("NFC", text):
        # Normalising would make Get answer with other bytes than were asked for (corrections J).
        raise InvalidName(f"the {what} {quoted(text, 110)} is not in Unicode NFC")
    return text


@dataclass(frozen=True, slots=True)
class VolumeRef:
    """The one name a volume has for Docker, exactly as it was typed, and the datastore that it selects at Create.

    ``text`` is the whole name, ``datastore`` what follows its last ``@``. ``db`` and ``db@ds1`` are two names
    (corrections 29, 30).
    """

    text: str
    datastore: DatastoreName | None = None

    @classmethod
    def parse(cls, text: str) -> VolumeRef:
        """Return the name in ``text``; raise InvalidName if it is none."""
        base, at, datastore = text.rpartition("@")
        if not at:
            return cls(_checked(text, "volume name"))
        _checked(base, "volume name")
        return cls(text, datastore_name(datastore))

    @classmethod
    def for_create(cls, text: str) -> VolumeRef:
        """Return the name in ``text`` for a volume that is to be made; raise InvalidName if it is none.

        Since its version 28 Docker's own command leaves blanks at the ends of a name away in ``volume inspect`` and
        ``volume rm``: nobody could remove such a volume with it. Nor is there a new one that looks like another by a character
        that is drawn as nothing.
        """
        ref = cls.parse(text)
        if not is_visible(text):
            raise InvalidName(f"the volume name {ascii(text)[:110]} has a character that nobody sees", remedy="leave it out")
        if text != text.strip():
            raise InvalidName(f"the volume name {quoted(text, 110)} begins or ends with a blank, which Docker's command drops")
        return ref

    @property
    def base(self) -> str:
        """What stands before the datastore: ``db`` of ``db@ds1``."""
        return self.text if self.datastore is None else self.text[: -len(self.datastore) - 1]

    def __str__(self) -> str:
        return self.text


def datastore_name(text: str) -> DatastoreName:
    """Return ``text`` as a datastore's name; raise InvalidName if it cannot be one."""
    return DatastoreName(_checked(text, "datastore name"))


def looks_anonymous(text: str) -> bool:
    """Tell whether Docker itself made this name up for an anonymous volume."""
    return _ANONYMOUS.fullmatch(text) is not None


def slug(name: str) -> str:
    """Return 1 to 40 characters of ``[a-z0-9-]`` that remind a reader of ``name``; different names may share one."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    return _SLUG_BREAK.sub("-", plain).strip("-")[:MAX_SLUG].strip("-") or "volume"
