"""Which datastore a directory is: a UUID in a file of our folder.

An empty mount point looks like an empty datastore. Without this, every disk of a file system that is not mounted would
read as absent, and new ones would be made on the bare mount point.
"""

from __future__ import annotations

import os
from uuid import UUID

from vmdkvol.errors import TruthUnknown
from vmdkvol_esx.local import files

# Our folder on every datastore (design D5).
TOP = "vmdkvol"
MARKER = "datastore.id"
_LIMIT = 100


def check(root: int, expected: UUID | None, directory: str) -> None:
    """Raise TruthUnknown unless ``root`` is the open directory of the datastore ``expected``; None takes any."""
    if expected is None:
        return
    found = _read(root, directory)
    if found == expected:
        return
    stands = f"has no {TOP}/{MARKER}" if found is None else f"is another datastore, {found}"
    raise TruthUnknown(
        f"the datastore's directory {directory} {stands}: is the right file system mounted there?",
        remedy=f"mount it; if it was replaced on purpose, write {expected} into {TOP}/{MARKER} there",
    )


def fresh(root: int) -> bool:
    """Tell whether our folder is missing in the open directory."""
    return not files.exists(root, TOP)


def claim(directory: str, new: UUID) -> UUID:
    """Return the UUID of the datastore, which from now on has ``new`` if it had none; raises a VolumeError.

    Killed in the middle: it has one or none, and the next call goes on.
    """
    with files.translated(f"the datastore's directory {directory}"):
        folder = files.open_folder(directory, (TOP,), check=lambda root: None, make=True)
        try:
            found = _parsed(files.read_whole(folder, MARKER, _LIMIT), directory)
            if found is None:
                files.remove_temporary(folder, MARKER)
                files.replace(folder, MARKER, f"{new}\n".encode("ascii"))
            return found or new
        finally:
            os.close(folder)


def _read(root: int, directory: str) -> UUID | None:
    try:
        folder = os.open(TOP, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        try:
            return _parsed(files.read_whole(folder, MARKER, _LIMIT), directory)
        finally:
            os.close(folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TruthUnknown(f"{directory}/{TOP}/{MARKER} cannot be read: {error.strerror}") from error


def _parsed(content: bytes | None, directory: str) -> UUID | None:
    if content is None:
        return None
    try:
        return UUID(content.decode("ascii").strip())
    except ValueError as error:
        raise TruthUnknown(f"{directory}/{TOP}/{MARKER} is not a UUID") from error
