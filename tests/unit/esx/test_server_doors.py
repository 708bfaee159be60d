"""The door: a Hello is looked at by its machine's own workers, as soon as the records say whose it is (T7)."""

from __future__ import annotations

import threading
from pathlib import Path
from uuid import UUID

import pytest

from tests.doubles.channel_ends import VM_1, VM_2, Gated, call, until
from tests.doubles.far_channel import FarSite, identify
from vmdkvol import wire
from vmdkvol.errors import NotEnrolled
from vmdkvol.messages import Attachments, Hello, ListAttached
from vmdkvol.volume import VmId
from vmdkvol_esx.callers import Caller, Proof
from vmdkvol_esx.crew import WORKERS, Kind


def test_a_machine_whose_proof_takes_long_keeps_no_other_one_waiting(tmp_path: Path) -> None:
    """Such as those on a vsock, while vCenter does not say which machine has that context id."""
    answers = threading.Event()

    def slow_on_vsock_7(proof: Proof, hello: Hello) -> Caller:
        if proof.context_id == 7:
            answers.wait(60.0)
        return identify(proof, hello)

    def whose(proof: Proof) -> VmId:
        return identify(proof, Hello(1, 1, "", "")).vm

    site = FarSite(tmp_path, Gated(), identify=slow_on_vsock_7, whose=whose)
    for number in range(WORKERS[Kind.WORD] + 2):
        site.guest(VM_1, cid=7).send(wire.write_request(Hello(1, 3, "x", "y"), UUID(int=number + 1), 60.0))
    assert until(lambda: len(site.server._crews.of(VM_1)._jobs) == WORKERS[Kind.WORD] + 2)
    try:
        assert site.line(VM_2, cid=8).ask(ListAttached(), call(30.0)) == Attachments(())
    finally:
        answers.set()
        site.close()


def test_who_is_nobody_on_record_hears_it_before_anything_is_asked(tmp_path: Path) -> None:
    def nobody(_: Proof) -> VmId:
        raise NotEnrolled("this certificate is not on record")

    def never(proof: Proof, hello: Hello) -> Caller:
        raise AssertionError("it is not looked at")

    site = FarSite(tmp_path, Gated(), identify=never, whose=nobody)
    with pytest.raises(NotEnrolled, match="not on record"):
        site.line(VM_1).ask(ListAttached(), call())
    site.close()


def test_who_left_while_its_proof_was_looked_at_is_not_there_afterwards(tmp_path: Path) -> None:
    """Else it would count as connected for ever, and keep its own next boot out."""
    answers = threading.Event()

    def slow(proof: Proof, hello: Hello) -> Caller:
        answers.wait(60.0)
        return identify(proof, hello)

    site = FarSite(tmp_path, Gated(), identify=slow)
    site.guest(VM_1).send(wire.write_request(Hello(1, 3, "x", "y"), UUID(int=1), 60.0))
    guest = site.guest(VM_1)
    guest.send(wire.write_request(Hello(1, 3, "x", "y"), UUID(int=2), 60.0))
    assert until(lambda: len(site.server._reception._connections) == 2)
    guest.close()
    assert until(lambda: len(site.server._reception._connections) == 1)
    answers.set()
    assert until(lambda: site.server.connected(VM_1))
    assert until(lambda: len(site.server._greeted[VM_1]) == 1)
    # Whatever was on its way to the thread of the connections has come there.
    assert site.line(VM_2).ask(ListAttached(), call(30.0)) == Attachments(())
    assert len(site.server._greeted[VM_1]) == 1
    site.close()


def test_what_a_machine_says_of_its_boot_is_cut_to_what_is_kept(tmp_path: Path) -> None:
    seen: list[str] = []
    site = FarSite(tmp_path, Gated(), admit=lambda newcomer, _: seen.append(newcomer.boot_id))
    guest = site.guest(VM_1)
    guest.send(wire.write_request(Hello(1, 3, "x", "y" * 1000), UUID(int=1), 60.0))
    assert guest.receive() is not None
    assert seen == ["y" * 64]
    site.close()


def test_a_hello_that_is_repeated_before_its_answer_is_one(tmp_path: Path) -> None:
    answers, looked = threading.Event(), []

    def slow(proof: Proof, hello: Hello) -> Caller:
        looked.append(hello)
        answers.wait(60.0)
        return identify(proof, hello)

    site = FarSite(tmp_path, Gated(), identify=slow)
    guest, hello = site.guest(VM_1), wire.write_request(Hello(1, 3, "x", "y"), UUID(int=1), 60.0)
    guest.send(hello + hello)
    assert until(lambda: len(looked) == 1)
    answers.set()
    frame = guest.receive()
    assert frame is not None
    assert frame.type == wire.ANSWER
    guest.send_request(ListAttached())
    frame = guest.receive()
    assert frame is not None
    assert frame.type == wire.ANSWER
    assert len(looked) == 1
    site.close()
