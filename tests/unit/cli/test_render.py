"""What is printed can be read by a script: nothing is wrapped, cut or coloured (field case C20)."""

from __future__ import annotations

import json

import pytest

from vmdkvol.cli.render import Table, show

TABLE = Table(("name", "attached_to"), ("id",))
NAME = "n" * 100


def rows(name: str = NAME) -> list[dict[str, object]]:
    return [{"name": name, "attached_to": None, "id": "1", "size_bytes": 5}]


def test_a_long_name_stands_whole_on_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    show(TABLE, rows(), "table")

    assert sum(NAME in line for line in capsys.readouterr().out.splitlines()) == 1


def test_heads_are_upper_case_and_nothing_is_coloured(capsys: pytest.CaptureFixture[str]) -> None:
    show(TABLE, rows("db"), "table")

    assert capsys.readouterr().out == "NAME   ATTACHED TO\ndb     -\n"


def test_columns_of_wide_characters_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    show(TABLE, [*rows("数据"), *rows("abcd")], "table")

    first, second = capsys.readouterr().out.splitlines()[1:]
    assert first == "数据   -"
    assert second == "abcd   -"


def test_wide_adds_columns(capsys: pytest.CaptureFixture[str]) -> None:
    show(TABLE, rows("db"), "wide")

    assert capsys.readouterr().out.splitlines()[0].split() == ["NAME", "ATTACHED", "TO", "ID"]


def test_json_has_every_key_and_real_types(capsys: pytest.CaptureFixture[str]) -> None:
    show(TABLE, rows("db"), "json")

    assert json.loads(capsys.readouterr().out) == [{"name": "db", "attached_to": None, "id": "1", "size_bytes": 5}]


def test_names_alone_can_be_piped(capsys: pytest.CaptureFixture[str]) -> None:
    show(TABLE, [*rows("a b"), *rows("c")], "name")

    assert capsys.readouterr().out == "a b\nc\n"


def test_no_rows_is_a_head_or_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    show(TABLE, [], "table")
    show(TABLE, [], "json")

    assert capsys.readouterr().out == "NAME   ATTACHED TO\n[]\n"
