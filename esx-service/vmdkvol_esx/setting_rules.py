"""What holds for many settings: paths, sockets, values that are there once."""

from __future__ import annotations

from collections.abc import Collection

from vmdkvol.errors import BadRequest

# sun_path has 108 bytes with its NUL.
MAX_SOCKET = 107


def check_path(setting: str, path: str) -> None:
    if not is_path(path):
        raise BadRequest(
            f"{setting} {path[:100]!r} is not an absolute path without '..'",
            remedy="write it from / on, such as /var/lib/vmdkvol",
            setting=setting,
        )


def check_socket(setting: str, path: str) -> None:
    check_path(setting, path)
    if len(path.encode("utf-8", "surrogateescape")) > MAX_SOCKET:
        raise BadRequest(
            f"{setting} {path[:40]!r}... is longer than {MAX_SOCKET} bytes", remedy="use a shorter path", setting=setting
        )


def is_path(path: str) -> bool:
    return path.startswith("/") and path != "/" and ".." not in path.split("/") and "\0" not in path


def check_unique(setting: str, what: str, values: Collection[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise BadRequest(f"{setting}: two of them have the {what} {value!r}", remedy="give each its own", setting=setting)
        seen.add(value)
