"""The admin socket is always there: without any other machine, and with a database that cannot be used."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from vmdkvol.addresses import UnixAddress
from vmdkvol.admin_messages import EnrollVm, ListVms, RevokeVm, Standing
from vmdkvol.audit_messages import QueryAudit
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import Conflict, MetadataDamaged, NotPermitted, VolumeError
from vmdkvol.line import Line
from vmdkvol.messages import Call, ListVolumes, Request
from vmdkvol.names import DatastoreName
from vmdkvol.orders import Actor, Role
from vmdkvol.volume import VmId
from vmdkvol_esx.composing import compose
from vmdkvol_esx.settings import DatastoreSetting, HostSetting, ServiceSettings

pytestmark = pytest.mark.integration
CLOCK = SystemClock()
HOST = VmId(UUID(int=0xA))


@pytest.fixture
def settings() -> Iterator[ServiceSettings]:
    """A service for the hosts of one machine: nobody listens on a network."""
    with tempfile.TemporaryDirectory(prefix="vmdkvol-adm-") as folder:
        root = Path(folder)
        (root / "ds1").mkdir()
        yield ServiceSettings(
            str(root / "state"),
            (DatastoreSetting(DatastoreName("ds1"), str(root / "ds1")),),
            hosts=(HostSetting("docker1", HOST, str(root / "a.sock")),),
            admin_socket=str(root / "admin.sock"),
            trash_retention_s=0.0,
        )


@contextmanager
def asking(settings: ServiceSettings, socket: str = "") -> Iterator[Any]:
    """Run the service; yield what asks it at its admin socket, or at another one."""
    service = compose(settings).start()
    line = Line(UnixAddress(Path(socket or settings.admin_socket)), CLOCK, agent="test", boot_id="test").start()

    def ask(request: Request[Any], call: UUID | None = None) -> Any:
        return line.ask(request, Call(call or uuid4(), Deadline.after(CLOCK, 20.0)))

    try:
        yield ask
    finally:
        line.close()
        service.stop()


def test_it_is_there_without_any_other_machine(settings: ServiceSettings) -> None:
    with asking(settings) as ask:
        assert [(each.vm, each.standing) for each in ask(ListVms()).vms] == [(HOST, Standing.REGISTERED)]
        with pytest.raises(Conflict, match="set `listen`"):
            ask(EnrollVm("docker1"))


def test_the_role_is_looked_at_by_the_core_whatever_the_api_does(settings: ServiceSettings) -> None:
    viewer = Actor("ann", Role.VIEWER, "192.0.2.7")
    with asking(settings) as ask:
        with pytest.raises(NotPermitted):
            ask(RevokeVm("docker1", by=viewer))
        assert [(each.actor, each.result) for each in ask(QueryAudit(actor="ann")).entries] == [("ann", "not-permitted")]


def test_an_order_is_a_repeat_for_the_next_process_too(settings: ServiceSettings) -> None:
    settings, call = replace(settings, listen=("tcp://127.0.0.1:0",)), uuid4()
    with asking(settings) as ask:
        first = ask(RevokeVm("docker1"), call) if ask(EnrollVm("docker1")).done else None
    with asking(settings) as ask:
        assert ask(RevokeVm("docker1"), call) == first
        assert [each.verb for each in ask(QueryAudit(verb="revoke-vm")).entries] == ["revoke-vm"]


def test_a_damaged_database_is_told_to_administrators_too(settings: ServiceSettings) -> None:
    with asking(settings):
        pass
    Path(settings.database).write_bytes(b"no database" * 1000)
    with asking(settings) as ask:
        for request in (ListVms(), RevokeVm("docker1"), QueryAudit()):
            with pytest.raises(MetadataDamaged, match="rebuild"):
                ask(request)


def test_what_a_guest_asks_is_not_answered_there_nor_the_other_way_round(settings: ServiceSettings) -> None:
    with asking(settings) as ask, pytest.raises(VolumeError):
        ask(ListVolumes())
    socket = settings.hosts[0].socket
    assert socket is not None
    with asking(settings, socket) as ask, pytest.raises(VolumeError):
        ask(ListVms())
