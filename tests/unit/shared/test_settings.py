"""Settings: a file is read whole and exactly, or refused with its name, the line and what is wrong."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdkvol.errors import BadRequest
from vmdkvol.settings import dump_toml, read_settings


@dataclass(frozen=True, slots=True)
class Room:
    name: str = field(metadata={"help": "The room's name."})
    beds: int = field(default=1, metadata={"help": "How many sleep in it."})

    def __post_init__(self) -> None:
        if self.beds < 1:
            raise BadRequest(f"room {self.name} has no bed", setting="beds")


@dataclass(frozen=True, slots=True)
class House:
    street: str = field(metadata={"help": "Where it stands."})
    id: UUID = field(metadata={"help": "Its number in the register."})
    rooms: tuple[Room, ...] = field(default=(), metadata={"help": "What is in it."})
    tags: tuple[str, ...] = field(default=(), metadata={"help": "Words about it."})
    height: float = field(default=3.0, metadata={"help": "In metres."})
    sold: bool = field(default=False, metadata={"help": "Whether it is."})
    owner: str | None = field(default=None, metadata={"help": "Whose it is."})

    def __post_init__(self) -> None:
        if len({room.name for room in self.rooms}) < len(self.rooms):
            raise BadRequest("two rooms have one name", setting="rooms")


ID = UUID("6f0d3f8e-1111-4222-8333-444455556666")
GOOD = f"""\
# a house
street = "Main ü"
id = "{ID}"
height = 4

[[rooms]]
name = "kitchen"

[[rooms]]
name = "attic"
beds = 3
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "house.toml"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def refused(path: Path, text: str) -> str:
    with pytest.raises(BadRequest) as caught:
        read_settings(House, write(path, text))
    assert caught.value.text.startswith(str(path))
    assert caught.value.exit_code == 2
    return caught.value.text.removeprefix(str(path))


def test_a_file_becomes_its_class(path: Path) -> None:
    assert read_settings(House, write(path, GOOD)) == House(
        street="Main ü", id=ID, rooms=(Room("kitchen"), Room("attic", 3)), height=4.0
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param("height", "hight", ":4: unknown setting 'hight'; known: street, id", id="unknown"),
        pytest.param("beds", "bed", ":11: unknown setting 'bed'; known: name, beds", id="unknown-in-a-table"),
        pytest.param("height = 4", "[hight]\nx = 1", ":4: unknown setting 'hight'", id="unknown-table"),
        pytest.param('name = "kitchen"', "", ":6: setting 'name' is missing", id="missing-in-a-table"),
        pytest.param('street = "Main ü"', "", ": setting 'street' is missing", id="missing"),
        pytest.param("= 4", '= "4"', ":4: height must be a number, not '4'", id="text-for-a-number"),
        pytest.param("= 4", "= true", ":4: height must be a number, not 'True'", id="truth-for-a-number"),
        pytest.param("= 4", "= nan", ":4: height must be finite", id="not-a-number"),
        pytest.param("= 4", "= inf", ":4: height must be finite", id="infinite"),
        pytest.param("beds = 3", "beds = 3.0", ":11: rooms.2.beds must be a whole number", id="fraction"),
        pytest.param("beds = 3", "beds = true", ":11: rooms.2.beds must be a whole number", id="truth-for-beds"),
        pytest.param("beds = 3", "beds = 0", ":11: room attic has no bed", id="refused-by-the-inner-class"),
        pytest.param('"attic"', '"kitchen"', ":6: two rooms have one name", id="refused-by-the-class"),
        pytest.param(f'"{ID}"', '"no uuid"', ":3: id must be a UUID, not 'no uuid'", id="no-uuid"),
        pytest.param(f'"{ID}"', "7", ":3: id must be a UUID, not '7'", id="number-for-a-uuid"),
        pytest.param("height = 4", "tags = 'x'", ":4: tags must be a list", id="text-for-a-list"),
        pytest.param("height = 4", "tags = ['x', 5]", ":4: tags.2 must be a text", id="number-in-a-list"),
        pytest.param("height = 4", "sold = 1", ":4: sold must be true or false", id="number-for-a-truth"),
        pytest.param("height = 4", "owner = 1979-05-27", ":4: owner must be a text", id="date-for-a-text"),
        pytest.param("height = 4", "height == 4", ":4: Invalid value", id="no-toml"),
        pytest.param("height = 4", "height = 4\nheight = 5", ":5: Cannot overwrite a value", id="twice"),
    ],
)
def test_f58_a_mistake_is_told_with_its_line(path: Path, old: str, new: str, told: str) -> None:
    assert old in GOOD
    assert refused(path, GOOD.replace(old, new, 1)).startswith(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(f"street = 'x'\nid = '{ID}'\nrooms = 5\n", ":3: rooms must be a list", id="number-for-tables"),
        pytest.param(f"street = 'x'\nid = '{ID}'\nrooms = [5]\n", ":3: rooms.1 must be a table", id="number-in-tables"),
        pytest.param(f"street = 'x'\nid = '{ID}'\nrooms = [{{beds = 2}}]\n", ":3: setting 'name' is missing", id="inline"),
        pytest.param("", ": setting 'street' is missing", id="empty"),
    ],
)
def test_mistakes_in_other_forms_are_told_too(path: Path, text: str, told: str) -> None:
    assert refused(path, text).startswith(told)


def test_a_missing_file_is_refused(path: Path) -> None:
    with pytest.raises(BadRequest, match="No such file"):
        read_settings(House, path)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_refused(path: Path, mode: int) -> None:
    write(path, GOOD).chmod(mode)
    with pytest.raises(BadRequest, match="can be written by other users") as caught:
        read_settings(House, path)
    assert f"chmod go-w {path}" in caught.value.remedy


def test_a_file_of_another_user_is_refused(path: Path) -> None:
    os.chown(write(path, GOOD), 65534, 65534)
    with pytest.raises(BadRequest, match="belongs to user 65534"):
        read_settings(House, path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest):
        read_settings(House, tmp_path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(BadRequest, match="not a regular file"):
        read_settings(House, tmp_path / "pipe")


def test_bytes_that_are_no_text_are_told_with_their_line(path: Path) -> None:
    path.write_bytes(b"street = 'x'\n# \xff\n")
    path.chmod(0o600)
    with pytest.raises(BadRequest, match=":2: not UTF-8"):
        read_settings(House, path)


def test_a_giant_file_is_refused(path: Path) -> None:
    with pytest.raises(BadRequest, match="longer than"):
        read_settings(House, write(path, "#" * (2 << 20)))


def test_settings_survive_being_written(path: Path) -> None:
    house = House(street='a "b" \\ \n\x7f ü', id=ID, rooms=(Room("x", 2), Room("y")), tags=("p", "q"), sold=True)
    assert read_settings(House, write(path, dump_toml(house))) == house


SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
TABLES = st.dictionaries(st.text(max_size=9), SCALARS | st.lists(SCALARS, max_size=3), max_size=4)


@given(st.dictionaries(st.text(max_size=9), SCALARS | TABLES | st.lists(TABLES, min_size=1, max_size=3), max_size=5))
def test_what_is_written_reads_back_the_same(values: dict[str, object]) -> None:
    assert tomllib.loads(dump_toml(values)) == values
