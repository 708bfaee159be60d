"""Which call is made again, and when not."""

from __future__ import annotations

import pytest

from vmdkvol_esx.vsphere.faults import Kind, Meaning, Trouble, certain
from vmdkvol_esx.vsphere.repeating import Step, next_step

NONE: frozenset[Step] = frozenset()


@pytest.mark.parametrize("meaning", Meaning)
def test_a_change_in_doubt_is_never_made_again(meaning: Meaning) -> None:
    doubtful = not certain(Kind.CHANGE, Trouble(meaning, ""))

    assert next_step(Kind.CHANGE, meaning, NONE) is Step.GIVE_UP or not doubtful


@pytest.mark.parametrize(
    ("kind", "meaning", "step"),
    [
        (Kind.READ, Meaning.LOST, Step.REPEAT),
        (Kind.READ, Meaning.NOT_SENT, Step.REPEAT),
        (Kind.READ, Meaning.NOT_UNDERSTOOD, Step.REPEAT),
        (Kind.READ, Meaning.LOGGED_OUT, Step.LOG_IN),
        (Kind.CHANGE, Meaning.LOGGED_OUT, Step.LOG_IN),
        (Kind.CHANGE, Meaning.NOT_SENT, Step.REPEAT),
        (Kind.CHANGE, Meaning.LOST, Step.GIVE_UP),
        (Kind.CHANGE, Meaning.NOT_UNDERSTOOD, Step.GIVE_UP),
        (Kind.READ, Meaning.CERTIFICATE, Step.GIVE_UP),
        (Kind.READ, Meaning.WRONG_LOGIN, Step.GIVE_UP),
        (Kind.READ, Meaning.OTHER, Step.GIVE_UP),
        (Kind.READ, Meaning.LATE, Step.GIVE_UP),
    ],
)
def test_the_first_trouble_has_its_step(kind: Kind, meaning: Meaning, step: Step) -> None:
    assert next_step(kind, meaning, NONE) is step


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("meaning", Meaning)
def test_no_step_is_taken_twice(kind: Kind, meaning: Meaning) -> None:
    done = NONE
    for _ in Step:
        done |= {next_step(kind, meaning, done)}

    assert next_step(kind, meaning, done) is Step.GIVE_UP
