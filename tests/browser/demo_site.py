"""A service and the API inside TLS, with the demo's data, machines in its vmgroups, and names that look like markup."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

from tests.integration.api_site import ApiSite
from tests.integration.identity_site import CLOCK, ask
from tests.integration.typed_page import machine
from vmdkvol.addresses import UnixAddress
from vmdkvol.cli.client import Client
from vmdkvol.cli.demo_data import ARCHIVE, fill
from vmdkvol.cli.endpoint import Endpoint
from vmdkvol.clock import SystemClock, Worker
from vmdkvol.line import Line
from vmdkvol.messages import Attach, CreateVolume, Detach, ListVolumes
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.orders import Role
from vmdkvol.volume import Attachment, VmId, new_disk_uuid
from vmdkvol_esx.local import vmdk

DATASTORES = ("ds1", "ds2")
HOSTS = {name: VmId(UUID(int=number)) for number, name in enumerate(("shop-1", "shop-2", "reports-1", "lone"), start=10)}
_MEMBERS = {"demo-shop": ["shop-1", "shop-2"], "demo-reports": ["reports-1"]}
# The last one is of no vmgroup of the demo's.
_USED = {"shop-1": ("customers-db", "catalogue-cache"), "reports-1": ("exports",), "lone": ()}
_WEEK_S = 7 * 86400.0
# So slow that one can look on.
_COPY = 4.0
_SLOW_MB = 64
_MIB = 1 << 20
# What people, and those who wish them ill, call things. As text each of them is harmless.
WICKED = "<img src=x onerror=alert(1)>"


class DemoSite:
    """``close`` it. ``api`` is what it is made of. ``wicked``: some names look like markup."""

    def __init__(self, root: Path, *, wicked: bool = True) -> None:
        self._wicked = wicked
        self._attached: list[tuple[Line, Attachment]] = []
        self.api = ApiSite(root, hosts=HOSTS, datastores=(*DATASTORES, ARCHIVE), trash_retention_s=_WEEK_S, copy_mib_s=_COPY)
        self.lines: list[Line] = []
        self._copies: list[Worker] = []
        try:
            self._fill()
        except BaseException:
            self.close()
            raise

    @property
    def base(self) -> str:
        return f"https://localhost:{self.api.port}"

    def token(self, name: str, role: Role = Role.ADMIN) -> str:
        return self.api.token(name, role)

    def order(self, method: str, path: str, body: object = None) -> None:
        done = self.api.unix(method, path, body)
        assert done.status < 300, done.body

    def slow_copy(self, name: str) -> None:
        """Have a copy begun that takes a quarter of a minute; return at once."""
        source = f"{name}-source"
        whole = [["size", f"{_SLOW_MB}mb"], ["diskformat", "eagerzeroedthick"], ["fstype", "ext4"]]
        self.order("POST", "/v1/volumes", {"vmgroup": "demo-shop", "name": source, "options": [*whole, ["datastore", "ds1"]]})
        copy = [["clone-from", source], ["datastore", "ds1"]]
        body = {"vmgroup": "demo-shop", "name": name, "options": copy}
        self._copies.append(CLOCK.start("copy", lambda: self.order("POST", "/v1/volumes", body)))

    def stranger(self, datastore: str, place: str) -> None:
        """Put a disk there that somebody else made: ``folder/x.vmdk``."""
        path = self.api.root / datastore / place
        path.parent.mkdir(parents=True, exist_ok=True)
        flat = f"{path.stem}-flat.vmdk"
        (path.parent / flat).write_bytes(b"\1" * _MIB)
        path.write_bytes(vmdk.write(vmdk.Descriptor(_MIB, flat, new_disk_uuid(uuid4()))))

    def close(self) -> None:
        for copy in self._copies:
            copy.join(60.0)
        for line, found in self._attached:
            ask(line, Detach(found.volume, found.generation))
        for line in self.lines:
            line.close()
        self.api.close()

    def _fill(self) -> None:
        client = Client(Endpoint(UnixAddress(self.api.socket)), SystemClock())
        try:
            list(fill(client, DATASTORES))
        finally:
            client.close()
        for vmgroup, vms in _MEMBERS.items():
            self.order("POST", f"/v1/vmgroups/{vmgroup}/members", {"vms": vms})
        self.order("POST", "/v1/volumes", {"vmgroup": "_DEFAULT", "name": "plain", "options": [["size", "1gb"]]})
        for host, names in _USED.items():
            line = machine(self.api, host)
            self.lines.append(line)
            for volume in ask(line, ListVolumes()).volumes:
                if volume.name in names:
                    self._attached.append((line, ask(line, Attach(volume.id))))
        if self._wicked:
            self._name_wickedly(self.lines[-1])

    def _name_wickedly(self, line: Line) -> None:
        self.order("PATCH", "/v1/vmgroups/demo-staging", {"description": WICKED})
        options = CreateOptions.parse({"size": "1gb", "label": f"note={WICKED}"})
        ask(line, CreateVolume(VolumeRef.parse("<b>bold & bad<|b>"), options))
