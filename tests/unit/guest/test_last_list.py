"""The answer to List is encoded once for each state of the catalogue: 100,000 volumes take a second of the one interpreter."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.contract.test_notebook import info
from vmdkvol.errors import StillWorking
from vmdkvol.volume import VolumeInfo
from vmdkvol_guest.app import LastList
from vmdkvol_guest.driver import Driver, Shown
from vmdkvol_guest.notebook import SqliteNotebook


class Told:
    """A driver over a real notebook, which counts how often volumes are made ready to be shown."""

    def __init__(self, notebook: SqliteNotebook) -> None:
        self.notebook = notebook
        self.made = 0
        self.slow = False

    def catalogue(self) -> Collection[VolumeInfo]:
        if self.slow:
            raise StillWorking("slow")
        return self.notebook.catalogue()

    def shown(self, infos: Collection[VolumeInfo]) -> list[Shown]:
        self.made += 1
        return [Shown(each.name, "/path", "2026-01-01T00:00:00Z") for each in infos]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    notebook = SqliteNotebook(tmp_path / "run", tmp_path / "state", "boot")
    yield Told(notebook)
    notebook.end()


def names(body: bytes) -> list[str]:
    answer: dict[str, Any] = json.loads(body)
    assert answer["Err"] == ""
    return [volume["Name"] for volume in answer["Volumes"]]


def last_list(told: Told) -> LastList:
    return LastList(cast(Driver, told))


def test_while_nothing_changes_the_answer_is_made_once(told: Told) -> None:
    told.notebook.remember(info("a"))
    last = last_list(told)

    answers = {last.body() for _ in range(5)}

    assert (len(answers), told.made) == (1, 1)


def test_whatever_changes_is_in_the_next_answer(told: Told) -> None:
    a, b = info("a"), info("b")
    told.notebook.remember(a)
    last = last_list(told)
    assert names(last.body()) == ["a"]

    told.notebook.remember(b)
    assert names(last.body()) == ["a", "b"]
    told.notebook.forget(a.id)
    assert names(last.body()) == ["b"]
    told.notebook.forget(b.id)
    assert names(last.body()) == []


def test_an_empty_site_has_an_empty_list(told: Told) -> None:
    assert names(last_list(told).body()) == []


def test_a_list_that_fails_is_no_old_answer(told: Told) -> None:
    """What may be told from memory the driver decides."""
    told.notebook.remember(info("a"))
    last = last_list(told)
    last.body()
    told.slow = True

    with pytest.raises(StillWorking):
        last.body()
