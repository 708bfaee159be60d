"""`vmdkvol support-bundle`: what somebody who helps must see, in one file, without secrets; listed before it is written."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vmdkvol import __version__
from vmdkvol.cli.paths import path_of
from vmdkvol.cli.processes import output_of
from vmdkvol.cli.reaching import api_options
from vmdkvol.cli.redacting import redacted
from vmdkvol.clock import SystemClock
from vmdkvol.errors import VolumeError, one_line

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client
    from vmdkvol.cli.layout import Layout

# The end of a log, and of a list: the beginning is rarely what went wrong.
_LOG_BYTES = 2 << 20
_MOST = 1000
_SERVICE, _AGENT = "/etc/vmdkvol/service.toml", "/etc/vmdkvol/agent.toml"
_SETTINGS = (_SERVICE, _AGENT)
_UNITS = ("vmdkvol-esxd", "vmdkvol-web", "vmdkvol-agent", "vmdkvol-swarm")
_LINES, _COMMAND_S = 5000, 60.0
# Name in the bundle: what prints it, and the file without which there is nothing to ask.
_COMMANDS: Mapping[str, tuple[Sequence[str], str | None]] = {
    "journal.log": (
        ("journalctl", "--no-pager", "-q", "-o", "short-iso-precise", f"-n{_LINES}", *(f"--unit={unit}" for unit in _UNITS)),
        None,
    ),
    "doctor-service.json": (("vmdkvol-esxd", "doctor", "-o", "json"), _SERVICE),
    "doctor-agent.json": (("vmdkvol-agent", "doctor", "-o", "json"), _AGENT),
}
# Name in the bundle: where it is in the API, and the key of its items if it has pages.
_ASKED: Mapping[str, tuple[str, str | None]] = {
    "status.json": ("status", None),
    "health.json": ("health", None),
    "tasks.json": ("tasks", None),
    "datastores.json": ("datastores", "datastores"),
    "vms.json": ("vms", "vms"),
    "vmgroups.json": ("vmgroups", "vmgroups"),
    "volumes.json": ("volumes", "rows"),
    "audit.json": ("audit", "entries"),
}


@click.command("support-bundle")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where it is written (default: vmdkvol-support-TIME.tar.gz here). A file that is there is not replaced.",
)
@click.option("--dry-run", is_flag=True, help="List what would be in it, and write nothing.")
@api_options
def command(file: Path | None, dry_run: bool, client: Client) -> None:
    """Put status, lists, the newest records of the audit, what doctor says, settings and logs into one file, chmod 600.

    Passwords, tokens and keys are taken out. Names of machines, volumes and datastores are in it: look before you send it.
    Where the service does not answer, that is said in the place of what it would have told.
    """
    parts = {name: redacted(text).encode("utf-8", "backslashreplace") for name, text in _parts(client)}
    for name, content in parts.items():
        click.echo(f"{one_line(name)} ({len(content)} bytes)", err=True)
    if dry_run:
        return
    now = SystemClock().wall()
    target = file or Path(f"vmdkvol-support-{int(now)}.tar.gz")
    _write(target, parts, int(now))
    click.echo(target)


def _parts(client: Client) -> Iterator[tuple[str, str]]:
    """Yield the name and the content of each part, before anything is taken out."""
    system = os.uname()
    kernel = f"{system.sysname} {system.release} {system.machine}"
    yield "about.json", json.dumps({"vmdkvol": __version__, "python": sys.version, "kernel": kernel})
    for name, (noun, key) in _ASKED.items():
        yield name, _said(lambda noun=noun, key=key: _asked(client, noun, key))  # type: ignore[misc]
    yield "doctor.json", _said(lambda: _examined(_layout()))
    for name, (command, settings) in _COMMANDS.items():
        program = shutil.which(command[0])
        if program is not None and (settings is None or Path(settings).is_file()):
            yield name, output_of((program, *command[1:]), _COMMAND_S, _LOG_BYTES)
    for path in (*map(Path, _SETTINGS), *_of_sandbox(_layout())):
        if path.is_file():
            yield f"files/{path.name}", _end_of(path)


def _asked(client: Client, noun: str, key: str | None) -> Any:
    if key is None:
        return client.get(path_of(noun))
    found: list[Any] = []
    for item in client.pages(path_of(noun), key):
        found.append(item)
        if len(found) == _MOST:
            break
    return found


def _said(ask: Callable[[], Any]) -> str:
    try:
        return json.dumps(ask(), indent=1, ensure_ascii=False)
    except VolumeError as error:
        return json.dumps({"error": str(error)})


def _examined(layout: Layout) -> Any:
    from vmdkvol.cli.doctor import examine

    return [asdict(finding) for finding in examine(layout)]


def _layout() -> Layout:
    """Return the sandbox that the command is about, if there is one."""
    from vmdkvol.cli.layout import DEFAULT_DIRECTORY, Layout

    return Layout.at(click.get_current_context().params.get("directory") or DEFAULT_DIRECTORY)


def _of_sandbox(layout: Layout) -> Iterator[Path]:
    """Yield settings and logs of the sandbox."""
    for folder in ("etc", "logs"):
        yield from sorted((layout.root / folder).glob("*.*"))


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_BYTES))
            return file.read(_LOG_BYTES).decode("utf-8", "backslashreplace")
    except OSError as error:
        return f"cannot be read: {error.strerror}\n"


def _write(target: Path, parts: Mapping[str, bytes], now: int) -> None:
    """Write the bundle, whole or not at all; OSError if the file is there."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as bundle:
            for name, content in parts.items():
                entry = tarfile.TarInfo(f"vmdkvol-support/{name}")
                entry.size, entry.mtime, entry.mode = len(content), now, 0o600
                bundle.addfile(entry, io.BytesIO(content))
    except BaseException:
        target.unlink(missing_ok=True)
        raise
