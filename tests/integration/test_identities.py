"""Identities end to end in one process: the composed service at a real port, openssl for keys, TLS in between."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.daemons.site import eventually
from tests.doubles.hand_clock import HandClock
from tests.integration.identity_site import CLOCK, DAY_S, A, B, Folder, Site, ask, at_another_time
from tests.unit.esx.site import Kept
from vmdkvol.admin_messages import ListVms, RevokeVm, Standing
from vmdkvol.dialing import ask_once
from vmdkvol.errors import (
    BadFrame,
    Busy,
    MetadataDamaged,
    NotEnrolled,
    ServiceUnreachable,
    TruthUnknown,
    UnknownCaller,
    VolumeError,
)
from vmdkvol.line import Line
from vmdkvol.messages import Attachments, Enroll, Enrolled, Introduce, ListAttached, Renew
from vmdkvol.tls import StrangerSide
from vmdkvol.tokens import Token
from vmdkvol.volume import VmId
from vmdkvol_esx.authority import CertificateAuthority
from vmdkvol_esx.composing import Around, compose
from vmdkvol_esx.crew import WORKERS, Kind
from vmdkvol_esx.identities import Identity, fingerprint
from vmdkvol_esx.ports import Hypervisor, Vm
from vmdkvol_esx.store import identities
from vmdkvol_esx.store.schema import checked_row
from vmdkvol_guest.enrolling import Renewing, enroll

pytestmark = pytest.mark.integration

BEGIN = "-----BEGIN CERTIFICATE-----"


def refusal(line: Line) -> VolumeError:
    """Return what the line is down for, once that is not just that it was not up yet."""
    eventually(lambda: not isinstance(line.trouble, ServiceUnreachable | Busy), f"the line is refused: {line.trouble}")
    return line.trouble


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "a")


# --- who somebody is -----------------------------------------------------------------------------------------------


def test_a_machine_is_who_its_token_says(site: Site, folder: Folder) -> None:
    site.enrol(folder)
    line = site.line(folder)
    assert ask(line, ListAttached()) == Attachments(())
    assert line.welcome is not None
    assert (line.welcome.vm, line.welcome.vm_name) == (A, "a")
    found = {each.vm: each for each in ask(site.admin(), ListVms()).vms}
    assert (found[A].standing, found[A].connected, found[B].standing) == (Standing.ENROLLED, True, Standing.NONE)


def test_one_that_the_authority_signed_and_that_is_not_on_record_is_nobody(site: Site, folder: Folder) -> None:
    """It names another machine, which is enrolled: what counts is the record."""
    other = Folder(site.root / "b")
    site.enrol(other, B)
    folder.put(site.authority, B)
    assert "not on record" in str(refusal(site.line(folder)))
    assert ask(site.line(other), ListAttached()) == Attachments(())


@pytest.mark.parametrize(("days", "why"), [(-95, "certificate expired"), (5, "bad certificate")])
def test_a_certificate_that_is_over_or_not_yet_is_refused_at_the_handshake(
    site: Site, folder: Folder, days: float, why: str
) -> None:
    folder.put(site.authority, A, at=days * DAY_S)
    error = refusal(site.line(folder))
    assert isinstance(error, NotEnrolled)
    assert why in str(error)


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_is_a_day_off_harms_nobody(site: Site, folder: Folder, days: float) -> None:
    pem = folder.put(site.authority, A, at=days * DAY_S)
    on_record(site, A, pem, CLOCK.wall() + 80 * DAY_S)
    assert ask(site.line(folder), ListAttached()) == Attachments(())


def test_another_sites_certificate_is_refused_and_another_sites_service_hears_nothing(
    site: Site, folder: Folder, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Site(tmp_path / "other")
    try:
        with pytest.raises(UnknownCaller, match="not the service that made this token"):
            folder.enroll(site.address, other.token())
        (invited,) = (each for each in ask(other.admin(), ListVms()).vms if each.vm == A)
        assert (invited.standing, folder.identity.exists()) == (Standing.INVITED, False)
        other.enrol(folder)
        assert "not this site's service" in str(refusal(site.line(folder)))
        folder.ca.write_text(site.authority.ca_pem)
        assert isinstance(refusal(site.line(folder)), NotEnrolled)
    finally:
        other.close()


def test_a_certificate_whose_key_is_another_machines_is_no_identity(site: Site, folder: Folder) -> None:
    other = Folder(site.root / "b")
    site.enrol(folder)
    site.enrol(other, B)
    (theirs, _, _), (_, begin, certificate) = (each.identity.read_text().partition(BEGIN) for each in (other, folder))
    folder.identity.write_text(theirs + begin + certificate)
    assert "cannot be used" in str(refusal(site.line(folder)))


def on_record(site: Site, vm: VmId, pem: str, not_after: float) -> str:
    """Enrol what was signed elsewhere; return its fingerprint."""
    found = x509.load_pem_x509_certificate(pem.encode())
    assert site.service.store is not None
    token = site.token(vm)
    identity = Identity(
        fingerprint(found.public_bytes(serialization.Encoding.DER)), vm, "a", CLOCK.wall(), not_after, "request", pem
    )
    assert site.service.store.enrol(identity, Token.parse(token).hash)
    return identity.fingerprint


# --- an end to it ----------------------------------------------------------------------------------------------------


def test_who_is_revoked_while_connected_is_closed_and_others_go_on(site: Site, folder: Folder) -> None:
    other = Folder(site.root / "b")
    site.enrol(folder)
    site.enrol(other, B)
    mine, others = site.line(folder), site.line(other)
    ask(mine, ListAttached())
    ask(others, ListAttached())
    ask(site.admin(), RevokeVm("a"))
    eventually(lambda: "revoked" in str(mine.trouble) and not mine.up, "the revoked one is closed")
    assert others.up
    with pytest.raises(NotEnrolled):
        ask(mine, ListAttached())


def test_a_connection_is_closed_when_its_certificate_ends(site: Site, folder: Folder) -> None:
    # Far enough for a busy machine to connect before.
    ends = CLOCK.wall() + 6.0
    on_record(site, A, folder.put(site.authority, A), ends)
    line = site.line(folder)
    ask(line, ListAttached())
    assert site.service.registry is not None
    site.service.registry.expiring.look()
    assert line.up
    CLOCK.sleep(ends + 0.1 - CLOCK.wall())
    site.service.registry.expiring.look()
    eventually(lambda: "is over" in str(line.trouble) and not line.up, "it is closed, and told why")


# --- renewal -------------------------------------------------------------------------------------------------------


def renewing(folder: Folder, line: Line, clock: HandClock) -> Renewing:
    return Renewing(folder.files, line, clock, Kept(), uuid4, folder.ca.read_text)


def test_an_agent_renews_without_a_restart_and_both_certificates_count_meanwhile(site: Site, folder: Folder) -> None:
    site.enrol(folder)
    old = folder.identity.read_bytes()
    line = site.line(folder)
    ask(line, ListAttached())
    assert site.service.store is not None
    _age(site, A)
    later = HandClock(wall=CLOCK.wall() + 61 * DAY_S)
    assert renewing(folder, line, later).look()
    new = folder.identity.read_bytes()
    assert new != old
    assert line.up
    assert ask(site.line(folder), ListAttached()) == Attachments(())
    before = Folder(site.root / "before")
    before.identity.parent.mkdir(parents=True)
    before.identity.write_bytes(old)
    before.ca.write_bytes(folder.ca.read_bytes())
    assert ask(site.line(before), ListAttached()) == Attachments(())
    assert not renewing(folder, line, HandClock(wall=CLOCK.wall())).look()


def test_a_renewal_whose_answer_was_lost_is_asked_for_again_and_gets_the_same(site: Site, folder: Folder) -> None:
    site.enrol(folder)
    line = site.line(folder)
    _age(site, A)
    with folder.files.alone():
        lost = ask(line, Renew(folder.files.request()))
    assert renewing(folder, line, HandClock(wall=CLOCK.wall() + 61 * DAY_S)).look()
    assert folder.identity.read_text().endswith(lost.certificate_pem)


@pytest.mark.parametrize("days", [30, -95], ids=["ahead", "behind"])
def test_a_renewal_by_a_service_whose_clock_is_wrong_is_not_installed_and_the_next_one_is(
    site: Site, folder: Folder, days: int
) -> None:
    """Nobody takes such a certificate, and the one that it would take the place of is good for weeks yet."""
    site.enrol(folder)
    old, line = folder.identity.read_bytes(), site.line(folder)
    wrong = at_another_time(site.authority, days * DAY_S)

    with pytest.raises(BadFrame, match="which is not now; set the clocks"), folder.files.alone():
        folder.files.install(wrong.sign(folder.files.request(), A).certificate_pem, wrong.ca_pem)
    assert folder.identity.read_bytes() == old
    ask(line, ListAttached())
    _age(site, A)
    assert renewing(folder, line, HandClock(wall=CLOCK.wall() + 61 * DAY_S)).look()
    assert ask(site.line(folder), ListAttached()) == Attachments(())


def _age(site: Site, vm: VmId) -> None:
    """Make what is on record of ``vm`` old enough for another certificate."""
    store = site.service.store
    assert store is not None
    with store._database.writing() as transaction:
        for each in identities.identities(transaction, vm):
            row = checked_row(replace(each, issued_at=each.issued_at - 3600.0))
            transaction.change(identities._CHANGE, key=each.fingerprint, **row)


def test_the_service_gets_a_new_certificate_while_it_runs(site: Site, folder: Folder) -> None:
    site.enrol(folder)
    standing = site.line(folder)
    ask(standing, ListAttached())
    authority = site.authority
    authority.service_file.unlink()
    aged = CertificateAuthority(
        authority._directory, authority._certificate, authority._key, HandClock(CLOCK.wall() - 70 * DAY_S)
    )
    aged.renew_service()
    old = authority.service_file.read_bytes()
    assert site.service.registry is not None
    site.service.registry.expiring.look()
    assert authority.service_file.read_bytes() != old
    assert standing.up
    assert ask(site.line(folder), ListAttached()) == Attachments(())


class _SlowAt:
    """A hypervisor that does not say for as long as it likes whether ``slow`` is there."""

    def __init__(self, inner: Hypervisor, slow: VmId, says: threading.Event) -> None:
        self._inner, self._slow, self._says = inner, slow, says

    def vm(self, vm: VmId) -> Vm | None:
        if vm == self._slow:
            assert self._says.wait(60.0)
        return self._inner.vm(vm)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


def test_while_nothing_is_said_of_one_machine_another_one_comes_in(site: Site, folder: Folder) -> None:
    other, says = Folder(site.root / "b"), threading.Event()
    site.enrol(folder)
    site.enrol(other, B)
    site.close()
    site.lines.clear()
    around = partial(_SlowAt, slow=A, says=says)
    site.service = compose(site.settings, around=cast(Around, around)).start()
    for _ in range(2 * WORKERS[Kind.READ]):
        site.line(folder)
    try:
        assert ask(site.line(other), ListAttached(), 30.0) == Attachments(())
        assert not site.service.server.connected(A)
    finally:
        says.set()


# --- what a crash leaves -------------------------------------------------------------------------------------------


def test_an_enrolment_that_was_cut_at_any_step_ends_with_the_same_token(site: Site, folder: Folder) -> None:
    """Killed after the answer came, before or between the files: the token, the request and so the certificate are the same."""
    token = site.token()
    introduce = partial(ask_once, site.address, Introduce(), CLOCK, 20.0, StrangerSide(None))
    answers = []

    def cut(request: Enroll, ca_pem: str) -> Enrolled:
        answers.append(folder._ask(site.address, request, ca_pem))
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            enroll(token, folder.files, introduce, cut)
    assert answers[0] == answers[1]
    assert not folder.identity.exists()
    assert folder.enroll(site.address, token) == A
    assert folder.identity.read_text().endswith(answers[0].certificate_pem)
    assert sorted(each.name for each in folder.identity.parent.iterdir()) == ["agent.pem", "ca.pem", "lock", "openssl.cnf"]


def test_a_key_that_was_installed_is_not_asked_for_again(site: Site, folder: Folder) -> None:
    """Killed before what was pending was removed: the same request would bring the same certificate for ever."""
    with folder.files.alone():
        request = folder.files.request()
        pending = {each: each.read_bytes() for each in folder.identity.parent.glob("pending.*")}
        folder.files.install(site.authority.sign(request, A).certificate_pem, site.authority.ca_pem)
        for file, content in pending.items():
            file.write_bytes(content)
        assert folder.files.request() != request


@pytest.mark.parametrize("name", ["pending.key", "pending.csr"])
@pytest.mark.parametrize("kept", [0, 100])
def test_what_a_full_disk_left_of_a_request_is_made_anew(site: Site, folder: Folder, name: str, kept: int) -> None:
    """openssl ends with 0 on a full disk: half a request would be refused for ever, at each enrolment and renewal."""
    with folder.files.alone():
        folder.files.request()
    cut = folder.identity.with_name(name)
    cut.write_bytes(cut.read_bytes()[:kept])
    site.enrol(folder)
    assert ask(site.line(folder), ListAttached()) == Attachments(())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_what_the_system_refuses_names_the_folder_and_what_to_do(folder: Folder, number: int) -> None:
    with pytest.raises(VolumeError, match=f"{folder.identity.parent} cannot be changed.*state_dir"), folder.files.alone():
        raise OSError(number, os.strerror(number))


def test_a_certificate_of_another_key_is_not_installed(site: Site, folder: Folder) -> None:
    site.enrol(folder)
    before = folder.identity.read_bytes()
    other = Folder(site.root / "other")
    with other.files.alone(), folder.files.alone():
        foreign = site.authority.sign(other.files.request(), A).certificate_pem
        folder.files.request()
        for wrong in (foreign, "no certificate", ""):
            with pytest.raises((BadFrame, TruthUnknown)):
                folder.files.install(wrong, "no authority")
    assert folder.identity.read_bytes() == before
    assert ask(site.line(folder), ListAttached()) == Attachments(())


def test_two_processes_do_not_change_an_identity_at_once(folder: Folder) -> None:
    with folder.files.alone(), pytest.raises(Busy), Folder(folder.identity.parents[1]).files.alone():
        raise AssertionError("both have it")


# --- a service that is not whole ---------------------------------------------------------------------------------------


def test_with_a_damaged_database_a_machine_is_told_that_over_tls_too(site: Site, folder: Folder) -> None:
    site.enrol(folder)

    def damage() -> None:
        for file in (site.root / "state").glob("vmdkvol.db*"):
            file.write_bytes(b"no database" * 1000)

    token = site.token(B)
    site.restart(damage)
    assert isinstance(refusal(site.line(folder)), MetadataDamaged)
    with pytest.raises(MetadataDamaged, match="vmdkvol-esxd rebuild"):
        Folder(site.root / "b").enroll(site.address, token)


def test_a_token_is_taken_once_by_many_who_come_at_once(site: Site) -> None:
    token = site.token()
    folders = [Folder(site.root / f"many-{number}") for number in range(6)]
    outcomes: list[VmId | str] = []

    def come(folder: Folder) -> None:
        try:
            outcomes.append(folder.enroll(site.address, token))
        except Busy:
            # Strangers of one source have few places; the command asks again too.
            time.sleep(0.2)
            come(folder)
        except VolumeError as error:
            outcomes.append(error.code)

    comers = [threading.Thread(target=come, args=[folder]) for folder in folders]
    for comer in comers:
        comer.start()
    for comer in comers:
        comer.join(60)
    assert sorted(map(str, outcomes)) == sorted([str(A), *["not-permitted"] * 5])
