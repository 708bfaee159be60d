"""The images that containers in the guests run: busybox with a Python of the guest's, and PostgreSQL out of Debian's packages.

Each is a tar for `docker import`; nothing is pulled. They are made on the machine outside, without a Docker engine, and kept
under ``.cache/guest``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

BUSYBOX = "busybox"
POSTGRES = "postgres"
# Its user in the image; a volume is made for it with `-o uid=`.
POSTGRES_UID = 999
# What is wanted of the packages: all else (documentation, translations, the JIT compiler with 110 MB of LLVM) stays outside.
_PROGRAMS = ("postgres", "initdb", "psql", "pg_isready", "pg_amcheck", "pg_checksums", "pgbench", "pg_controldata", "pg_ctl")
_LEFT_OUT = ("bitcode", "llvmjit*", "man", "locale")
_LOADER = "lib64/ld-linux-x86-64.so.2"
_BIN = "usr/lib/postgresql/15/bin"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
# The cluster lies below the volume's root, where mkfs has put lost+found. It is made once; checksums show a torn page.
_START = """#!/bin/sh
set -e
if ! [ -s /data/pg/made ]; then
  rm -rf /data/pg
  initdb -D /data/pg --data-checksums --auth=trust --username=postgres --locale=C --encoding=UTF8 --no-instructions
  echo made >/data/pg/made
  sync
fi
rm -f /data/pg/postmaster.pid
exec postgres -D /data/pg -c listen_addresses= -c unix_socket_directories=/tmp -c shared_buffers=16MB -c max_connections=20 \\
  -c wal_level=minimal -c max_wal_senders=0 -c autovacuum_naptime=5s -c checkpoint_timeout=30s "$@"
"""


class ImageNotMade(AssertionError):
    """A program that makes an image failed. The text ends with what it said."""


def archives(cache: Path) -> dict[str, Path]:
    """Return the tar of each image, by the image's name; made now if it is not there."""
    return {BUSYBOX: _kept(cache, BUSYBOX, make_busybox), POSTGRES: _kept(cache, POSTGRES, make_postgres)}


def _kept(cache: Path, name: str, make: Callable[[Path], None]) -> Path:
    """Return the archive that was made from this very file; one of another version of it is gone afterwards."""
    key = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    archive = cache / f"image-{name}-{key}.tar"
    if archive.exists():
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    for old in cache.glob(f"image-{name}-*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    root = cache / f"image-{name}-root"
    make(root)
    unfinished = archive.with_suffix(".unfinished")
    _run("tar", "--sort=name", "--numeric-owner", "-C", str(root), "-cf", str(unfinished), ".")
    shutil.rmtree(root)
    unfinished.rename(archive)
    return archive


def make_busybox(root: Path) -> None:
    """Afterwards ``root`` has the machine's static busybox, and finds a Python where the guest's /usr is bound to /usr."""
    program = shutil.which("busybox")
    if program is None:
        raise ImageNotMade("busybox is missing: apt-get install busybox-static")
    _bare(root)
    _applets(Path(program), root)
    for name in ("lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")


def make_postgres(root: Path) -> None:
    """Afterwards ``root`` has PostgreSQL, its client and what checks a cluster, with the libraries that they load."""
    packages = root.with_name(f"{root.name}-packages")
    shutil.rmtree(packages, ignore_errors=True)
    packages.mkdir(parents=True)
    # Only unpacked: no maintainer's script makes a cluster or a certificate.
    _run(
        *("mmdebstrap", "--quiet", "--variant=extract", "--include=postgresql-15,busybox-static"),
        *("--aptopt=APT::Install-Recommends false", "--dpkgopt=path-exclude=/usr/share/doc/*"),
        *("bookworm", str(packages)),
    )
    _bare(root)
    _applets(packages / "bin/busybox", root)
    for part in ("usr/lib/postgresql", "usr/share/postgresql"):
        shutil.copytree(packages / part, root / part, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    programs = [packages / _BIN / name for name in _PROGRAMS]
    modules = [path for path in (root / "usr/lib/postgresql/15/lib").glob("*.so") if path.name in ("amcheck.so", "plpgsql.so")]
    for library in _needed(packages, [*programs, *modules]):
        target = root / _LIBRARIES / library.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library.resolve(), target)
    # A new volume gets owner and mode of what the image has there (Docker's copy), whatever it was made with.
    os.chown(root / "data", POSTGRES_UID, POSTGRES_UID)
    (root / "lib64").mkdir()
    shutil.copy2((packages / _LOADER).resolve(), root / _LOADER)
    (root / "lib").symlink_to("usr/lib")
    for name in _PROGRAMS:
        (root / "bin" / name).symlink_to(f"/{_BIN}/{name}")
    start = root / "bin/start-postgres"
    start.write_text(_START)
    start.chmod(0o755)
    shutil.rmtree(packages)


def _needed(packages: Path, programs: Sequence[Path]) -> list[Path]:
    """Return the libraries that ``programs`` load, out of ``packages``."""
    libraries = packages / _LIBRARIES
    found: dict[str, Path] = {}
    for program in programs:
        said = _run(
            str(packages / _LOADER), "--library-path", f"{libraries}:{packages}/lib/x86_64-linux-gnu", "--list", str(program)
        )
        for line in said.splitlines():
            name, arrow, place = line.partition("=>")
            if arrow:
                found[name.strip()] = Path(place.split("(")[0].strip())
    return list(found.values())


def _bare(root: Path) -> None:
    """Afterwards ``root`` is a new root without programs, with users, and directories to mount on."""
    shutil.rmtree(root, ignore_errors=True)
    for directory in ("bin", "etc", "tmp", "data", "usr", "seeded"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "seeded" / "from-the-image").write_text("seed\n")
    users = f"root:x:0:0:root:/:/bin/sh\npostgres:x:{POSTGRES_UID}:{POSTGRES_UID}:postgres:/data:/bin/sh\n"
    (root / "etc" / "passwd").write_text(users)
    (root / "etc" / "group").write_text(f"root:x:0:\npostgres:x:{POSTGRES_UID}:\n")


def _applets(program: Path, root: Path) -> None:
    """Afterwards each command of busybox is there under its name."""
    shutil.copy2(program, root / "bin" / "busybox")
    for applet in _run(str(program), "--list").split():
        link = root / "bin" / applet
        if not link.exists():
            link.symlink_to("busybox")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise ImageNotMade(f"{' '.join(command)[:200]}: exit {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
