"""What administrators ask, put together: the nouns' rows on one desk, behind the admin socket. Composition."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from vmdkvol import logs
from vmdkvol.addresses import UnixAddress
from vmdkvol.admin_requests import ADMIN_REQUESTS, NOUNS, OWN
from vmdkvol.channel import Listen
from vmdkvol.clock import Clock
from vmdkvol.messages import Call, Request
from vmdkvol.volume import VmId
from vmdkvol_esx.desk import Desk, Handle, identify
from vmdkvol_esx.enrolling import Ours
from vmdkvol_esx.enrolments import Enrolments
from vmdkvol_esx.identities import Signing
from vmdkvol_esx.meaning import Meaning
from vmdkvol_esx.ports import Audit, Hypervisor
from vmdkvol_esx.server import Server
from vmdkvol_esx.settings import ServiceSettings
from vmdkvol_esx.store import SqlStore

Answer = Callable[[Request[Any], Call], Any]


def open_desk(
    rows: Mapping[type[Request[Any]], Handle],
    store: SqlStore,
    hypervisor: Hypervisor,
    enrolments: Enrolments,
    clock: Clock,
    audit: Audit,
) -> Desk:
    """Return the desk that answers every message of an administrator by its row, those of ``enrolments`` too."""
    rows = {**enrolments.rows(), **rows}
    assert rows.keys() == {*NOUNS, *OWN}, "each message has its row"
    meaning = Meaning(store, hypervisor.machines, enrolments.meant, uuid4)
    return Desk(rows, store, audit, clock, logs.get("desk"), meaning)


def make_enrolments(
    settings: ServiceSettings,
    store: SqlStore,
    hypervisor: Hypervisor,
    ours: Ours,
    clock: Clock,
    *,
    authority: Signing | None,
    connected: Callable[[VmId], bool],
    ended: Callable[[VmId], None],
    give: Callable[[VmId, str], None] | None,
) -> Enrolments:
    """See ``Enrolments``."""
    registered = frozenset(host.id for host in settings.hosts if host.socket is not None)
    log = logs.get("enrolment")
    return Enrolments(store, authority, hypervisor, ours, registered, clock, log, secrets.token_bytes, connected, ended, give)


def admin_server(settings: ServiceSettings, answer: Answer, clock: Clock, service: str, listen: Listen) -> Server:
    """Return what serves the admin socket, apart from the guests: a flood of theirs does not keep an administrator out."""
    return Server(
        {UnixAddress(Path(settings.admin_socket)): None},
        answer,
        identify,
        clock,
        service=service,
        listen=listen,
        requests=ADMIN_REQUESTS,
    )
