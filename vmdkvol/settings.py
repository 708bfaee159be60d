"""A TOML file becomes a frozen dataclass. A mistake is told with file and line; nothing is guessed, ignored or repaired.

A setting's type and default are the field's, its one line of help is ``metadata["help"]``; with ``metadata["private"]`` its
value, which may be a password in the wrong place, is never told. A class may check itself in ``__post_init__`` and raise
BadRequest with ``setting=<key>``: the line is added here.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import stat
import tomllib
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from vmdkvol.errors import BadRequest, VolumeError

T = TypeVar("T")

_REMEDY = "see docs/reference/settings.md"
_MAX_BYTES = 1 << 20
# Compiled when they are needed: to find the line of a mistake, not at each start.
_WRONG_LINE = r"(.*) \(at line (\d+), column \d+\)"
_HEADER = r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?"
_SETTING = r"\s*([^\s=#\[{][^=]*?)\s*="
_BARE_KEY = r"[A-Za-z0-9_-]+"
# The keys and list positions that lead to a value, such as ("hosts", 1, "socket").
_Place = tuple[str | int, ...]


class _Mistake(Exception):
    def __init__(self, place: _Place, text: str, remedy: str = "") -> None:
        super().__init__(text)
        self.place = place
        self.text = text
        self.remedy = remedy or _REMEDY


def read_settings(kind: type[T], path: Path, check: Callable[[T], object] | None = None) -> T:
    """Return the ``kind`` that the file says.

    ``check`` may look at more than the text, at files that are named say, and raise VolumeError with ``setting``, such as
    ``vsphere.ca_file``. Raises BadRequest, naming file and line, for what it finds, and for a file that is missing, of
    somebody else, writable by others, no TOML, or has an unknown, missing or wrong setting: a daemon must not start on half
    of what its administrator wrote (F58).
    """
    text = read_own(path)
    try:
        made = _table(kind, tomllib.loads(text), ())
        if check is not None:
            _checked(check, made)
        return made
    except tomllib.TOMLDecodeError as error:
        match = re.fullmatch(_WRONG_LINE, str(error))
        where, what = (f"{path}:{match[2]}", match[1]) if match else (str(path), str(error))
        raise BadRequest(f"{where}: {what}", remedy=_REMEDY) from None
    except _Mistake as mistake:
        line = _line_of(text, mistake.place)
        raise BadRequest(f"{path}{f':{line}' if line else ''}: {mistake.text}", remedy=mistake.remedy) from None


def _checked(check: Callable[[T], object], made: T) -> None:
    try:
        check(made)
    except VolumeError as error:
        place = tuple(str(error.fields.get("setting", "")).split("."))
        raise _Mistake(place, error.text, error.remedy) from error


def read_own(path: Path) -> str:
    """Return the file's text; what other users can write would be an order to a root process from them. BadRequest."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BadRequest(f"{path} is not a regular file", remedy=_REMEDY)
            if found.st_uid not in (0, os.geteuid()):
                raise BadRequest(f"{path} belongs to user {found.st_uid}", remedy=f"chown root {path}")
            if found.st_mode & 0o022:
                raise BadRequest(f"{path} can be written by other users", remedy=f"chmod go-w {path}")
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror}", remedy=_REMEDY) from error
    if len(content) > _MAX_BYTES:
        raise BadRequest(f"{path} is longer than {_MAX_BYTES} bytes", remedy=_REMEDY)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadRequest(f"{path}:{line}: not UTF-8", remedy=_REMEDY) from None


def _table(kind: type[T], data: Mapping[str, Any], place: _Place) -> T:
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    for key in data:
        if key not in fields:
            raise _Mistake((*place, key), f"unknown setting {key[:60]!r}; known: {', '.join(fields)}")
        if fields[key].metadata.get("private") and not isinstance(data[key], str):
            raise _Mistake((*place, key), f"{_name((*place, key))} must be a text")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise _Mistake(place, f"setting {name!r} is missing")
    values = {key: _value(hints[key], value, (*place, key)) for key, value in data.items()}
    try:
        return kind(**values)
    except VolumeError as error:
        setting = error.fields.get("setting")
        raise _Mistake((*place, setting) if isinstance(setting, str) else place, error.text, error.remedy) from error


def _value(hint: Any, value: Any, place: _Place) -> Any:
    hint = getattr(hint, "__supertype__", hint)
    if get_origin(hint) in (Union, types.UnionType):
        # TOML has no null: a setting that may be None is left out, so a written one is of the other type.
        (hint,) = (inner for inner in get_args(hint) if inner is not type(None))
        return _value(hint, value, place)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise _Mistake(place, f"{_name(place)} must be a list")
        return tuple(_value(get_args(hint)[0], item, (*place, index)) for index, item in enumerate(value))
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise _Mistake(place, f"{_name(place)} must be a table")
        return _table(hint, value, place)  # type: ignore[arg-type]
    return _scalar(hint, value, place)


def _scalar(hint: Any, value: Any, place: _Place) -> Any:
    words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", UUID: "a UUID"}
    if hint is float and type(value) is int:
        value = float(value)
    if hint is UUID and type(value) is str:
        try:
            return UUID(value)
        except ValueError:
            raise _Mistake(place, f"{_name(place)} must be a UUID, not {value[:60]!r}") from None
    # bool is an int in Python, but "true" is no number of threads.
    if type(value) is not hint:
        raise _Mistake(place, f"{_name(place)} must be {words[hint]}, not {str(value)[:60]!r}")
    if hint is float and not math.isfinite(value):
        raise _Mistake(place, f"{_name(place)} must be finite")
    return value


def _name(place: _Place) -> str:
    return ".".join(str(part) if isinstance(part, str) else str(part + 1) for part in place)


def _line_of(text: str, place: _Place) -> int | None:
    """Return the line on which ``place`` is written, or the nearest table around it; None if neither is found.

    TOML's parser does not tell lines, so they are looked for by what stands at their beginning.
    """
    lines = tuple(_located(text))
    for length in range(len(place), 0, -1):
        for number, location in lines:
            if location[:length] == place[:length]:
                return number
    return None


def _located(text: str) -> Iterator[tuple[int, _Place]]:
    """Yield each line that begins a table or a setting, with the place that it stands for."""
    table: _Place = ()
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header, setting = re.fullmatch(_HEADER, line), re.match(_SETTING, line)
        if header:
            name = header[2]
            counts[name] = counts.get(name, -1) + 1
            table = (name, counts[name]) if header[1] == "[[" else _keys(name)
            yield number, table
        elif setting:
            yield number, table + _keys(setting[1])


def _keys(dotted: str) -> _Place:
    return tuple(key.strip().strip("\"'") for key in dotted.split("."))


def dump_toml(values: Any) -> str:
    """Return a mapping, or a settings dataclass, as TOML that ``read_settings`` reads back. What is None is left out."""
    data = dataclasses.asdict(values) if dataclasses.is_dataclass(values) and not isinstance(values, type) else values
    lines, tables = [], []
    for key, value in data.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            tables.append(f"\n[{_key(key)}]\n{dump_toml(value)}")
        elif isinstance(value, list | tuple) and value and all(isinstance(item, Mapping) for item in value):
            tables += [f"\n[[{_key(key)}]]\n{dump_toml(item)}" for item in value]
        else:
            lines.append(f"{_key(key)} = {dump_value(value)}\n")
    return "".join(lines + tables)


def dump_value(value: Any) -> str:
    """Return a text, number, truth value, UUID or list of them as TOML; None as ``not set``, which is none."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(dump_value(item) for item in value)}]"
    # JSON's escapes are TOML's; only DEL must be escaped here and not there.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if re.fullmatch(_BARE_KEY, key) else dump_value(key)
