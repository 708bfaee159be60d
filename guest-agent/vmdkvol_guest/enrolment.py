"""Enrolment put together: the command's and the running agent's."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TypeVar
from uuid import uuid4

from vmdkvol import logs
from vmdkvol.addresses import UnixAddress, parse_address
from vmdkvol.clock import Clock, Deadline, SystemClock
from vmdkvol.dialing import ask_once
from vmdkvol.errors import BadRequest, Busy
from vmdkvol.messages import Authority, Enroll, Enrolled, Introduce, Service
from vmdkvol.tls import StrangerSide
from vmdkvol_guest.enrolling import Invited, Renewing, enroll
from vmdkvol_guest.linux.commands import Commands
from vmdkvol_guest.linux.credentials import CredentialFiles
from vmdkvol_guest.linux.guestinfo import forget_token, read_token
from vmdkvol_guest.settings import AgentSettings

A = TypeVar("A")

# A person waits; the service asks the hypervisor who the machine is.
_ASK_S = 45.0
_BUSY_S, _PAUSE_S = 60.0, 1.0


def enroll_by(settings: AgentSettings, token: str) -> Enrolled:
    """Make this machine the one that the token is for. Raises as ``enrolling.enroll``, BadRequest on a Unix socket."""
    address, clock = parse_address(settings.service), SystemClock()
    if isinstance(address, UnixAddress):
        raise BadRequest(
            f"at {address} the socket is this machine's identity: there is nothing to enrol",
            remedy='set service = "tcp://HOST:1019" or "vsock://2:1019" in the agent\'s settings first',
        )

    deadline = Deadline.after(clock, _BUSY_S)

    def introduce() -> Authority:
        return _patiently(clock, deadline, lambda: ask_once(address, Introduce(), clock, _ASK_S, StrangerSide(None)))

    def ask(request: Enroll, authority: str) -> Enrolled:
        return _patiently(clock, deadline, lambda: ask_once(address, request, clock, _ASK_S, StrangerSide(authority)))

    return enroll(token, credentials(settings, Commands(clock)), introduce, ask)


def _patiently(clock: Clock, deadline: Deadline, ask: Callable[[], A]) -> A:
    """Return the answer; ask again while the service is busy: strangers have few places, and many may enrol at once."""
    while True:
        try:
            return ask()
        except Busy:
            if deadline.passed:
                raise
        clock.sleep(_PAUSE_S * random.uniform(0.5, 1.5))


def credentials(settings: AgentSettings, commands: Commands) -> CredentialFiles:
    return CredentialFiles(settings.identity_file, settings.authority_file, commands)


def renewing(settings: AgentSettings, service: Service, commands: Commands, clock: Clock) -> Renewing | None:
    """Return what keeps this machine's certificate from ending, not started; None at a Unix socket, where there is none."""
    if not settings.remote:
        return None
    invited = Invited(partial(read_token, commands), partial(enroll_by, settings), partial(forget_token, commands))
    trusted = settings.authority_file.read_text
    return Renewing(credentials(settings, commands), service, clock, logs.get("identity"), uuid4, trusted, invited)
