"""The row of a large site: how long its service takes to start."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

from tests.bench.figures import Goal, Measured, absolute
from tests.bench.lines import Line, Row
from tests.bench.stage import Stage
from tests.daemons.site import ROOT, eventually
from tests.scale.filling import fill_database, fill_datastore, records
from vmdkvol.addresses import UnixAddress
from vmdkvol.cli.asking import listens
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.line import Line as Channel
from vmdkvol.messages import Call
from vmdkvol.names import DatastoreName
from vmdkvol.settings import dump_toml
from vmdkvol.volume import VmgroupId, VmId
from vmdkvol.volume_orders import ListAllVolumes
from vmdkvol_esx.records import Group, Member, Right, Vmgroup
from vmdkvol_esx.store import open_store

_PLACE = DatastoreName("ds1")
_VOLUMES_OF_EACH = 10
_ROUNDS = 5
_PATIENCE_S = 180.0


class _Site:
    """A service's settings in a directory of its own, with a datastore; nothing runs."""

    def __init__(self, root: Path) -> None:
        self.config, self.socket = root / "service.toml", root / "admin.sock"
        self.database, self.datastore = root / "state" / "vmdkvol.db", root / "ds1"
        self.datastore.mkdir()
        self.database.parent.mkdir(mode=0o700)
        places = [{"name": str(_PLACE), "path": str(self.datastore)}]
        settings = {"state_dir": str(root / "state"), "admin_socket": str(self.socket), "datastores": places}
        self.config.write_text(
            dump_toml({**settings, "trash_retention_s": 0.0, "default_datastore": str(_PLACE), "listen": ["tcp://127.0.0.1:0"]})
        )
        self.config.chmod(0o600)

    def fill(self, volumes: int) -> None:
        """Give it so many volumes, ten to a vmgroup with a machine, a right with a quota, and options of its own."""
        with closing(open_store(self.database, SystemClock())) as store:
            made = [store.put_group(_group(number), expect=None) for number in range(volumes // _VOLUMES_OF_EACH)]
        new = [
            replace(record, vmgroup=made[number // _VOLUMES_OF_EACH].vmgroup.id)
            for number, record in enumerate(records(volumes, datastore=str(_PLACE)))
        ]
        fill_datastore(self.datastore, new)
        fill_database(self.database, new)

    def start(self, *, spoiled: bool) -> float:
        """Start its service, ask for a volume, end it; return the seconds from the start to the answer."""
        command = [sys.executable, "-m", "vmdkvol_esx.cli", "--config", str(self.config), "serve"]
        if spoiled:
            command = ["sh", "-c", 'sleep 4; exec "$@"', "sh", *command]
        with self.config.with_name("log").open("ab") as log:
            began = time.perf_counter()
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            eventually(lambda: listens(self.socket), "the service listens", _PATIENCE_S)
            self._ask()
            return time.perf_counter() - began
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    def _ask(self) -> None:
        clock = SystemClock()
        with closing(Channel(UnixAddress(self.socket), clock, agent="bench", boot_id="bench").start()) as channel:
            channel.ask(ListAllVolumes(limit=1), Call(uuid4(), Deadline.after(clock, 60.0)))


def _group(number: int) -> Group:
    own = Vmgroup(VmgroupId(UUID(int=(1 << 64) + number)), f"tenant{number}", _PLACE, defaults=(("size", "20gb"),))
    vm = VmId(UUID(int=(2 << 64) + number))
    return Group(own, (Right(_PLACE, True, 1 << 40, 1 << 44),), (Member(vm, f"vm{number}"),))


def start(stage: Stage) -> Mapping[str, Measured]:
    """From the start of the service's process to its first answer to an administrator, a listing of one volume.

    The site has 10,000 volumes, their disks and their sidecars on a local datastore, in 1,000 vmgroups, each with a machine, a
    right and a quota. Every record's checksum is looked at before the answer; what lies on the datastore is compared
    with the records after it. The floor is the same service on an empty site. Stopping is in neither. Both have their byte
    code: the first start of each, which makes it, is not counted.
    """
    large, empty = _Site(stage.directory("large")), _Site(stage.directory("empty"))
    large.fill(stage.effort.many)
    for each in (large, empty):
        each.start(spoiled=False)
    rounds = stage.compare(
        lambda: large.start(spoiled=bool(stage.spoil)),
        lambda: empty.start(spoiled=False),
        min(_ROUNDS, stage.effort.rounds),
    )
    return {"site.start": absolute(rounds)}


ROWS = (
    Row(
        "site",
        (Line("site.start", "start with 1,000 vmgroups, 10,000 volumes", "start of an empty service", Goal(3, unit="s")),),
        start,
        20,
        "slow",
        ("site.start",),
    ),
)
