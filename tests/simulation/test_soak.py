"""The command for many runs: what it does, what it says, and how it ends."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.soak import STEPS, Ran, main


def sound(seed: int, steps: int) -> Ran:
    return Ran(seed, steps, 0.0, Counter({"create ok": 1}))


def broken_from_seven_on(seed: int, steps: int) -> Ran:
    return Ran(seed, steps, 0.0, Counter(), "I1 at 3.00 s: a disk has lost a file" if seed >= 7 else "")


@pytest.mark.integration
def test_it_does_as_many_steps_as_it_was_told_and_sums_them(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(2 * STEPS + 5), "--first", "3", "--processes", "2"], sound) == 0

    said = capfd.readouterr().out
    assert f"{2 * STEPS + 5} steps in 3 runs from seed 3" in said
    assert "3 create ok" in said


@pytest.mark.integration
def test_what_is_broken_ends_it_with_the_line_that_replays_it(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(100 * STEPS), "--first", "5", "--processes", "1"], broken_from_seven_on) == 1

    said = capfd.readouterr().out
    assert "I1 at 3.00 s: a disk has lost a file" in said
    assert f"replay: python -m tests.simulation.soak {STEPS} --first 7 --processes 1" in said


@pytest.mark.integration
def test_a_real_run_comes_to_its_end(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["60", "--first", "1", "--processes", "1"]) == 0
    assert "nothing is broken" in capfd.readouterr().out
