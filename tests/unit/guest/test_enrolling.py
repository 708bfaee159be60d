"""A machine becomes who it is by a token, says its secret to nobody else, and renews its certificate before it is over."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from tests.doubles.channel_ends import until
from tests.doubles.hand_clock import HandClock
from tests.unit.esx.site import Kept
from vmdkvol.clock import Condition, Deadline, SystemClock
from vmdkvol.errors import BadFrame, BadRequest, Busy, MissingTool, NotPermitted, ServiceUnreachable, UnknownCaller, VolumeError
from vmdkvol.messages import Authority, Call, Enroll, Enrolled, Renew, Request
from vmdkvol.notices import Notice
from vmdkvol.tokens import Token, certificate_pem, pin_of
from vmdkvol.volume import VmId
from vmdkvol_guest.enrolling import INVITED_S, LOOK_S, Invited, Renewing, enroll
from vmdkvol_guest.ports import Validity

VM = VmId(UUID(int=1))
DAY_S = 86400.0
CA, OTHER_CA = certificate_pem(b"the authority"), certificate_pem(b"somebody else")
TOKEN = Token(bytes(range(32)), pin_of(b"the authority"))


@dataclass(slots=True)
class Files:
    """Credentials in memory."""

    installed: list[tuple[str, str]] = field(default_factory=list)
    lasts: Validity | None = None
    held: bool = False
    error: VolumeError | None = None
    unreadable: VolumeError | None = None
    pending: int = 1

    @contextmanager
    def alone(self) -> Iterator[None]:
        if self.held:
            raise Busy("another process")
        self.held = True
        try:
            yield
        finally:
            self.held = False

    def exist(self) -> bool:
        return self.lasts is not None

    def validity(self) -> Validity | None:
        if self.unreadable is not None:
            raise self.unreadable
        return self.lasts

    def request(self) -> str:
        assert self.held
        return f"csr {self.pending}"

    def install(self, certificate_pem: str, ca_pem: str) -> None:
        assert self.held
        if self.error is not None:
            raise self.error
        self.installed.append((certificate_pem, ca_pem))
        self.pending += 1


@dataclass(slots=True)
class Site:
    """What answers at the service's address: who it says to be, and who it can prove to be."""

    ca_pem: str = CA
    asked: list[tuple[Enroll, str]] = field(default_factory=list)
    error: VolumeError | None = None

    def introduce(self) -> Authority:
        return Authority(self.ca_pem)

    def ask(self, request: Enroll, authority: str) -> Enrolled:
        self.asked.append((request, authority))
        if self.error is not None:
            raise self.error
        return Enrolled("certificate", self.ca_pem, VM, "host")


def enrolled(files: Files, site: Site, text: str = TOKEN.text) -> Enrolled:
    return enroll(text, files, site.introduce, site.ask)


def test_a_token_makes_the_machine_who_it_is() -> None:
    files, site = Files(), Site()
    assert enrolled(files, site).vm_name == "host"
    assert files.installed == [("certificate", CA)]
    assert site.asked == [(Enroll(TOKEN.text, "csr 1"), CA)]


def test_the_secret_is_said_to_nobody_but_the_service_of_the_token() -> None:
    files, site = Files(), Site(ca_pem=OTHER_CA)
    with pytest.raises(UnknownCaller):
        enrolled(files, site)
    assert (site.asked, files.installed) == ([], [])


@pytest.mark.parametrize(
    "ca_pem",
    [
        pytest.param("", id="nothing"),
        pytest.param("hello", id="no-pem"),
        pytest.param(CA + OTHER_CA, id="somebody-elses-behind-it"),
        pytest.param(OTHER_CA + CA, id="somebody-elses-before-it"),
        pytest.param(CA.replace("CERTIFICATE", "TRUSTED CERTIFICATE"), id="another-kind"),
        pytest.param(CA[:-20], id="half"),
        pytest.param(CA + "and more", id="text-behind-it"),
    ],
)
def test_what_is_not_just_the_one_certificate_is_not_trusted(ca_pem: str) -> None:
    """A second one in the same file would be trusted as well, whatever the first one's pin says."""
    files, site = Files(), Site(ca_pem=ca_pem)
    with pytest.raises((BadFrame, UnknownCaller)):
        enrolled(files, site)
    assert (site.asked, files.installed) == ([], [])


def test_what_is_no_token_is_asked_of_nobody() -> None:
    def introduce() -> Authority:
        raise AssertionError("nobody is asked")

    with pytest.raises(BadRequest):
        enroll("vmdkvol1.x.y", Files(), introduce, Site().ask)


@pytest.mark.parametrize("error", [NotPermitted("used already"), ServiceUnreachable("no answer")])
def test_what_the_service_refuses_changes_nothing_and_the_same_request_is_asked_again(error: VolumeError) -> None:
    files, site = Files(), Site(error=error)
    with pytest.raises(type(error)):
        enrolled(files, site)
    assert files.installed == []
    site.error = None
    enrolled(files, site)
    assert [request.csr_pem for request, _ in site.asked] == ["csr 1", "csr 1"]


def test_two_at_a_time_are_not_enrolled() -> None:
    with pytest.raises(Busy):
        enrolled(Files(held=True), Site())


# --- renewal -----------------------------------------------------------------------------------------------------


class Answering:
    """A service that renews, or does not."""

    def __init__(self, answer: Callable[[], Enrolled]) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def ask(self, request: Request[Any], call: Call) -> Any:
        assert isinstance(request, Renew)
        self.asked.append(request.csr_pem)
        return self.answer()

    def subscribe(self, listener: Callable[[Notice], None]) -> None: ...


def certificate() -> Enrolled:
    return Enrolled("new certificate", OTHER_CA, VM, "host")


def renewing(files: Files, service: Answering, clock: HandClock, log: Kept | None = None) -> Renewing:
    return Renewing(files, service, clock, log or Kept(), uuid4, lambda: CA)


def valid(clock: HandClock, left_days: float) -> Validity:
    end = clock.wall() + left_days * DAY_S
    return Validity(end - 90 * DAY_S, end)


@pytest.mark.parametrize(("left_days", "renews"), [(89, False), (31, False), (29, True), (1, True), (-1, True)])
def test_it_is_renewed_when_a_third_is_left(left_days: float, renews: bool) -> None:
    clock, service = HandClock(wall=1e9), Answering(certificate)
    files = Files(lasts=valid(clock, left_days))
    assert renewing(files, service, clock).look() is renews
    assert bool(service.asked) is renews


def test_the_authority_that_is_trusted_stays_whatever_the_answer_says() -> None:
    clock = HandClock(wall=1e9)
    files = Files(lasts=valid(clock, 1))
    renewing(files, Answering(certificate), clock).look()
    assert files.installed == [("new certificate", CA)]


def test_who_is_not_enrolled_renews_nothing() -> None:
    service = Answering(certificate)
    assert not renewing(Files(), service, HandClock()).look()
    assert service.asked == []


def test_what_does_not_work_is_told_once_and_tried_again_with_the_same_request() -> None:
    def refuse() -> Enrolled:
        raise Busy("got one a moment ago")

    clock, log, service = HandClock(wall=1e9), Kept(), Answering(refuse)
    files = Files(lasts=valid(clock, 1))
    looks = renewing(files, service, clock, log)
    assert not any(looks.look() for _ in range(3))
    assert service.asked == ["csr 1"] * 3
    assert [line.event for line in log.lines] == ["no new certificate"]
    service.answer = certificate
    assert looks.look()
    assert not files.held


def test_a_certificate_of_another_key_is_not_installed() -> None:
    clock, log = HandClock(wall=1e9), Kept()
    files = Files(lasts=valid(clock, 1), error=BadFrame("another key"))
    assert not renewing(files, Answering(certificate), clock, log).look()
    assert "another key" in str(log.lines[0].fields["error"])


# --- a token that lies in the virtual machine -------------------------------------------------------------------------


@dataclass(slots=True)
class Letter:
    """What the machine's configuration holds, and what comes of it."""

    token: str | None = "token"
    error: VolumeError | None = None
    joined: list[str] = field(default_factory=list)
    forgotten: int = 0

    def join(self, token: str) -> Enrolled:
        self.joined.append(token)
        if self.error is not None:
            raise self.error
        return certificate()

    def forget(self) -> None:
        self.forgotten += 1

    def looks(self, files: Files, log: Kept | None = None) -> Renewing:
        invited = Invited(lambda: self.token, self.join, self.forget)
        clock = HandClock(wall=1e9)
        return Renewing(files, Answering(certificate), clock, log or Kept(), uuid4, lambda: CA, invited)


def test_a_machine_without_identity_takes_the_token_that_lies_there_and_it_is_forgotten() -> None:
    letter = Letter()
    assert letter.looks(Files()).look()
    assert (letter.joined, letter.forgotten) == (["token"], 1)


def test_a_machine_that_has_an_identity_does_not_look_for_a_token() -> None:
    letter = Letter()
    assert not letter.looks(Files(lasts=valid(HandClock(wall=1e9), 89))).look()
    assert letter.joined == []


def test_where_no_token_lies_nothing_is_asked() -> None:
    letter = Letter(token=None)
    assert not letter.looks(Files()).look()
    assert letter.joined == []


@pytest.mark.parametrize("error", [NotPermitted("used already"), BadRequest("no token")])
def test_a_token_that_is_refused_is_tried_once_and_the_next_one_anew(error: VolumeError) -> None:
    letter, log = Letter(error=error), Kept()
    looks = letter.looks(Files(), log)
    assert not any(looks.look() for _ in range(3))
    assert letter.joined == ["token"]
    letter.token, letter.error = "another", None
    assert looks.look()
    assert [line.event for line in log.lines] == ["no new certificate", "enrolled by guestinfo"]


@pytest.mark.parametrize("error", [ServiceUnreachable("no answer"), UnknownCaller("certificate is not yet valid")])
def test_while_the_service_is_away_or_a_clock_is_wrong_the_token_is_tried_again(error: VolumeError) -> None:
    letter = Letter(error=error)
    looks = letter.looks(Files())
    assert not any(looks.look() for _ in range(3))
    letter.error = None
    assert looks.look()
    assert letter.joined == ["token"] * 4


def test_no_log_line_has_the_token() -> None:
    letter, log = Letter(token="vmdkvol1.secret.pin", error=NotPermitted("used already")), Kept()
    letter.looks(Files(), log).look()
    assert "secret" not in repr(log.lines)


def test_an_identity_that_cannot_be_read_is_no_bug_and_told_once() -> None:
    log, clock = Kept(), HandClock(wall=1e9)
    files = Files(lasts=valid(clock, 89), unreadable=MissingTool("openssl is not installed"))
    looks = renewing(files, Answering(certificate), clock, log)
    looks.start()
    assert until(lambda: bool(log.lines))
    looks.stop(Deadline.after(clock, 10.0))
    assert [(line.level, line.event) for line in log.lines] == [("warning", "no new certificate")]


class _Hurrying(HandClock):
    """What waits for a time to pass hears at once that it has."""

    def condition(self) -> Condition:
        clock, inner = self, super().condition()

        class Passing:
            __enter__, __exit__, notify_all = inner.__enter__, inner.__exit__, inner.notify_all

            def wait(self, timeout: float | None = None) -> bool:
                clock.pass_time(timeout or 0.0)
                return inner.wait(0.001)

        return cast(Condition, Passing())


@pytest.mark.parametrize(("enrolled", "pause_s"), [(True, LOOK_S), (False, INVITED_S)])
def test_a_bug_in_one_look_is_told_and_the_next_look_comes(enrolled: bool, pause_s: float) -> None:
    clock, log = _Hurrying(wall=1e9), Kept()
    looked: list[float] = []

    class Failing(Files):
        def validity(self) -> Validity | None:
            looked.append(clock.monotonic())
            if len(looked) == 1:
                raise ZeroDivisionError("a bug")
            return self.lasts

    looks = renewing(Failing(lasts=valid(clock, 89) if enrolled else None), Answering(certificate), clock, log)
    looks.start()
    assert until(lambda: len(looked) > 2, 30.0)
    looks.stop(Deadline.after(SystemClock(), 30.0))
    (told,) = log.lines
    assert (told.level, told.fields["error"]) == ("error", "ZeroDivisionError: a bug")
    # After a bug there is no hurry.
    assert [looked[1] - looked[0], looked[2] - looked[1]] == pytest.approx([LOOK_S, pause_s])


def test_it_ends_when_it_is_told_to() -> None:
    clock = HandClock(wall=1e9)
    looks = renewing(Files(), Answering(certificate), clock)
    looks.start()
    looks.stop(Deadline.after(clock, 10.0))
    assert looks._worker is not None
    assert not looks._worker.is_alive()


def test_a_certificates_pem_comes_back_as_its_bytes() -> None:
    der = bytes(range(256)) * 3
    lines = certificate_pem(der).splitlines()
    assert base64.b64decode("".join(lines[1:-1])) == der
    assert max(map(len, lines)) == 64
