"""A token that the service wrote into this virtual machine, as VMware's program tells it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol.errors import MissingTool, TruthUnknown, VolumeError
from vmdkvol_guest.linux.commands import Commands, Finished
from vmdkvol_guest.linux.guestinfo import forget_token, read_token


class Told(Commands):
    """Starts nothing: ``vmware-rpctool`` ends as it is told to."""

    def __init__(self, ends: Finished | VolumeError) -> None:
        super().__init__(HandClock())
        self.ends = ends
        self.asked: list[Sequence[str]] = []

    def run(self, args: Sequence[str], *, seconds: float, dies_with_us: bool = False) -> Finished:
        self.asked.append(args)
        if isinstance(self.ends, VolumeError):
            raise self.ends
        return self.ends


def test_the_token_is_what_the_program_says() -> None:
    told = Told(Finished(0, "vmdkvol1.a.b\n"))
    assert read_token(told) == "vmdkvol1.a.b"
    assert told.asked == [["vmware-rpctool", "info-get guestinfo.vmdkvol.token"]]


@pytest.mark.parametrize(
    "ends",
    [
        pytest.param(Finished(1, "No value found\n"), id="no-such-key"),
        pytest.param(Finished(0, " \n"), id="forgotten-before"),
        pytest.param(Finished(-11, ""), id="killed"),
        pytest.param(MissingTool("not installed"), id="not-installed"),
        pytest.param(TruthUnknown("it did not end in time"), id="silent"),
    ],
)
def test_otherwise_there_is_none(ends: Finished | VolumeError) -> None:
    assert read_token(Told(ends)) is None


@pytest.mark.parametrize("ends", [Finished(0, ""), Finished(1, "not allowed"), MissingTool("not installed")])
def test_a_token_that_cannot_be_taken_away_is_no_error(ends: Finished | VolumeError) -> None:
    told = Told(ends)
    forget_token(told)
    assert told.asked == [["vmware-rpctool", "info-set guestinfo.vmdkvol.token "]]
