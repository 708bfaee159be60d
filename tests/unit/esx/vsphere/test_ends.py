"""Whether a task has ended, and how."""

from __future__ import annotations

import pytest

from vmdkvol_esx.vsphere.ends import End, Seen, end_of
from vmdkvol_esx.vsphere.faults import Kind, Meaning, Trouble, Where, certain

FULL = Trouble(Meaning.FULL, "NoDiskSpace", Where.TASK)


@pytest.mark.parametrize("state", [None, "queued", "running"])
def test_it_goes_on(state: str | None) -> None:
    assert end_of(Seen(state)) is None


def test_a_success_has_its_result() -> None:
    assert end_of(Seen("success", "made")) == End("made")


def test_a_failure_has_its_fault() -> None:
    assert end_of(Seen("error", trouble=FULL)) == End(trouble=FULL)


@pytest.mark.parametrize("state", ["error", "cancelled", "", "Success"])
def test_an_end_that_says_too_little_leaves_in_doubt_what_was_done(state: str) -> None:
    end = end_of(Seen(state))

    assert end is not None
    assert end.trouble is not None
    assert not certain(Kind.CHANGE, end.trouble)


def test_a_fault_does_not_end_a_task_that_runs() -> None:
    assert end_of(Seen("running", trouble=FULL)) is None
