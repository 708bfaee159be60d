"""The programs of the system tests that judge a disk: what is lost, torn, stale or foreign, they find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.programs import pg_load, records
from tests.system.told import lost

WRITTEN = 60


class Enough(Exception):
    pass


def teller(last: int) -> Callable[[str, int], None]:
    def told(_: str, number: int) -> None:
        if number == last:
            raise Enough

    return told


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for each in range(records.STREAMS):
        with pytest.raises(Enough):
            records.append(tmp_path, f"w{each}", teller(WRITTEN))
    with pytest.raises(Enough):
        records.rename(tmp_path, teller(WRITTEN))
    return tmp_path


EVERYTHING = {**{f"w{each}": WRITTEN for each in range(records.STREAMS)}, records.RENAMED: WRITTEN}


def test_all_that_was_written_is_found(folder: Path) -> None:
    assert records.check(folder) == EVERYTHING


def test_a_torn_end_costs_the_torn_record_alone(folder: Path) -> None:
    file = folder / "w1"
    file.write_bytes(file.read_bytes()[:-1])

    assert records.check(folder) == {**EVERYTHING, "w1": WRITTEN - 1}


def test_a_byte_that_is_another_one_ends_what_counts(folder: Path) -> None:
    file = folder / "w2"
    at = sum(len(records.record("w2", number)) for number in range(1, 31)) + 20
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)

    assert records.check(folder)["w2"] == 30


def test_records_of_another_stream_are_none(folder: Path) -> None:
    (folder / "w0").write_bytes((folder / "w3").read_bytes())

    assert records.check(folder)["w0"] == 0


def test_a_file_that_is_not_there_has_no_record(folder: Path) -> None:
    (folder / "w0").unlink()

    assert records.check(folder)["w0"] == 0


@pytest.mark.parametrize("number", [WRITTEN - records.KEPT + 1, WRITTEN - 7, WRITTEN])
def test_a_renamed_file_that_lacks_its_bytes_is_a_loss(folder: Path, number: int) -> None:
    (folder / f"{records.RENAMED}-{number}").write_bytes(b"")

    assert records.check(folder)[records.RENAMED] == 0


def test_a_renamed_file_that_is_gone_is_a_loss(folder: Path) -> None:
    (folder / f"{records.RENAMED}-{WRITTEN - 3}").unlink()

    assert records.check(folder)[records.RENAMED] == 0


def test_lost_is_what_was_told_and_is_not_there() -> None:
    assert lost({"w0": 5, "w1": 5, "w2": 1}, {"w0": 5, "w1": 4}) == {"w1": (5, 4), "w2": (1, 0)}


def test_a_transaction_takes_from_one_account_what_it_gives_to_another() -> None:
    text = pg_load.transaction(1, 7)
    changes = [int(part.partition(")")[0]) for part in text.split("balance + (")[1:]]

    assert len(changes) == 2
    assert sum(changes) == 0
    assert text.startswith("BEGIN;")
    assert text.endswith(";COMMIT")
