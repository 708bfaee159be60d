"""The service as a process: kill -9, SIGTERM, two of them, a damaged database. A guest without an agent asks it."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pytest

from tests.daemons.site import Site
from vmdkvol.channel import UnixAddress
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import MetadataDamaged, ServiceUnreachable, TruthUnknown, VolumeError, VolumeInUse
from vmdkvol.line import Line
from vmdkvol.messages import Attach, Call, CreateVolume, Detach, GetVolume, ListAttached, ListVolumes, RemoveVolume, Request
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import State, VmgroupId
from vmdkvol_esx import sidecar
from vmdkvol_esx.store import open_store
from vmdkvol_esx.trail import AuditFilter

pytestmark = pytest.mark.integration
A = TypeVar("A")
DB = VolumeRef.parse("db")
OPTIONS = CreateOptions.parse({"size": "8mb"})
# What a rebuild says of the audit where there is no old database.
ANEW = "audit: begins anew, there was none that could be read"


@pytest.fixture
def site() -> Iterator[Site]:
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-site-"))
    site = Site(root, ("a", "b"))
    yield site
    site.close()
    shutil.rmtree(root)


class Guest:
    """Asks the service as an agent does."""

    def __init__(self, site: Site, host: str, patience_s: float = 20.0) -> None:
        self._clock = SystemClock()
        address = UnixAddress(site.service_socket(host))
        self.line = Line(address, self._clock, agent="a test", boot_id="1", patience_s=patience_s).start()

    def ask(self, request: Request[A], seconds: float = 30.0) -> A:
        return self.line.ask(request, Call(uuid4(), Deadline.after(self._clock, seconds)))


@contextmanager
def guest(site: Site, host: str = "a", patience_s: float = 20.0) -> Iterator[Guest]:
    asking = Guest(site, host, patience_s)
    try:
        yield asking
    finally:
        asking.line.close()


def esxd(site: Site, *command: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "vmdkvol_esx.cli", "--config", str(site.service.config), *command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def damage(site: Site) -> None:
    for file in (site.root / "state" / "service").glob("vmdkvol.db*"):
        if file.name == "vmdkvol.db":
            file.write_bytes(b"no database" * 1000)
        else:
            file.unlink()


def test_volumes_are_there_after_kill_9(site: Site) -> None:
    site.service.start()
    with guest(site) as asking:
        made = asking.ask(CreateVolume(DB, OPTIONS))
        site.service.kill()
        site.service.start()

        assert asking.ask(GetVolume(DB)) == made


def test_an_attached_disk_stays_attached_over_kill_9(site: Site) -> None:
    site.service.start()
    with guest(site) as asking:
        volume = asking.ask(CreateVolume(DB, OPTIONS)).id
        before = asking.ask(Attach(volume))
        site.service.kill()
        site.service.start()

        (after,) = asking.ask(ListAttached()).attachments
        assert (after.address, after.generation) == (before.address, before.generation)
        asking.ask(Detach(volume, after.generation))


def test_the_second_host_is_told_who_has_the_disk(site: Site) -> None:
    site.service.start()
    with guest(site, "a") as first, guest(site, "b") as second:
        volume = first.ask(CreateVolume(DB, OPTIONS)).id
        attachment = first.ask(Attach(volume))

        with pytest.raises(VolumeInUse) as refused:
            second.ask(Attach(volume), 30.0)

        assert "attached to a" in str(refused.value) or "is on a," in str(refused.value)
        first.ask(Detach(volume, attachment.generation))


def test_sigterm_ends_it_with_0_and_takes_its_sockets(site: Site) -> None:
    site.service.start()

    assert site.service.stop() == 0
    assert not list(site.root.glob("*.sock"))


def test_sigterm_lets_a_running_create_end(site: Site) -> None:
    site.service.start()
    with guest(site) as asking:
        thick = CreateOptions.parse({"size": "200mb", "diskformat": "eagerzeroedthick"})
        with pytest.raises(VolumeError):
            asking.ask(CreateVolume(DB, thick), 0.05)
        assert site.service.stop() == 0
        site.service.start()

        assert asking.ask(CreateVolume(DB, thick)).state is State.READY


def test_a_second_service_on_the_same_state_is_refused(site: Site) -> None:
    site.service.start()

    second = esxd(site, "serve")

    assert second.returncode == 5
    assert second.stderr.count("\n") == 1
    assert second.stderr.rstrip().endswith("[conflict]")


def test_only_root_may_open_the_sockets(site: Site) -> None:
    site.service.start()

    for host in ("a", "b"):
        mode = site.service_socket(host).stat().st_mode
        assert (stat.S_IMODE(mode), site.service_socket(host).stat().st_uid) == (0o600, 0)


def test_another_users_process_is_refused_even_with_an_open_socket_file(site: Site) -> None:
    site.service.start()
    site.root.chmod(0o755)
    site.service_socket("a").chmod(0o666)
    ask = (
        "import os, socket; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
        f"s.connect({str(site.service_socket('a'))!r}); s.settimeout(10); print(s.recv(4096))"
    )

    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=30)

    assert "unknown-caller" in done.stdout, done.stdout + done.stderr


def test_a_damaged_database_is_served_read_only_and_says_how_to_rebuild(site: Site) -> None:
    site.service.start()
    with guest(site) as asking:
        asking.ask(CreateVolume(DB, OPTIONS))
        site.service.kill()
        damage(site)
        site.service.start()

        for request in (GetVolume(DB), ListVolumes(), CreateVolume(VolumeRef.parse("new"), OPTIONS)):
            with pytest.raises(MetadataDamaged, match="vmdkvol-esxd rebuild"):
                asking.ask(request)


def test_with_a_damaged_database_a_disk_can_still_be_given_back(site: Site) -> None:
    site.service.start()
    with guest(site) as asking:
        volume = asking.ask(CreateVolume(DB, OPTIONS)).id
        attachment = asking.ask(Attach(volume))
        site.service.kill()
        damage(site)
        site.service.start()

        asking.ask(Detach(volume, attachment.generation))

    assert site.loops() == []


def test_rebuild_brings_back_every_volume_and_keeps_the_damaged_file(site: Site) -> None:
    site.service.start()
    with guest(site) as asking:
        made = asking.ask(CreateVolume(DB, OPTIONS))
        site.service.kill()
        damage(site)

        done = esxd(site, "rebuild", "--yes")

        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("1 volumes restored")
        site.service.start()
        assert asking.ask(GetVolume(DB)).id == made.id
    assert len(list((site.root / "state" / "service").glob("vmdkvol.db.before-rebuild-*"))) == 1


def test_a_rebuild_goes_on_with_the_audit_of_a_database_that_can_be_read_and_stands_in_it_itself(site: Site) -> None:
    site.service.start()
    with guest(site) as asking:
        asking.ask(CreateVolume(DB, OPTIONS))
    site.service.stop()

    done = esxd(site, "rebuild", "--yes")

    assert "audit: 1 records kept, 0 are lost" in done.stdout.splitlines()
    with closing(open_store(site.root / "state" / "service" / "vmdkvol.db", SystemClock())) as store:
        rebuilt, made = store.trail.older(AuditFilter(), None, 10)
    assert (made.record.verb, made.record.target, made.intact) == ("CreateDisk", "db", True)
    assert (rebuilt.record.actor, rebuilt.record.source, rebuilt.record.verb) == ("root", "command line", "rebuild")
    assert rebuilt.record.detail == "1 volumes restored, 0 left out; audit: 1 records kept, 0 are lost"


def test_a_rebuild_tells_first_what_would_come_back_and_asks(site: Site) -> None:
    site.service.start()
    with guest(site) as asking:
        asking.ask(CreateVolume(DB, OPTIONS))
    site.service.stop()
    state = site.root / "state" / "service"
    before = {path.name: path.read_bytes() for path in state.iterdir() if path.is_file()}

    dry, unasked = esxd(site, "rebuild", "--dry-run"), esxd(site, "rebuild")

    assert (dry.returncode, dry.stdout.splitlines()[0]) == (0, "1 volumes restored")
    assert "a dry run: nothing was changed" in dry.stderr
    assert (unasked.returncode, unasked.stdout) == (2, dry.stdout)
    assert "vmdkvol.db can be read: it is set aside and kept" in unasked.stderr
    assert "say --yes" in unasked.stderr
    assert {path.name: path.read_bytes() for path in state.iterdir() if path.is_file()} == before


def test_a_lost_database_is_made_again_without_a_question(site: Site) -> None:
    site.service.start()
    site.service.stop()
    lose_database(site)
    assert esxd(site, "rebuild").returncode == 0


def test_a_rebuild_of_what_is_no_database_says_that_the_audit_begins_anew(site: Site) -> None:
    site.service.start()
    site.service.stop()
    damage(site)

    assert ANEW in esxd(site, "rebuild", "--yes").stdout.splitlines()


def test_a_rebuild_leaves_a_newer_versions_database_where_it_is(site: Site) -> None:
    site.service.start()
    site.service.stop()
    database = site.root / "state" / "service" / "vmdkvol.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    done = esxd(site, "rebuild", "--yes")

    assert done.returncode != 0
    assert "was written by a newer version" in done.stderr
    assert not list(database.parent.glob("vmdkvol.db.before-rebuild-*"))


def test_a_rebuild_that_was_killed_at_its_end_is_ended_by_the_next_start(site: Site) -> None:
    site.service.start()
    with guest(site) as asking:
        made = asking.ask(CreateVolume(DB, OPTIONS))
        site.service.stop()
        # As it stands when the old file was set aside, and the new one not yet renamed.
        database = site.root / "state" / "service" / "vmdkvol.db"
        database.rename(database.with_name("vmdkvol.db.rebuilt"))
        site.service.start()

        assert asking.ask(GetVolume(DB)).id == made.id


def test_a_rebuild_after_one_that_was_killed_at_its_end_takes_over_what_that_one_had(site: Site) -> None:
    site.service.start()
    with guest(site) as asking:
        asking.ask(CreateVolume(DB, OPTIONS))
    site.service.stop()
    database = site.root / "state" / "service" / "vmdkvol.db"
    database.rename(database.with_name("vmdkvol.db.rebuilt"))
    done = esxd(site, "rebuild", "--yes")
    assert "audit: 1 records kept, 0 are lost" in done.stdout.splitlines()
    assert database.exists()


def lose_database(site: Site) -> None:
    for file in (site.root / "state" / "service").glob("vmdkvol.db*"):
        file.unlink()


def test_a_missing_database_beside_disks_is_not_taken_for_a_first_start(site: Site) -> None:
    """An empty one would say "no such volume" of everything, and Docker would purge what it knows (I6)."""
    site.service.start()
    with guest(site) as asking:
        volume = asking.ask(CreateVolume(DB, OPTIONS)).id
        attachment = asking.ask(Attach(volume))
        site.service.kill()
        lose_database(site)
        site.service.start()

        for request in (GetVolume(DB), ListVolumes(), CreateVolume(VolumeRef.parse("new"), OPTIONS)):
            with pytest.raises(MetadataDamaged, match="is missing.*vmdkvol-esxd rebuild"):
                asking.ask(request)
        asking.ask(Detach(volume, attachment.generation))
    assert not (site.root / "state" / "service" / "vmdkvol.db").exists()


def test_rebuild_after_the_loss_brings_back_live_and_trashed_volumes_and_the_service_serves_them(site: Site) -> None:
    config = site.service.config
    config.write_text(config.read_text().replace("trash_retention_s = 0.0", "trash_retention_s = 3600.0"))
    site.service.start()
    with guest(site) as asking:
        trashed = asking.ask(CreateVolume(DB, OPTIONS)).id
        asking.ask(RemoveVolume(trashed))
        live = asking.ask(CreateVolume(DB, OPTIONS)).id
        site.service.kill()
        lose_database(site)

        done = esxd(site, "rebuild", "--yes")

        assert (done.returncode, done.stdout) == (0, f"2 volumes restored\n{ANEW}\n"), done.stderr
        site.service.start()
        assert [info.id for info in asking.ask(ListVolumes()).volumes] == [live]
        attachment = asking.ask(Attach(live))
        asking.ask(Detach(live, attachment.generation))
    with closing(open_store(site.root / "state" / "service" / "vmdkvol.db", SystemClock())) as store:
        assert {record.id: record.state for record in store.page(None, None, 9)} == {
            trashed: State.TRASHED,
            live: State.READY,
        }


def test_a_rebuild_without_the_old_database_tells_how_vmgroups_and_rights_come_back(site: Site) -> None:
    site.service.start()
    with guest(site) as asking:
        asking.ask(CreateVolume(DB, OPTIONS))
    site.service.kill()
    lose_database(site)
    (copy,) = site.root.rglob("*.vmdkvol.json")
    copy.write_bytes(sidecar.encode(replace(sidecar.decode(copy.read_bytes()), vmgroup=VmgroupId(uuid4()))))

    done = esxd(site, "rebuild", "--dry-run")

    assert done.returncode == 0, done.stderr
    assert "of 1 vmgroups only the id is known: `vmdkvol orphans ls` has the command that names each" in done.stdout
    assert "`vmdkvol vmgroup access add _DEFAULT --datastore _ALL_DS --allow-create`" in done.stdout


def test_a_datastore_that_is_not_mounted_stops_the_rebuild(site: Site) -> None:
    site.service.start()
    with guest(site) as asking:
        asking.ask(CreateVolume(DB, OPTIONS))
    site.service.kill()
    lose_database(site)
    away = site.datastore.rename(site.root / "away")
    site.datastore.mkdir()

    done = esxd(site, "rebuild", "--yes")

    assert done.returncode == 6
    assert "its file system is not mounted" in done.stderr
    site.datastore.rmdir()
    away.rename(site.datastore)
    assert esxd(site, "rebuild", "--yes").stdout == f"1 volumes restored\n{ANEW}\n"


def test_with_its_datastore_not_mounted_a_volume_is_neither_absent_nor_made_anew(site: Site) -> None:
    site.service.start()
    with guest(site) as asking:
        volume = asking.ask(CreateVolume(DB, OPTIONS)).id
        away = site.datastore.rename(site.root / "away")
        site.datastore.mkdir()

        assert asking.ask(GetVolume(DB)).state is State.READY
        for request in (Attach(volume), RemoveVolume(volume), CreateVolume(VolumeRef.parse("new"), OPTIONS)):
            with pytest.raises(TruthUnknown, match="is the right file system mounted"):
                asking.ask(request)
        assert asking.ask(GetVolume(DB)).state is State.READY
        site.service.kill()
        site.service.start()
        with pytest.raises(TruthUnknown):
            asking.ask(Attach(volume))

        assert list(site.datastore.iterdir()) == []
        site.datastore.rmdir()
        away.rename(site.datastore)
        attachment = asking.ask(Attach(volume))
        asking.ask(Detach(volume, attachment.generation))


def test_two_datastores_in_one_directory_are_refused(site: Site) -> None:
    (site.root / "again").symlink_to(site.datastore)
    config = site.service.config
    twice = f'[[datastores]]\nname = "ds2"\npath = "{site.root}/again"\n'
    config.write_text(f'default_datastore = "ds1"\n{config.read_text()}\n{twice}')

    done = esxd(site, "serve")

    assert done.returncode == 5
    assert "ds1 and ds2 are the same or copies" in done.stderr


def test_rebuild_is_refused_while_the_service_runs(site: Site) -> None:
    site.service.start()

    assert esxd(site, "rebuild", "--yes").returncode == 5


def test_a_removed_volume_leaves_no_file(site: Site) -> None:
    site.service.start()
    with guest(site) as asking:
        volume = asking.ask(CreateVolume(DB, OPTIONS)).id
        asking.ask(RemoveVolume(volume))

    assert site.files() == []


def test_without_a_service_the_guest_is_told_so_at_once(site: Site) -> None:
    with guest(site, patience_s=0.2) as asking, pytest.raises(ServiceUnreachable):
        asking.ask(ListVolumes())


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        pytest.param("housekeeping_s = 1.0", 'housekeeping_s = "often"', ":2: housekeeping_s must be a number", id="type"),
        pytest.param("housekeeping_s = 1.0", "housekeeping = 1.0", ":2: unknown setting 'housekeeping'", id="unknown"),
        pytest.param("housekeeping_s = 1.0", "housekeeping_s == 1.0", "service.toml:2", id="no-toml"),
        pytest.param("housekeeping_s = 1.0", "drain_s = -1.0", ":2: drain_s must be from 0 to 600", id="bounds"),
    ],
)
def test_wrong_settings_are_told_with_file_and_line(site: Site, right: str, wrong: str, says: str) -> None:
    site.service.config.write_text(site.service.config.read_text().replace(right, wrong))

    done = esxd(site, "check-config")

    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
