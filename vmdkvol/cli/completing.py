"""Names for the shell's completion: asked of the API, in a moment or not at all, and remembered for a few seconds.

What a shell would read as anything else than a name is not offered: whoever names a virtual machine ``$(reboot)`` must not have
it run by an administrator who presses Tab and Enter. Nothing is ever said: there is no place for it on a command line.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from vmdkvol.errors import VolumeError

# Who presses Tab twice has waited long enough.
_ANSWER_S = 0.8
_FRESH_S = 5.0
# Nobody begins a scan of a whole datastore by pressing Tab: the places of the last one are offered for an hour.
_SCANNED_S = 3600.0
_PLACE = re.compile(r"\[([^\]/]+)\] (.+)")
_MOST = 5000
# Letters and digits of any script; what no shell splits at, expands or takes for an option.
_SAFE = re.compile(r"[^\W_]([\w.@+/-]{0,254}[\w.@+/])?|_[A-Za-z][\w.-]{0,62}")
# Kind: the path under /v1, the key of the items on a page, the key of an item's name.
_WHERE = {
    "volumes": (("volumes",), "rows", "name"),
    "vmgroups": (("vmgroups",), "vmgroups", "name"),
    "vms": (("vms",), "vms", "name"),
    "datastores": (("datastores",), "datastores", "name"),
    "policies": (("policies",), "policies", "name"),
    "tasks": (("tasks",), "tasks", "id"),
}
# What is less than a client's own page, where a list has no more.
_LIMITS = {"tasks": 200}
Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def names(kind: str) -> Complete:
    """Return what completes an argument or option with the names that there are of this kind."""

    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        # With the line half typed, anything may be wrong: an address, a file, an answer. Tab then completes nothing.
        with contextlib.suppress(VolumeError, OSError, ValueError, LookupError, TypeError, RuntimeError):
            return [name for name in _known(context, kind) if name.startswith(incomplete)]
        return []

    return complete


def any_of(*each: Complete) -> Complete:
    """Return what completes with all that these do."""
    return lambda context, parameter, incomplete: [
        name for complete in each for name in complete(context, parameter, incomplete)
    ]


def words(known: Sequence[str]) -> Complete:
    """Return what completes with these words, which are known without asking anybody."""
    return lambda _, __, incomplete: [word for word in known if word.startswith(incomplete)]


def listed(complete: Complete) -> Complete:
    """Return what completes the last one of ``a,b,c``."""

    def complete_last(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        there = before.split(",")
        return [f"{before}{comma}{name}" for name in complete(context, parameter, last) if name not in there]

    return complete_last


def vmgroup_then_vms(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Complete the arguments ``NAME VM...``: a vmgroup first, unless ``--name`` says it."""
    first = context.params.get("flag") is None and not context.params.get(parameter.name or "")
    return names("vmgroups" if first else "vms")(context, parameter, incomplete)


def scanned(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete a disk's place as a word, with those that the last scan at this API said can be adopted."""
    with contextlib.suppress(VolumeError, OSError, ValueError, LookupError, TypeError, RuntimeError):
        found = remembered(_file(context, "disks"), time.time(), _SCANNED_S)
        return [place for place in found or () if place.startswith(incomplete)]
    return []


def remember_scan(context: click.Context, places: Iterable[str]) -> None:
    """Have ``scanned`` offer these places, ``[ds1] a/db.vmdk``, as words: ``ds1/a/db.vmdk``."""
    words_of = (as_word(place) for place in places)
    with contextlib.suppress(OSError, RuntimeError):
        _remember(_file(context, "disks"), offered(({"place": word} for word in words_of), "place"))


def as_word(place: str) -> str:
    """Return a place on a datastore without brackets and blank, which a shell would read; itself if it is none."""
    return _PLACE.sub(r"\1/\2", place) if _PLACE.fullmatch(place) else place


def as_place(word: str) -> str:
    """Return the place that a word of ``as_word`` means; itself if it is none."""
    datastore, slash, path = word.partition("/")
    return f"[{datastore}] {path}" if slash and datastore and path and not word.startswith("[") else word


def _file(context: click.Context, kind: str) -> Path:
    # Here and not above: `--help` does not pay for the client.
    from vmdkvol.cli.reaching import api_address

    address = str(api_address(context.params.get("api"), context.params.get("directory")))
    return cache_file(address, kind, os.environ.get("XDG_CACHE_HOME"), Path.home())


def _known(context: click.Context, kind: str) -> list[str]:
    file = _file(context, kind)
    found = remembered(file, time.time())
    if found is None:
        found = _asked(context, kind)
        _remember(file, found)
    return found


def _asked(context: click.Context, kind: str) -> list[str]:
    from vmdkvol.cli.paths import path_of
    from vmdkvol.cli.reaching import make_client

    parts, items, key = _WHERE[kind]
    client = make_client(context.params.get("api"), context.params.get("directory"), answer_s=_ANSWER_S, patience_s=0.0)
    with contextlib.closing(client):
        end = time.monotonic() + _ANSWER_S
        limit = {"limit": _LIMITS[kind]} if kind in _LIMITS else None
        return offered(_until(client.pages(path_of(*parts), items, limit), end), key)


def _until(found: Iterator[Any], end: float) -> Iterator[Any]:
    for item in found:
        yield item
        if time.monotonic() > end:
            return


def offered(items: Iterator[Any], key: str) -> list[str]:
    """Return the names that any shell takes as they are, each once, sorted; the first thousands of them."""
    found: set[str] = set()
    for item in items:
        name = item[key]
        if isinstance(name, str) and _SAFE.fullmatch(name):
            found.add(name)
        if len(found) >= _MOST:
            break
    return sorted(found)


def cache_file(address: str, kind: str, cache_home: str | None, home: Path) -> Path:
    """Return where the names of this kind at this API are remembered (XDG Base Directory Specification)."""
    directory = Path(cache_home) if cache_home and cache_home.startswith("/") else home / ".cache"
    return directory / "vmdkvol" / f"{kind}-{hashlib.sha256(address.encode('utf-8', 'replace')).hexdigest()[:16]}.json"


def remembered(file: Path, now: float, fresh_s: float = _FRESH_S) -> list[str] | None:
    """Return the names in the file if they are our own and fresh; a file of somebody else's is none."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as opened:
        facts = os.fstat(descriptor)
        ours = stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid() and not facts.st_mode & 0o022
        # A clock that was set back makes it old, too.
        if not ours or not 0 <= now - facts.st_mtime < fresh_s:
            return None
        said = json.load(opened)
    return [name for name in said if isinstance(name, str) and _SAFE.fullmatch(name)] if isinstance(said, list) else None


def _remember(file: Path, found: list[str]) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A name of its own, moved over the old one: two shells that press Tab at once each have a whole file. It is 0600.
    descriptor, name = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        json.dump(found, opened)
    Path(name).replace(file)
