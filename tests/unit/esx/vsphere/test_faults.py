"""What each fault means, and what is said of it: total tables, and doubt where there is doubt."""

from __future__ import annotations

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdkvol.errors import (
    Busy,
    HypervisorUnreachable,
    Internal,
    InvalidSize,
    MetadataDamaged,
    NameConflict,
    NoFreeSlot,
    NoSpace,
    NotPermitted,
    OutcomeUnknown,
    TruthUnknown,
    VolumeError,
    VolumeInUse,
    VolumeLost,
)
from vmdkvol_esx.vsphere.faults import ROWS, Kind, Meaning, Trouble, Where, certain, error_of, meaning_of

VM = "502f3b1c-8d0e-4c5a-9b6f-0a1b2c3d4e5f"
# A fault's class and those above it, what a read is told, whether its answer leaves a change in doubt, and its task's end.
FAULTS = [
    pytest.param(("VAppTaskInProgress", "TaskInProgress"), Busy, True, True, id="busy"),
    pytest.param(("ConcurrentAccess",), Busy, True, True, id="changed-meanwhile"),
    pytest.param(("InvalidDeviceSpec", "InvalidVmConfig"), Internal, True, True, id="bad-spec"),
    pytest.param(("FileLocked", "FileFault"), VolumeInUse, True, True, id="locked"),
    pytest.param(("ResourceInUse",), VolumeInUse, True, True, id="in-use"),
    pytest.param(("FileAlreadyExists", "FileFault"), NameConflict, True, True, id="exists"),
    pytest.param(("FileNotFound", "FileFault"), VolumeLost, True, True, id="no-file"),
    pytest.param(("InvalidDiskFormat", "InvalidFormat"), MetadataDamaged, True, True, id="no-descriptor"),
    pytest.param(("FileTooLarge", "FileFault"), InvalidSize, True, True, id="too-large"),
    pytest.param(("InaccessibleDatastore", "InvalidDatastore"), TruthUnknown, True, True, id="no-datastore"),
    pytest.param(("InsufficientStorageSpace", "InsufficientResourcesFault"), NoSpace, True, True, id="vsan-full"),
    pytest.param(("ManagedObjectNotFound", "RuntimeFault"), TruthUnknown, True, False, id="object-gone"),
    pytest.param(("InvalidPowerState", "InvalidState"), Busy, True, True, id="power-state"),
    pytest.param(("NewerState", "InvalidState"), Busy, True, True, id="a-newer-server-s-state"),
    pytest.param(("NotAuthenticated", "NoPermission", "SecurityError"), HypervisorUnreachable, True, False, id="logged-out"),
    pytest.param(("InvalidLogin",), HypervisorUnreachable, True, True, id="wrong-login"),
    pytest.param(("PasswordExpired", "InvalidLogin"), HypervisorUnreachable, True, True, id="expired-password"),
    pytest.param(("HostNotConnected", "HostCommunication"), HypervisorUnreachable, False, False, id="host-lost"),
    pytest.param(("NetworkDisruptedAndConfigRolledBack",), HypervisorUnreachable, False, False, id="network"),
    pytest.param(("NoDiskSpace", "FileFault"), NoSpace, True, True, id="full"),
    pytest.param(("NoPermission", "SecurityError"), NotPermitted, True, True, id="privilege"),
    pytest.param(("RestrictedVersion", "SecurityError"), NotPermitted, True, True, id="licence"),
    pytest.param(("TooManyDevices", "InvalidVmConfig"), NoFreeSlot, True, True, id="no-slot"),
    pytest.param(("MethodNotFound", "InvalidRequest"), Internal, True, True, id="no-such-call"),
    pytest.param(("FaultOfNextYear", "VimFault", "MethodFault"), TruthUnknown, False, False, id="unknown"),
]


@pytest.mark.parametrize(("lineage", "read", "refused", "undone"), FAULTS)
def test_a_fault_has_its_error_and_its_doubt(
    lineage: tuple[str, ...], read: type[VolumeError], refused: bool, undone: bool
) -> None:
    answer = Trouble(meaning_of(lineage), "words")
    end = Trouble(answer.meaning, "words", Where.TASK)

    assert type(error_of(Kind.READ, answer, "reading x on vc1")) is read
    assert type(error_of(Kind.CHANGE, answer, "attaching x on vc1")) is (read if refused else OutcomeUnknown)
    assert type(error_of(Kind.CHANGE, end, "attaching x on vc1")) is (read if undone else OutcomeUnknown)


@pytest.mark.parametrize(
    ("meaning", "change"),
    [
        (Meaning.NOT_SENT, HypervisorUnreachable),
        (Meaning.CERTIFICATE, HypervisorUnreachable),
        (Meaning.LOST, OutcomeUnknown),
        (Meaning.NOT_UNDERSTOOD, OutcomeUnknown),
    ],
)
def test_a_change_without_an_answer_is_in_doubt_once_it_was_sent(meaning: Meaning, change: type[VolumeError]) -> None:
    assert type(error_of(Kind.CHANGE, Trouble(meaning, ""), "deleting x on vc1")) is change


def test_every_meaning_has_its_row() -> None:
    assert ROWS.keys() == set(Meaning)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Failed to lock the file", Meaning.HELD),
        ("Failed to add disk 'scsi0:1'.", Meaning.HELD),
        ("The operation is not allowed in the current state.", Meaning.STATE),
        ("Something else", Meaning.OTHER),
        ("", Meaning.OTHER),
    ],
)
def test_a_name_that_says_little_is_read_by_its_words(text: str, meaning: Meaning) -> None:
    assert meaning_of(("GenericVmConfigFault", "VmConfigFault", "VimFault"), text) is meaning


def test_a_name_counts_more_than_words() -> None:
    assert meaning_of(("NoDiskSpace",), "Failed to lock the file") is Meaning.FULL


@given(st.lists(st.text()), st.text(), st.sampled_from(Kind), st.sampled_from(Where))
def test_whatever_a_server_says_becomes_one_short_line_with_a_remedy(
    lineage: list[str], text: str, kind: Kind, where: Where
) -> None:
    line = str(error_of(kind, Trouble(meaning_of(lineage, text), text, where), "attaching [ds 1] x on vc1:443"))

    assert line.isprintable()
    assert len(line) <= 300
    assert "vc1:443" in line
    assert "; " in line
    assert line.endswith("]")


@pytest.mark.parametrize("meaning", Meaning)
def test_behind_the_longest_path_there_is_room_for_what_happened(meaning: Meaning) -> None:
    path = f"[{'d' * 42}] vmdkvol/{uuid4()}/{'n' * 100}-0a1b2c3d.vmdk"

    line = str(error_of(Kind.READ, Trouble(meaning, "NoPermission: a privilege"), f"attaching {path} to virtual machine {VM}"))

    assert f"{VM}: {meaning.value} (NoPermission" in line
    assert line.startswith(f"attaching [{'d' * 42}]")
    assert len(line) <= 300


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("certificate has expired", "renew it"),
        ("certificate is not yet valid", "compare the clocks"),
        ("Hostname mismatch, certificate is not valid for 'vc1'.", "a name that the certificate has"),
        ("IP address mismatch, certificate is not valid for '10.0.0.1'.", "a name that the certificate has"),
        ("self-signed certificate", "give its CA or pin it"),
        ("it is not the pinned one, 0A:1B", "give its CA or pin it"),
    ],
)
def test_a_certificate_s_remedy_is_one_that_helps(said: str, remedy: str) -> None:
    """To give the authority, or to pin it, makes no certificate right that has expired."""
    assert remedy in error_of(Kind.READ, Trouble(Meaning.CERTIFICATE, said), "logging in on vc1:443").remedy


@pytest.mark.parametrize("meaning", Meaning)
@pytest.mark.parametrize("where", Where)
def test_a_read_is_never_in_doubt_of_having_done_something(meaning: Meaning, where: Where) -> None:
    assert certain(Kind.READ, Trouble(meaning, "", where))


@pytest.mark.parametrize("meaning", Meaning)
def test_a_task_that_ended_leaves_no_less_doubt_than_an_answer(meaning: Meaning) -> None:
    assert ROWS[meaning].refused or not ROWS[meaning].undone
