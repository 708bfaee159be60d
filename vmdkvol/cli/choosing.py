"""Which rows of a list are shown, in which order and with which columns: ``--filter``, ``--sort``, ``--columns``. Pure.

A condition is on a key of ``-o json``; ``labels.team`` is the key ``team`` inside ``labels``. A size is compared by its
bytes, a time by its text, whatever is unknown (null) is equal to nothing but the empty text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from vmdkvol.errors import BadRequest, InvalidSize, quoted
from vmdkvol.sizes import parse_size

Row = Mapping[str, Any]

_CONDITION = re.compile(r"([A-Za-z][\w.\-]*?) ?(!=|>=|<=|=|~|>|<) ?(.*)", re.DOTALL | re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,10})?", re.ASCII)
# How times are written in JSON; a condition may leave out the end.
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}(-[0-9]{2}([T ][0-9:]{1,8})?)?", re.ASCII)
_FORMS = "write key=value, key!=value, key~GLOB, key>value or key<value"


@dataclass(frozen=True, slots=True)
class Condition:
    """One ``--filter``."""

    key: str
    operator: str
    wanted: str


def parse_condition(text: str) -> Condition:
    """Return the condition in ``text``; BadRequest if it is none."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise BadRequest(f"filter {quoted(text)} cannot be read", remedy=_FORMS)
    return Condition(_spelled(found[1]), found[2], found[3])


def parse_keys(text: str) -> tuple[str, ...]:
    """Return the keys in ``a,b,-c``; BadRequest for none, or for the same one twice."""
    keys = tuple(_spelled(part.strip()) for part in text.split(","))
    if not all(key.lstrip("-") for key in keys):
        raise BadRequest(f"{quoted(text)} names no keys", remedy="write key,key; a '-' before one of --sort turns it round")
    twice = next((key for key in keys if sum(key.lstrip("-") == other.lstrip("-") for other in keys) > 1), None)
    if twice is not None:
        raise BadRequest(f"key {quoted(twice)} is named twice", remedy="name each key once")
    return keys


def _spelled(key: str) -> str:
    """Return the key as JSON has it: ``attached-to``, as a column of vDVS was called, is ``attached_to``."""
    descending = key.startswith("-")
    first, dot, rest = key.removeprefix("-").partition(".")
    return "-" * descending + first.replace("-", "_").lower() + dot + rest


def check_keys(keys: Collection[str], known: Sequence[str]) -> None:
    """Raise BadRequest, naming those that are spelled like it, unless all of these are known."""
    for key in keys:
        if key.partition(".")[0] not in known:
            near = get_close_matches(key, known) or [each for each in known if key in each][:3]
            meant = f"; did you mean {' or '.join(near)}" if near else ""
            raise BadRequest(f"there is no key {quoted(key)} in this list{meant}", remedy="docs/reference/cli.md has all keys")


def chosen(rows: Sequence[Row], conditions: Sequence[Condition]) -> list[Row]:
    """Return the rows on which all conditions hold, in their order; BadRequest if one asks what cannot be compared."""
    tests = [_test(condition) for condition in conditions]
    return [row for row in rows if all(test(row) for test in tests)]


def ordered(rows: Sequence[Row], keys: Sequence[str]) -> list[Row]:
    """Return the rows by the first key, equal ones by the next; a key with '-' from the largest down; unknown ones last."""
    found = list(rows)
    # The last key first: sorting keeps the order of equal ones.
    for key in reversed(keys):
        name, turned = key.removeprefix("-"), key.startswith("-")
        there = [row for row in found if _comparable(row, name) is not None]
        missing = [row for row in found if _comparable(row, name) is None]
        found = sorted(there, key=lambda row, name=name: _rank(row, name), reverse=turned) + missing  # type: ignore[misc]
    return found


def value_of(row: Row, key: str) -> Any:
    """Return what the row has under a key, None if it has nothing there."""
    if key in row:
        return row[key]
    first, dot, rest = key.partition(".")
    value = row.get(first)
    if not dot:
        return value
    return value.get(rest) if isinstance(value, Mapping) else None


def _comparable(row: Row, key: str) -> Any:
    """Return what a row is compared by: the bytes of a size, else the value."""
    if row.get(f"{key}_bytes") is not None:
        return row[f"{key}_bytes"]
    return value_of(row, key)


def _rank(row: Row, key: str) -> tuple[bool, Any, str]:
    value = _comparable(row, key)
    number = isinstance(value, int | float)
    return not number, value if number else 0, _text(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return str(value)


def _texts(value: Any) -> list[str]:
    """Return the texts of which one must be the wanted one: those of a list's items, too."""
    return [_text(value), *map(_text, value)] if isinstance(value, list | tuple) else [_text(value)]


def _test(condition: Condition) -> Callable[[Row], bool]:
    key, wanted = condition.key, condition.wanted
    match condition.operator:
        case "=":
            return lambda row: _equal(row, key, wanted)
        case "!=":
            return lambda row: not _equal(row, key, wanted)
        case "~":
            return lambda row: any(fnmatchcase(text, wanted) for text in _texts(value_of(row, key)))
        case _:
            return lambda row: _compare(row, condition)


def _equal(row: Row, key: str, wanted: str) -> bool:
    value = value_of(row, key)
    if wanted in _texts(value):
        return True
    known = _comparable(row, key)
    if isinstance(known, bool):
        return wanted.lower() in (("true", "yes") if known else ("false", "no"))
    return isinstance(known, int | float) and known == _number(wanted, of_size=_is_size(row, key))


def _compare(row: Row, condition: Condition) -> bool:
    value = _comparable(row, condition.key)
    if value is None:
        return False
    if isinstance(value, int | float) and not isinstance(value, bool):
        limit: Any = _number(condition.wanted, of_size=_is_size(row, condition.key))
    else:
        limit = condition.wanted if _TIME.fullmatch(condition.wanted) and _TIME.match(str(value)) else None
        value = str(value)[: len(condition.wanted)]
    if limit is None:
        raise BadRequest(
            f"{condition.key} and {quoted(condition.wanted)} cannot be compared with {condition.operator}",
            remedy="numbers, sizes (20gb) and times (2026-11-29) can; for texts there are =, != and ~",
        )
    return bool(
        {">": value > limit, "<": value < limit, ">=": value >= limit, "<=": value <= limit}[condition.operator],
    )


def _is_size(row: Row, key: str) -> bool:
    return key.endswith("_bytes") or f"{key}_bytes" in row


def _number(text: str, *, of_size: bool) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    if not of_size:
        return None
    try:
        return parse_size(text)
    except InvalidSize:
        return None
