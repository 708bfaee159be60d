"""Several names in one command: the exit code says all, some or none."""

from __future__ import annotations

import pytest

from vmdkvol.cli.several import for_each
from vmdkvol.errors import NotPermitted, VolumeInUse, VolumeNotFound

ERRORS = {"gone": VolumeNotFound("no volume gone"), "away": VolumeNotFound("no volume away"), "used": VolumeInUse("in use")}


def work(name: str) -> str:
    if name in ERRORS:
        raise ERRORS[name]
    return name.upper()


@pytest.mark.parametrize(
    ("names", "done", "code"),
    [
        pytest.param(["a", "b"], ["A", "B"], 0, id="all"),
        pytest.param(["a", "gone", "b"], ["A", "B"], 3, id="some"),
        pytest.param(["gone", "away"], [], 4, id="none-for-one-reason"),
        pytest.param(["gone", "used"], [], 1, id="none-for-several-reasons"),
        pytest.param([], [], 0, id="no-name"),
    ],
)
def test_the_exit_code_says_how_many(names: list[str], done: list[str], code: int) -> None:
    assert for_each(names, work) == (done, code)


def test_each_error_is_told_and_how_many_were_done(capsys: pytest.CaptureFixture[str]) -> None:
    for_each(["gone", "a", "used"], work)

    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split("[")[1] for line in said.err.splitlines()] == ["volume-not-found]", "volume-in-use]", "partial]"]


def test_one_name_alone_raises_its_error() -> None:
    with pytest.raises(VolumeInUse):
        for_each(["used"], work)


def test_one_name_twice_is_done_once() -> None:
    seen: list[str] = []
    for_each(["a", "a", "b", "a"], seen.append)

    assert seen == ["a", "b"]


def test_what_is_no_error_of_the_product_ends_it() -> None:
    def broken(name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        for_each(["a", "b"], broken)


def test_a_denied_one_among_others_is_partial_too() -> None:
    def one(name: str) -> None:
        if name == "b":
            raise NotPermitted("not allowed")

    assert for_each(["a", "b"], one)[1] == 3
