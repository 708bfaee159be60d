"""What is printed can be read by a script: nothing is wrapped, cut or coloured (field case C20)."""

from __future__ import annotations

import json
from collections.abc import Callable

import click
import pytest
import yaml

from tests.unit.cli.outcomes import PLANNED
from vmdkvol.cli.choosing import parse_condition
from vmdkvol.cli.outcome import show_outcomes
from vmdkvol.cli.render import MAX_CELL, Table, View, show, show_facts, view_options
from vmdkvol.command import run
from vmdkvol.errors import BadRequest

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


EVIL = "evil\x1b[2J\nroot   enrolled\x9b31m\u202e"


@pytest.mark.parametrize("output", ["table", "wide", "name"])
def test_a_foreign_name_draws_nothing_and_forges_no_line(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(TABLE, rows(EVIL), output)

    said = capsys.readouterr().out
    assert said.replace("\n", "").isprintable()
    assert not [line for line in said.splitlines() if line.startswith("root")]


@pytest.mark.parametrize(
    ("output", "read"), [pytest.param("json", json.loads, id="json"), pytest.param("yaml", yaml.safe_load, id="yaml")]
)
@pytest.mark.parametrize("name", [EVIL, "\ud800", "\U000e0041", "a: b\n- c", "yes", "=1+1", "数据", "\x00"], ids=ascii)
def test_programs_get_the_very_name_and_a_terminal_nothing_to_obey(
    output: str, read: Callable[[str], object], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show(TABLE, rows(name), output)

    said = capsys.readouterr().out
    assert said.replace("\n", "").isprintable()
    assert read(said) == rows(name)


def test_yaml_keeps_the_order_of_the_keys_and_wraps_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show(TABLE, [{"name": "a " * 100, "attached_to": None}], "yaml", single=True)

    assert capsys.readouterr().out == f"name: '{'a ' * 100}'\nattached_to: null\n"


def test_a_name_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    show(TABLE, rows("n" * 5000 + "\x1b"), "name")

    assert capsys.readouterr().out == "n" * 5000 + "\\x1b\n"


def test_a_megabyte_in_a_cell_does_not_fill_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    show(TABLE, [{"name": "x" * (1 << 20), "attached_to": ["y" * 1000] * 1000, "id": {"k": "v" * 2000}}], "wide")

    assert max(map(len, capsys.readouterr().out.splitlines())) <= 3 * MAX_CELL + 6


def test_facts_stand_one_under_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    show_facts([{"name": "db", "last_user": None}, {"name": "web\nNAME   forged", "labels": {"a": "b"}}])

    assert capsys.readouterr().out == "NAME        db\nLAST USER   -\n\nNAME     web\\nNAME   forged\nLABELS   a=b\n"


def test_a_view_filters_sorts_and_chooses_columns(capsys: pytest.CaptureFixture[str]) -> None:
    found = [{"name": name, "attached_to": None, "id": name * 2} for name in "bca"]

    View("table", (parse_condition("name!=c"),), ("name",), ("id",)).show(TABLE, found)
    View("json", (), ("-name",), ("id",)).show(TABLE, found[:2])

    assert capsys.readouterr().out == 'ID\naa\nbb\n[\n  {\n    "id": "cc"\n  },\n  {\n    "id": "bb"\n  }\n]\n'


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(View(conditions=(parse_condition("nmae=a"),)), id="filter"),
        pytest.param(View(sort=("-nmae",)), id="sort"),
        pytest.param(View(columns=("nmae",)), id="columns"),
    ],
)
def test_an_unknown_key_is_refused_for_an_empty_list_too(view: View, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadRequest, match="'nmae'"):
        view.show(TABLE, [])

    assert capsys.readouterr().err == "keys: attached_to, id, name\n"


@pytest.mark.parametrize("arguments", [["--columns", "-name"], ["--sort", ""], ["--filter", "x"], ["-c", "a,a"], ["-o", "csv"]])
def test_what_no_list_can_do_is_refused(arguments: list[str]) -> None:
    assert run(listing(), "vmdkvol", arguments) == 2


def listing() -> click.Command:
    @click.command()
    @view_options(TABLE)
    def ls(view: View) -> None:
        view.show(TABLE, rows("db"))

    return ls


def test_a_plan_is_shown_by_its_steps_and_what_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    show_outcomes([PLANNED], "table")

    assert capsys.readouterr().out.splitlines() == [
        "STEP          TARGET     BEFORE   AFTER",
        "grow-volume   db@ds1\\n   1gb      2gb",
        "lost: what was on it",
    ]


def test_a_plan_for_programs_is_the_outcome_itself(capsys: pytest.CaptureFixture[str]) -> None:
    show_outcomes([PLANNED], "json")

    assert json.loads(capsys.readouterr().out) == [PLANNED]


def test_a_plan_without_steps_says_that_nothing_is_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    show_outcomes([{**PLANNED, "plan": {"steps": [], "loses": None}}], "table")

    assert capsys.readouterr().out == "nothing to do: it is so already\n"
