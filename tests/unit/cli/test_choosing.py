"""Filters, sorting and columns of every list: what is asked for is shown, what cannot be asked says which keys there are."""

from __future__ import annotations

from typing import Any

import pytest

from vmdkvol.cli.choosing import check_keys, chosen, ordered, parse_condition, parse_keys
from vmdkvol.errors import BadRequest

ROWS: list[dict[str, Any]] = [
    {
        "name": "db",
        "size": "20gb",
        "size_bytes": 20 << 30,
        "attached_to": "vm-a",
        "connected": True,
        "created": "2026-11-02T10:00:00+00:00",
        "labels": {"team": "red", "a=b": "c"},
        "members": ["vm-a", "vm-b"],
    },
    {
        "name": "web",
        "size": "500mb",
        "size_bytes": 500 << 20,
        "attached_to": None,
        "connected": False,
        "created": "2026-10-31T10:00:00+00:00",
        "labels": {},
        "members": [],
    },
]


def names(*conditions: str) -> list[str]:
    return [row["name"] for row in chosen(ROWS, [parse_condition(text) for text in conditions])]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        pytest.param("name=db", ["db"], id="equal"),
        pytest.param("name=d", [], id="not-a-part"),
        pytest.param("name=DB", [], id="case-counts"),
        pytest.param("name!=db", ["web"], id="not-equal"),
        pytest.param("name~w*", ["web"], id="glob"),
        pytest.param("name~[dw]?b", ["web"], id="glob-of-a-set"),
        pytest.param("size=20gb", ["db"], id="size-as-shown"),
        pytest.param("size=20480mb", ["db"], id="size-in-another-unit"),
        pytest.param("size=21474836480", ["db"], id="size-in-bytes"),
        pytest.param("size>1gb", ["db"], id="larger"),
        pytest.param("size<1gb", ["web"], id="smaller"),
        pytest.param("size>=500mb", ["db", "web"], id="at-least"),
        pytest.param("size<=500mb", ["web"], id="at-most"),
        pytest.param("size_bytes>1gb", ["db"], id="bytes-with-a-unit"),
        pytest.param("attached_to=", ["web"], id="unknown-is-empty"),
        pytest.param("attached-to=vm-a", ["db"], id="as-vdvs-spelt-its-columns"),
        pytest.param("connected=yes", ["db"], id="yes"),
        pytest.param("connected=false", ["web"], id="false"),
        pytest.param("created>2026-11-01", ["db"], id="later"),
        pytest.param("created<2026-11", ["web"], id="earlier-by-month"),
        pytest.param("labels.team=red", ["db"], id="inside-labels"),
        pytest.param("labels.team!=red", ["web"], id="without-the-label"),
        pytest.param("members=vm-b", ["db"], id="one-of-a-list"),
        pytest.param("members~vm-*", ["db"], id="one-of-a-list-by-glob"),
        pytest.param("members=", ["web"], id="empty-list"),
        pytest.param("name = db", ["db"], id="with-blanks"),
    ],
)
def test_a_condition_chooses(condition: str, found: list[str]) -> None:
    assert names(condition) == found


def test_all_conditions_must_hold() -> None:
    assert names("size>1mb", "connected=no") == ["web"]


@pytest.mark.parametrize("text", ["", "name", "=db", "na me=db", "1=2", "größe=1", "\n=x", "-name=db"])
def test_what_is_no_condition_says_how_one_is_written(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_condition(text)

    assert "key=value" in refused.value.remedy


@pytest.mark.parametrize("condition", ["name>a", "size>big", "size>", "created>yesterday", "connected>true", "members<1"])
def test_what_cannot_be_compared_is_refused_and_not_false(condition: str) -> None:
    with pytest.raises(BadRequest):
        names(condition)


def test_a_megabyte_of_condition_is_told_in_one_short_line() -> None:
    with pytest.raises(BadRequest) as refused:
        names("size>" + "9" * (1 << 20))

    assert len(str(refused.value)) <= 300


def test_a_glob_of_many_stars_ends() -> None:
    assert chosen([{"name": "a" * 1000}], [parse_condition("name~" + "*a" * 30 + "b")]) == []


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        pytest.param("size", ["web", "db"], id="by-bytes-not-by-text"),
        pytest.param("-size", ["db", "web"], id="from-the-largest"),
        pytest.param("attached_to", ["db", "web"], id="unknown-last"),
        pytest.param("-attached_to", ["db", "web"], id="unknown-last-either-way"),
        pytest.param("labels.team,name", ["db", "web"], id="inside-labels"),
    ],
)
def test_rows_are_sorted(keys: str, found: list[str]) -> None:
    assert [row["name"] for row in ordered(ROWS, parse_keys(keys))] == found


def test_equal_rows_are_sorted_by_the_next_key_and_then_stay() -> None:
    rows = [{"a": 1, "b": 2, "n": 0}, {"a": 1, "b": 3, "n": 1}, {"a": 0, "b": 0, "n": 2}, {"a": 1, "b": 3, "n": 3}]

    assert [row["n"] for row in ordered(rows, ("a", "-b"))] == [2, 1, 3, 0]


def test_numbers_and_texts_under_one_key_can_be_sorted() -> None:
    rows: list[dict[str, Any]] = [{"a": "x"}, {"a": 2}, {"a": None}, {"a": True}, {"a": [1]}]

    assert ordered(rows, ("a",))[0] == {"a": True}
    assert ordered(rows, ("a",))[-1] == {"a": None}


@pytest.mark.parametrize("text", ["", ",", "a,,b", "-", "a,a", "a,-a"])
def test_no_key_and_one_key_twice_are_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_keys(text)


@pytest.mark.parametrize(("key", "meant"), [("nmae", "did you mean name"), ("trash", "did you mean trashed")])
def test_an_unknown_key_names_what_may_be_meant(key: str, meant: str) -> None:
    with pytest.raises(BadRequest, match=meant):
        check_keys([key], ["name", "size", "trashed", "defaults"])


def test_an_unknown_key_that_is_like_no_other_is_refused_without_a_guess() -> None:
    with pytest.raises(BadRequest, match="there is no key 'colour' in this list; docs"):
        check_keys(["colour"], ["name", "size"])


def test_a_key_inside_a_known_one_is_known() -> None:
    check_keys(["defaults.size"], ["name", "defaults"])


def test_a_foreign_key_draws_nothing() -> None:
    with pytest.raises(BadRequest) as refused:
        check_keys(["\x1b[2J"], ["name"])

    assert "\x1b" not in str(refused.value)
